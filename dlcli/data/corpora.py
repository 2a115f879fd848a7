"""Parallel corpora by name, by path, or several at once."""

from __future__ import annotations

import hashlib
import re
import tarfile
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from dlcli.data.catalogue import (
    EN_FR,
    JOINT,
    PATH_DIGEST,
    DataSet,
    is_image_path,
    is_path,
    named,
    names_of,
    parts_of,
    split_path,
)
from dlcli.data.download import fetch, true_name
from dlcli.data.languages import Languages, languages_of
from dlcli.data.sentences import Corpus, Pairs, sentence_key, split_corpus, stable_hash
from dlcli.data.storage import DataFolder, file_digest, find, open_file, to_stderr
from dlcli.data.text import Fault, Tally, read_lines, read_pairs, refuse_if_many, side_by_side
from dlcli.engine.events import NoticeCallback
from dlcli.errors import ConfigError, DataError, plural

HELD_OUT = 2_000
"""What the validation set and the test set of a corpus without splits of its own have each."""


def load_corpus(
    name: str = "auto",
    *,
    direction: str | None = None,
    offline: bool = False,
    notice: NoticeCallback = to_stderr,
    seed: int = 0,
    train_pairs: int | None = None,
) -> Corpus:
    """Load a parallel corpus by name.

    Args:
        name: "tatoeba", "tatoeba:deu-eng", "multi30k", "multi30k:de-cs", "europarl", "grammar";
            several of these with `+` between ("europarl+tatoeba", see `join`); a path of
            tab-separated pairs ("pairs.tsv") or two paths ("a.de,b.en"), see `read_users_files`;
            "auto" is tatoeba where it can be had, else grammar with a notice.
        direction: from which language into which, such as "en-fr"; by default the corpus's own.
        offline: never use the network.
        notice: called with one sentence where the user should know something.
        seed: which sentences `grammar` makes.
        train_pairs: where the corpus is made and not read, make at most so many training pairs.

    Raises:
        ConfigError: there is no corpus of that name, or it has no such direction.
        DataError: it cannot be had, or a file of it is wrong.
    """
    wanted = None if direction is None else languages_of(direction)
    parts = parts_of(name)
    if name != "auto" and is_image_path(name):
        what = "a folder" if Path(name).expanduser().is_dir() else "a file of images"
        raise _no_pairs(f"{name} is {what}, not a file of pairs of sentences.")
    if is_path(name):
        return turned(
            read_users_files(name, wanted=wanted, notice=notice),
            wanted,
            saved=PATH_DIGEST.search(name) is not None,
        )
    languages = [_languages_of(part) for part in parts]
    wanted = wanted or languages[0]
    for part, own in zip(parts, languages, strict=True):
        if set(own) != set(wanted):
            raise _no_direction(wanted, name=part, languages=own)
    most = train_pairs if len(parts) == 1 else None
    corpora = [
        turned(_named(part, offline=offline, notice=notice, seed=seed, most=most), wanted)
        for part in parts
    ]
    if len(parts) == 1:
        return corpora[0]
    if "auto" in parts or len({corpus.name for corpus in corpora}) < len(corpora):
        raise ConfigError(
            f"'{name}' does not name different corpora.",
            hint="Name each of them once, such as europarl+tatoeba.",
        )
    corpus = join(corpora)
    if count := corpus.dropped.get(HELD_OUT_ELSEWHERE):
        notice(f"{corpus.name}: {count:,} training pairs left out: {HELD_OUT_ELSEWHERE}.")
    return corpus


def turned(corpus: Corpus, wanted: Languages | None, *, saved: bool = False) -> Corpus:
    """Return a corpus with its sides in the order of a direction.

    Args:
        corpus: as it was read.
        wanted: languages of source and target; None leaves it as it is.
        saved: whether a run names it. Version 0.1.0 called files of any languages `en-fr`, and
            `fr-en` with their sides exchanged.

    Raises:
        ConfigError: it is of other languages.
    """
    if wanted is None or wanted == corpus.languages:
        return corpus
    if wanted == corpus.languages[::-1]:
        return corpus.swapped()
    if saved and set(wanted) == set(EN_FR):
        return corpus if wanted == EN_FR else corpus.swapped()
    raise _no_direction(wanted, name=corpus.name, languages=corpus.languages)


def _no_direction(wanted: Languages, *, name: str, languages: Languages) -> ConfigError:
    name, has = PATH_DIGEST.sub("", name), ("-".join(languages), "-".join(languages[::-1]))
    return ConfigError(
        f"The corpus '{name}' has no direction '{'-'.join(wanted)}'.",
        hint=f"It has {has[0]} and {has[1]}. Name one of them, or another corpus: files of your "
        "own, or tatoeba:deu-eng and the like.",
    )


def _languages_of(name: str) -> Languages:
    """Return the languages of a corpus of the catalogue.

    Raises:
        ConfigError: there is none of that name.
    """
    data_set = named("tatoeba" if name == "auto" else name, kind="pairs")
    if data_set.kind != "pairs" or PATH_DIGEST.sub("", name) not in ("auto", data_set.name):
        raise _no_pairs(f"The data set '{name}' is no parallel corpus.")
    return data_set.languages or EN_FR


def _no_pairs(message: str) -> ConfigError:
    return ConfigError(
        message,
        hint=f"Use {', '.join(names_of('pairs'))}, other languages (tatoeba:deu-eng, "
        "multi30k:de-cs), several of these (europarl+tatoeba), a TSV (a sentence, a tab and its "
        "translation a line) or two text files (a.en,b.fr).",
    )


def _named(
    name: str, *, offline: bool, notice: NoticeCallback, seed: int, most: int | None
) -> Corpus:
    """Load a corpus of the catalogue, its sides as they are read."""
    name = true_name(name, kind="pairs", offline=offline, notice=notice)
    data_set, earlier = named(name), PATH_DIGEST.search(name)
    if data_set.embedded:
        return _made_by_rule(data_set.reader, seed=seed, most=most)
    data_set, folder = _here(data_set, notice=notice)
    if folder is None:
        folder = fetch(data_set, offline=offline, notice=notice)
    corpus = READERS[data_set.reader](data_set, folder.path)
    if data_set.versioned:
        digest = version_of(data_set, folder.path)
        _check_unchanged(data_set.name, digest=digest, earlier=earlier and earlier[1])
        corpus = replace(corpus, name=f"{data_set.name}#{digest}")
    if corpus.dropped:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in corpus.dropped.items())
        notice(f"{corpus.name}: pairs left out: {counts}.")
    return corpus


def version_of(data_set: DataSet, folder: Path) -> str:
    """Return eight hexadecimal digits of what the files of a set hold."""
    hashed = hashlib.sha256()
    for check in data_set.files:
        with open_file(folder / check.name, check) as (file, _):
            hashed.update(bytes.fromhex(file_digest(file, "sha256")))
    return hashed.hexdigest()[:8]


def _check_unchanged(name: str, *, digest: str, earlier: str | None) -> None:
    if earlier and earlier != digest:
        raise DataError(
            f"{name} has changed: its digest was {earlier} and is {digest}.",
            hint="Put the old file back, or train a new run on what is there now.",
        )


def _here(data_set: DataSet, *, notice: NoticeCallback) -> tuple[DataSet, DataFolder | None]:
    """Find a corpus on this machine; `europarl` may be there as its development cut."""
    folder = find(data_set)
    if folder is None and data_set.name == "europarl":
        cut = named("europarl-dev500k")
        if (place := find(cut)) is not None:
            notice(
                f"'{data_set.name}' is not here: taking '{cut.name}', another cut of it. "
                f"`dl data fetch {data_set.name}` gets the published one."
            )
            return cut, place
    return data_set, folder


def _made_by_rule(reader: str, *, seed: int, most: int | None) -> Corpus:
    from dlcli.data import agglutinative, grammar

    whole, load = {
        "grammar": (grammar.TRAIN_PAIRS, grammar.load_grammar),
        "agglutinative": (agglutinative.TRAIN_PAIRS, agglutinative.load_agglutinative),
    }[reader]
    return replace(load(seed=seed, train=whole if most is None else min(most, whole)), whole=whole)


HELD_OUT_ELSEWHERE = "held out by another corpus"
"""Why a pair of a joined corpus is dropped."""


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Join corpora of the same direction: all are trained on, the first chooses and tests.

    A training pair that shares a sentence, on either side, with the validation or test pairs of
    another of them is left out, so that every one of their tests can be read afterwards. Word
    alignments of training pairs, where there are any, are not kept.

    Args:
        corpora: one or more, each with its splits.
    """
    held_out = [_held_out(corpus) for corpus in corpora]
    kept: list[tuple[str, str]] = []
    dropped: Counter[str] = Counter()
    for number, corpus in enumerate(corpora):
        others = set[str]().union(*(keys for at, keys in enumerate(held_out) if at != number))
        dropped.update(corpus.dropped)
        for pair in zip(corpus.train.source, corpus.train.target, strict=True):
            if others.isdisjoint(map(sentence_key, pair)):
                kept.append(pair)
            else:
                dropped[HELD_OUT_ELSEWHERE] += 1
    first = corpora[0]
    return Corpus(
        name=JOINT.join(corpus.name for corpus in corpora),
        languages=first.languages,
        train=Pairs.of(kept),
        valid=first.valid,
        tests=first.tests,
        dropped=dict(dropped),
    )


def _held_out(corpus: Corpus) -> set[str]:
    splits = (corpus.valid, *corpus.tests.values())
    sides = (side for pairs in splits for side in (pairs.source, pairs.target))
    return {sentence_key(text) for side in sides for text in side}


def read_tsv(data_set: DataSet, folder: Path) -> Corpus:
    """Read one file of tab-separated pairs, English first; they are dealt out to splits here."""
    (check,) = data_set.files
    tally = Tally()
    pairs = read_pairs([folder / check.name], tally=tally, member=check.member)
    first, second = sorted(data_set.languages or EN_FR, key=lambda language: language != "en")
    return split_corpus(
        pairs,
        name=data_set.name,
        held_out=HELD_OUT,
        dropped=tally.dropped,
        languages=(first, second),
    )


def read_splits(data_set: DataSet, folder: Path) -> Corpus:
    """Read two files a split, a language each, in the splits that the makers publish.

    The catalogue names those to learn from first, then those to choose by, then the tests. Text
    stays as it is, but for line ends of other programs within a line, which are spaces; who
    compares with lower-cased figures lower-cases when scoring.
    """
    tally = Tally()
    splits: dict[str, Pairs] = {}
    for one, other in zip(data_set.files[::2], data_set.files[1::2], strict=True):
        paths = [folder / one.name, folder / other.name]
        split = paths[0].name.partition(".")[0]
        splits[split] = Pairs.of(read_pairs(paths, tally=tally, separator=b" "))
    train, valid, *tests = splits
    return Corpus(
        name=data_set.name,
        languages=data_set.languages or EN_FR,
        train=splits[train],
        valid=splits[valid],
        tests={test: splits[test] for test in tests},
        dropped=dict(tally.dropped),
    )


MOST_WORDS = 50
MOST_RATIO = 3


def read_europarl(data_set: DataSet, folder: Path, *, held_out: int = HELD_OUT) -> Corpus:
    """Cut Europarl's published archive by a rule that anyone can follow.

    Over the lines of the archive in their order:

    1. a pair is left out where a side is empty or no text, has more than 50 words (between white
       space), or more than three times as many as the other side;
    2. of equal pairs the first stays;
    3. the pairs with the smallest hashes (BLAKE2b of English, tab, French in UTF-8, 8 bytes) are
       the validation set, 2,000 of them, the next 2,000 the test set;
    4. of what remains, and of the test set, a pair goes that shares a sentence of either language
       with a set before it: nothing tested, in either direction, was learnt.

    Two passes over the archive at once, one a language, keep the raw text out of memory.

    Args:
        data_set: the catalogue's entry.
        folder: the data folder, whose files were checked.
        held_out: how many pairs the validation set has, and the test set before the fourth step.

    Raises:
        DataError: the archive lacks a language, or its sides differ in length.
    """
    archive = folder / data_set.files[0].name
    tally = Tally()
    sides = [_archive_lines(archive, language) for language in ("en", "fr")]
    lines = side_by_side(*sides, tally=tally, names=f"the sides of {archive}")
    pairs = _kept(lines, tally=tally)
    order = np.argsort(np.fromiter(pairs, dtype=np.uint64, count=len(pairs)), kind="stable")
    places = [np.sort(part) for part in np.split(order, [held_out, 2 * held_out])]
    kept = list(pairs.values())
    english: set[str] = set()
    french: set[str] = set()
    splits = []
    for part in places:
        chosen = [kept[place] for place in part]
        apart = [pair for pair in chosen if pair[0] not in english and pair[1] not in french]
        if len(apart) < len(chosen):
            tally.dropped["shared with valid or test"] += len(chosen) - len(apart)
        english.update(pair[0] for pair in apart)
        french.update(pair[1] for pair in apart)
        splits.append(Pairs.of(apart))
    valid, test, train = splits
    return Corpus(
        name=data_set.name,
        languages=EN_FR,
        train=train,
        valid=valid,
        tests={"test": test},
        dropped=dict(tally.dropped),
    )


def _archive_lines(archive: Path, language: str) -> Iterator[str | Fault]:
    """Yield the lines of one language of the archive."""
    wanted = f"europarl-v7.fr-en.{language}"
    try:
        with tarfile.open(archive, "r:gz") as members:
            for entry in members:
                if entry.isreg() and Path(entry.name).name == wanted:
                    file = cast(BinaryIO, members.extractfile(entry))
                    yield from read_lines(file, name=str(archive))
                    return
        raise OSError(f"it has no {wanted}")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive} cannot be read ({error}).", hint="Run `dl data verify europarl`."
        ) from None


def _kept(pairs: Iterable[tuple[str, str]], *, tally: Tally) -> dict[int, tuple[str, str]]:
    """Apply the rule's first two steps; return what stays, by its hashes."""
    kept: dict[int, tuple[str, str]] = {}
    for english, french in pairs:
        shorter, longer = sorted((len(english.split()), len(french.split())))
        if longer > MOST_WORDS:
            tally.dropped[f"more than {MOST_WORDS} words"] += 1
        elif longer > MOST_RATIO * shorter:
            tally.dropped[f"length ratio over {MOST_RATIO}"] += 1
        elif (hashed := stable_hash(f"{english}\t{french}")) in kept:
            tally.dropped["duplicate pair"] += 1
        else:
            kept[hashed] = (english, french)
    return kept


READERS: dict[str, Callable[[DataSet, Path], Corpus]] = {
    "tsv": read_tsv,
    "splits": read_splits,
    "europarl": read_europarl,
}
"""How the files of a set become a corpus, by the name that its catalogue entry gives."""


HELD_OUT_SHARE = 10
"""One different source sentence in so many is held out for validation, and one for the test."""


def read_users_files(name: str, *, wanted: Languages | None, notice: NoticeCallback) -> Corpus:
    """Read a user's corpus: "pairs.tsv", or "a.de,b.en", each perhaps packed (".gz", ".zip").

    The languages of the two columns, or of the two files, are what the name says (`split_path`);
    where it says nothing, those of the direction in its order. A TSV without languages that is
    wanted as `fr-en` has English first, as in version 0.1.0.
    Characters that other programs may take for the end of a line, such as U+2028, are spaces.
    The corpus's name carries a digest (`/home/me/pairs.tsv#1f2e3d4c`), so that a figure's signature
    says what it was measured on, and a file that has changed since is noticed.

    Args:
        name: the path or paths, perhaps with languages (`pairs.tsv:de-en`), perhaps with the digest
            of an earlier reading.
        wanted: languages of source and target.
        notice: called with one sentence where lines are left out.

    Raises:
        ConfigError: more than two paths are named, or one that does not exist.
        DataError: a file cannot be read or has changed, too many lines are no pairs, or too few
            pairs are there to be split.
    """
    plain, known = split_path(name)
    paths = _paths(plain)
    by_suffix = known is not None and len(paths) == 2 and ":" not in name[len(plain) :]
    languages = known or (wanted if wanted and set(wanted) != set(EN_FR) else EN_FR)
    unsaid = known is None and languages == EN_FR
    said = "" if by_suffix or unsaid else f":{'-'.join(languages)}"
    if by_suffix and languages == EN_FR[::-1]:
        paths, languages = paths[::-1], EN_FR  # the English file is the first in the name
    shown = ",".join(map(str, paths))
    digest, earlier = _digest(paths), PATH_DIGEST.search(name)
    _check_unchanged(shown, digest=digest, earlier=earlier and earlier[1])
    tally = Tally()
    pairs = read_pairs(paths, tally=tally, separator=b" ")
    refuse_if_many(tally, name=shown)
    if tally.dropped:
        examples = "; ".join(map(str, tally.examples))
        notice(f"{shown}: {tally.dropped.total():,} of {tally.read:,} lines left out: {examples}.")
    if len(paths) == 1 and (count := _quoted(pairs)):
        notice(
            f"{shown}: {plural(count, 'sentence')} in double quotes, which are learnt with them. "
            "Export the table without quotes if they are no part of the text."
        )
    if unsaid and not _is_latin(pairs[:100]):
        notice(
            f"{shown} does not say its languages: they are taken as English and French. Name "
            f"others with --source-lang and --target-lang, or {paths[0].name}:de-en."
        )
    different = len({sentence_key(source) for source, _ in pairs})
    return split_corpus(
        pairs,
        name=f"{shown}{said}#{digest}",
        held_out=min(HELD_OUT, max(1, different // HELD_OUT_SHARE)),
        dropped=tally.dropped,
        languages=languages,
    )


def _is_latin(pairs: Sequence[tuple[str, str]]) -> bool:
    """Say whether at least half of the letters on both sides are Latin ones."""
    sides = ("".join(side) for side in zip(*pairs, strict=True))
    letters = ([letter for letter in side if letter.isalpha()] for side in sides)
    return all(
        2 * sum(unicodedata.name(letter, "").startswith("LATIN") for letter in found) >= len(found)
        for found in letters
    )


QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _quoted(pairs: Sequence[tuple[str, str]]) -> int:
    """Count sentences that a table's program has quoted: all of them, or those with quotes."""
    marked = [text for pair in pairs for text in pair if QUOTED.fullmatch(text)]
    if len(marked) > len(pairs) or any('""' in text[1:-1] for text in marked):
        return len(marked)
    return 0


def _paths(name: str) -> list[Path]:
    """Return the one or two files that a name stands for, absolute."""
    words = [name] if Path(name).is_file() else name.split(",")
    if len(words) > 2 or not all(words):
        raise ConfigError(
            f"'{name}' names {len(words)} files.",
            hint="Name one file of tab-separated pairs, or two files: --data a.en,b.fr.",
        )
    paths = [Path(word).expanduser().absolute() for word in words]
    for path in paths:
        if not path.is_file():
            there = path.exists()
            raise (DataError if there else ConfigError)(
                f"{path} {'is not a regular file' if there else 'does not exist'}.",
                hint="Name a file of tab-separated pairs, two files (a.en,b.fr) or a data set.",
            )
    return paths


def _digest(paths: list[Path]) -> str:
    hashed = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                hashed.update(bytes.fromhex(file_digest(file, "sha256")))
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}.",
                hint="Check the file and its rights.",
            ) from None
    return hashed.hexdigest()[:8]
