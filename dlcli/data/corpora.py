"""Parallel corpora by name, by path, or several at once."""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from dlcli.data.catalogue import JOINT, PATH_DIGEST, DataSet, is_path, named, names_of, parts_of
from dlcli.data.download import fetch, true_name
from dlcli.data.sentences import DIRECTIONS, Corpus, Pairs, sentence_key, split_corpus, stable_hash
from dlcli.data.storage import DataFolder, file_digest, find, to_stderr
from dlcli.data.text import Fault, Tally, read_lines, read_pairs, refuse_if_many, side_by_side
from dlcli.engine.events import NoticeCallback
from dlcli.errors import ConfigError, DataError

HELD_OUT = 2_000
"""What the validation set and the test set of a corpus without splits of its own have each."""


def load_corpus(
    name: str = "auto",
    *,
    direction: str = "en-fr",
    offline: bool = False,
    notice: NoticeCallback = to_stderr,
    seed: int = 0,
    train_pairs: int | None = None,
) -> Corpus:
    """Load a parallel corpus by name.

    Args:
        name: "tatoeba", "multi30k", "europarl", "europarl-dev500k", "grammar"; several of these
            with `+` between ("europarl+tatoeba", see `join`); a path of tab-separated pairs
            ("pairs.tsv") or two paths ("a.en,b.fr"); "auto" is tatoeba where it can be had, else
            grammar with a notice.
        direction: "en-fr", or "fr-en" with the sides changed.
        offline: never use the network.
        notice: called with one sentence where the user should know something.
        seed: which sentences `grammar` makes.
        train_pairs: where the corpus is made and not read, make at most so many training pairs.

    Raises:
        ConfigError: there is no corpus of that name, or no such direction.
        DataError: it cannot be had, or a file of it is wrong.
    """
    if direction not in DIRECTIONS:
        raise ConfigError(
            f"There is no direction '{direction}'.", hint=f"Use {' or '.join(DIRECTIONS)}."
        )
    parts = parts_of(name)
    if is_path(name):
        corpus = read_users_files(name, notice=notice)
    elif len(parts) > 1:
        corpora = [_named(part, offline, notice, seed=seed) for part in parts]
        if "auto" in parts or len({corpus.name for corpus in corpora}) < len(corpora):
            raise ConfigError(
                f"'{name}' does not name different corpora.",
                hint="Name each of them once, such as europarl+tatoeba.",
            )
        corpus = join(corpora)
        if count := corpus.dropped.get(HELD_OUT_ELSEWHERE):
            notice(f"{corpus.name}: {count:,} training pairs left out: {HELD_OUT_ELSEWHERE}.")
    else:
        corpus = _named(name, offline, notice, seed=seed, most=train_pairs)
    return corpus if direction == "en-fr" else corpus.swapped()


def _named(
    name: str, offline: bool, notice: NoticeCallback, *, seed: int, most: int | None = None
) -> Corpus:
    name = true_name(name, kind="pairs", offline=offline, notice=notice)
    data_set = named(name)
    if data_set.kind != "pairs" or name != data_set.name:
        raise ConfigError(
            f"The data set '{name}' is no parallel corpus.",
            hint=f"Use {', '.join(names_of('pairs'))}, several of these (europarl+tatoeba), a TSV "
            "or two files (a.en,b.fr).",
        )
    if data_set.embedded:
        return _grammar(seed, most)
    data_set, folder = _here(data_set, notice=notice)
    if folder is None:
        folder = fetch(data_set, offline=offline, notice=notice)
    corpus = READERS[data_set.reader](data_set, folder.path)
    if corpus.dropped:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in corpus.dropped.items())
        notice(f"{corpus.name}: pairs left out: {counts}.")
    return corpus


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


def _grammar(seed: int, most: int | None) -> Corpus:
    from dlcli.data.grammar import TRAIN_PAIRS, load_grammar

    train = TRAIN_PAIRS if most is None else min(most, TRAIN_PAIRS)
    return replace(load_grammar(seed=seed, train=train), whole=TRAIN_PAIRS)


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
    """Read one file of tab-separated pairs; they are dealt out to splits here."""
    (check,) = data_set.files
    tally = Tally()
    pairs = read_pairs([folder / check.name], tally=tally, member=check.member)
    return split_corpus(pairs, name=data_set.name, held_out=HELD_OUT, dropped=tally.dropped)


def read_splits(data_set: DataSet, folder: Path) -> Corpus:
    """Read two files a split, English and French, in the splits that the makers publish.

    The catalogue names those to learn from first, then those to choose by, then the tests. Text
    stays as it is; who compares with lower-cased figures lower-cases when scoring.
    """
    tally = Tally()
    splits: dict[str, Pairs] = {}
    for english, french in zip(data_set.files[::2], data_set.files[1::2], strict=True):
        paths = [folder / english.name, folder / french.name]
        split = paths[0].name.partition(".")[0]
        splits[split] = Pairs.of(read_pairs(paths, tally=tally))
    train, valid, *tests = splits
    return Corpus(
        name=data_set.name,
        languages=("en", "fr"),
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
        languages=("en", "fr"),
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


def read_users_files(name: str, *, notice: NoticeCallback) -> Corpus:
    """Read a user's corpus: "pairs.tsv", or "a.en,b.fr", each perhaps packed (".gz", ".zip").

    A TSV has the source of "en-fr" in its first column; what follows its second is not looked at.
    Characters that other programs may take for the end of a line, such as U+2028, are spaces.
    Of two files the English one is the first, whatever their order, where their suffixes say so.
    The corpus's name carries a digest (`/home/me/pairs.tsv#1f2e3d4c`), so that a figure's signature
    says what it was measured on, and a file that has changed since is noticed.

    Args:
        name: the path or paths, perhaps with the digest of an earlier reading.
        notice: called with one sentence where lines are left out.

    Raises:
        ConfigError: more than two paths are named.
        DataError: a file cannot be read or has changed, too many lines are no pairs, or too few
            pairs are there to be split.
    """
    paths = _paths(PATH_DIGEST.sub("", name))
    digest = _digest(paths)
    earlier = PATH_DIGEST.search(name)
    shown = ",".join(map(str, paths))
    if earlier and earlier[1] != digest:
        raise DataError(
            f"{shown} has changed: its digest was {earlier[1]} and is {digest}.",
            hint="Put the old file back, or name it without the digest.",
        )
    tally = Tally()
    pairs = read_pairs(paths, tally=tally, separator=b" ")
    refuse_if_many(tally, name=shown)
    if tally.dropped:
        examples = "; ".join(map(str, tally.examples))
        notice(f"{shown}: {tally.dropped.total():,} of {tally.read:,} lines left out: {examples}.")
    if len(paths) == 1 and (count := _quoted(pairs)):
        notice(
            f"{shown}: {count:,} sentences stand in double quotes, which are learnt with them. "
            "Export the table without quotes if they are no part of the text."
        )
    different = len({sentence_key(source) for source, _ in pairs})
    languages = [_language(path) for path in paths]
    return split_corpus(
        pairs,
        name=f"{shown}#{digest}",
        held_out=min(HELD_OUT, max(1, different // HELD_OUT_SHARE)),
        dropped=tally.dropped,
        languages=(languages[0], languages[1]) if len(paths) == 2 and all(languages) else None,
    )


QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _quoted(pairs: Sequence[tuple[str, str]]) -> int:
    """Count sentences that a table's program has quoted: all of them, or those with quotes."""
    marked = [text for pair in pairs for text in pair if QUOTED.fullmatch(text)]
    if len(marked) > len(pairs) or any('""' in text[1:-1] for text in marked):
        return len(marked)
    return 0


def _paths(name: str) -> list[Path]:
    """Return the one or two files that a name stands for, absolute, the English one first."""
    words = [name] if Path(name).is_file() else name.split(",")
    if len(words) > 2 or not all(words):
        raise ConfigError(
            f"'{name}' names {len(words)} files.",
            hint="Name one file of tab-separated pairs, or two files: --data a.en,b.fr.",
        )
    paths = [Path(word).expanduser().absolute() for word in words]
    for path in paths:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise DataError(
                f"{path} {what}.",
                hint="Name a file of tab-separated pairs, two files (a.en,b.fr) or a data set.",
            )
    if [_language(path) for path in paths] == ["fr", "en"]:
        paths.reverse()
    return paths


def _language(path: Path) -> str:
    """Return the language that a file's suffix names: "fr" for `train.fr.gz`, else nothing."""
    suffix = Path(re.sub(r"\.(gz|zip)$", "", path.name)).suffix[1:]
    return suffix if re.fullmatch("[a-z]{2}", suffix) else ""


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
