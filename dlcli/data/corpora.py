"""Parallel corpora by name: the one door to them."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from dlcli.data.catalogue import (
    EUROPARL,
    EUROPARL_DEV,
    MARK,
    MULTI30K,
    TATOEBA,
    DataSet,
    is_joined,
    is_path,
    named,
    parts_of,
)
from dlcli.data.obtain import fetch
from dlcli.data.sentences import (
    DIRECTIONS,
    Corpus,
    Pairs,
    Tally,
    columns,
    read_lines,
    read_text_files,
    sentence_key,
    side_by_side,
    split_corpus,
)
from dlcli.data.storage import Notice, find, open_checked, tell
from dlcli.errors import ConfigError, DataError

# -- Parallel text in two gzip files a split, as corpora are published; the splits are given


def read_gzipped(stem: Path, *, tally: Tally) -> Pairs:
    """Read `STEM.en.gz` and `STEM.fr.gz`.

    Raises:
        DataError: one of them is no gzip file, or they differ in length.
    """
    paths = [stem.with_name(f"{stem.name}.{language}.gz") for language in ("en", "fr")]
    try:
        with gzip.open(paths[0]) as english, gzip.open(paths[1]) as french:
            files = [cast(BinaryIO, file) for file in (english, french)]
            sides = [read_lines(file, name=stem.name) for file in files]
            return Pairs.of(side_by_side(*sides, tally=tally, names=f"{stem}.{{en,fr}}.gz"))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{stem}.{{en,fr}}.gz cannot be read ({error}).",
            hint="Run `dl data verify` to see which file is wrong.",
        ) from None


# -- Europarl v7: what parliament said, cut by a rule that anyone can follow
# The rule, over the lines of `fr-en.tgz` in their order:
#
# 1. a pair is left out where a side is empty or no text, has more than 50 words (between white
# space), or more than three times as many as the other side;
# 2. of equal pairs the first stays;
# 3. the 2,000 pairs with the smallest hashes (BLAKE2b of English, tab, French in UTF-8, 8 bytes)
# are the validation set, the next 2,000 the test set; 4. of what remains, and of the test set, a
# pair goes that shares a sentence of either language with a set before it: nothing tested, in
# either direction, was learnt.
#
# `europarl-dev500k` is another cut, made by hand for development; its name goes into signatures.

MOST_WORDS = 50
MOST_RATIO = 3
EUROPARL_HELD_OUT = 2_000

_MEMBER = "europarl-v7.fr-en"


def read_europarl_dev(folder: Path) -> Corpus:
    """Read the development cut from a data folder whose files were checked."""
    tally = Tally()
    inside = folder / "europarl"
    return Corpus(
        name=EUROPARL_DEV.name,
        languages=("en", "fr"),
        train=read_gzipped(inside / "train", tally=tally),
        valid=read_gzipped(inside / "valid", tally=tally),
        tests={"test": read_gzipped(inside / "test", tally=tally)},
        dropped=dict(tally.dropped),
    )


def read_europarl(folder: Path, *, held_out: int = EUROPARL_HELD_OUT) -> Corpus:
    """Cut the published archive, which was checked, by this module's rule.

    Two passes over the archive at once, one a language, keep the raw text out of memory.

    Args:
        folder: the data folder.
        held_out: how many pairs the validation set has, and the test set before its fourth step.

    Raises:
        DataError: the archive lacks a language, or its sides differ in length.
    """
    archive = folder / EUROPARL.files[0].name
    tally = Tally()
    try:
        with _member(archive, "en") as english, _member(archive, "fr") as french:
            sides = [read_lines(file, name=str(archive)) for file in (english, french)]
            lines = side_by_side(*sides, tally=tally, names=f"the sides of {archive}")
            hashes, pairs = _kept(lines, tally=tally)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive} cannot be read ({error}).",
            hint="Run `dl data verify europarl`.",
        ) from None
    return _cut(pairs, hashes, tally=tally, held_out=held_out)


@contextmanager
def _member(archive: Path, language: str) -> Iterator[BinaryIO]:
    """Open one language of the archive."""
    with tarfile.open(archive, "r:gz") as members:
        for entry in members:
            if entry.isreg() and Path(entry.name).name == f"{_MEMBER}.{language}":
                yield cast(BinaryIO, members.extractfile(entry))
                return
    raise OSError(f"it has no {_MEMBER}.{language}")


def pair_hash(english: str, french: str) -> int:
    """Hash a pair into [0, 2**64), the same everywhere."""
    text = f"{english}\t{french}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _kept(
    pairs: Iterable[tuple[str, str]], *, tally: Tally
) -> tuple[list[int], list[tuple[str, str]]]:
    """Apply the rule's first two steps; return what stays, and its hashes."""
    kept: list[tuple[str, str]] = []
    seen: dict[int, None] = {}  # ordered, unlike a set
    for english, french in pairs:
        shorter, longer = sorted((len(english.split()), len(french.split())))
        if longer > MOST_WORDS:
            tally.dropped[f"more than {MOST_WORDS} words"] += 1
        elif longer > MOST_RATIO * shorter:
            tally.dropped[f"length ratio over {MOST_RATIO}"] += 1
        elif (hashed := pair_hash(english, french)) in seen:
            tally.dropped["duplicate pair"] += 1
        else:
            seen[hashed] = None
            kept.append((english, french))
    return list(seen), kept


def _cut(pairs: list[tuple[str, str]], hashes: list[int], *, tally: Tally, held_out: int) -> Corpus:
    """Apply the rule's last two steps."""
    order = np.argsort(np.array(hashes, dtype=np.uint64), kind="stable")
    places = [np.sort(part) for part in np.split(order, [held_out, 2 * held_out])]
    english: set[str] = set()
    french: set[str] = set()
    splits = []
    for part in places:
        chosen = [pairs[place] for place in part]
        apart = [pair for pair in chosen if pair[0] not in english and pair[1] not in french]
        if len(apart) < len(chosen):
            tally.dropped["shared with valid or test"] += len(chosen) - len(apart)
        english.update(pair[0] for pair in apart)
        french.update(pair[1] for pair in apart)
        splits.append(Pairs.of(apart))
    valid, test, train = splits
    return Corpus(
        name=EUROPARL.name,
        languages=("en", "fr"),
        train=train,
        valid=valid,
        tests={"test": test},
        dropped=dict(tally.dropped),
    )


# -- Multi30k: captions of photographs, with the splits that its authors publish
# Text stays raw and cased; who compares with lower-cased figures lower-cases when scoring.

TESTS = ("test_2016_flickr", "test_2017_flickr")


def read_multi30k(folder: Path) -> Corpus:
    """Read the corpus from a data folder whose files were checked."""
    tally = Tally()
    inside = folder / "multi30k"
    return Corpus(
        name=MULTI30K.name,
        languages=("en", "fr"),
        train=read_gzipped(inside / "train", tally=tally),
        valid=read_gzipped(inside / "val", tally=tally),
        tests={name: read_gzipped(inside / name, tally=tally) for name in TESTS},
        dropped=dict(tally.dropped),
    )


# -- Tatoeba: short everyday sentences, many of which have several translations
# The archive lists each English sentence once for every French one. Sentences are dealt out in
# families (`dlcli.data.sentences`), so that no sentence of either language is in two splits.

TATOEBA_HELD_OUT = 2_000
"""Different English sentences in the validation set, and as many in the test set."""


def read_tatoeba(folder: Path) -> Corpus:
    """Read the corpus from a data folder whose files were checked."""
    (check,) = TATOEBA.files
    tally = Tally()
    with open_checked(folder, check) as file:
        pairs = list(columns(read_lines(file, name=check.name), tally=tally))
    return split_corpus(pairs, name=TATOEBA.name, held_out=TATOEBA_HELD_OUT, tally=tally)


# -- Several corpora as one to train on: "europarl+tatoeba"

JOINED_HELD_OUT = "held out by another corpus"
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
    source: list[str] = []
    target: list[str] = []
    dropped: Counter[str] = Counter()
    for number, corpus in enumerate(corpora):
        others = set[str]().union(*(keys for at, keys in enumerate(held_out) if at != number))
        dropped.update(corpus.dropped)
        for one, two in zip(corpus.train.source, corpus.train.target, strict=True):
            if sentence_key(one) in others or sentence_key(two) in others:
                dropped[JOINED_HELD_OUT] += 1
            else:
                source.append(one)
                target.append(two)
    first = corpora[0]
    return Corpus(
        name=MARK.join(corpus.name for corpus in corpora),
        languages=first.languages,
        train=Pairs(source=tuple(source), target=tuple(target)),
        valid=first.valid,
        tests=first.tests,
        dropped=dict(dropped),
    )


def _held_out(corpus: Corpus) -> set[str]:
    splits = (corpus.valid, *corpus.tests.values())
    sides = (side for pairs in splits for side in (pairs.source, pairs.target))
    return {sentence_key(text) for side in sides for text in side}


_READERS: dict[str, Callable[[Path], Corpus]] = {
    "tatoeba": read_tatoeba,
    "multi30k": read_multi30k,
    "europarl": read_europarl,
    "europarl-dev500k": read_europarl_dev,
}


def load_corpus(
    name: str = "auto",
    *,
    direction: str = "en-fr",
    offline: bool = False,
    notice: Notice = tell,
    seed: int = 0,
    train_pairs: int | None = None,
) -> Corpus:
    """Load a parallel corpus by name.

    Args:
        name: "tatoeba", "multi30k", "europarl", "europarl-dev500k", "grammar"; several of these
            with `+` between ("europarl+tatoeba", see `dlcli.data.corpora.join`); a path of
            tab-separated pairs ("pairs.tsv") or two paths ("a.en,b.fr"); "auto" is tatoeba where it
            can be had, else grammar with a notice.
        direction: "en-fr", or "fr-en" with the sides changed.
        offline: never ask the network.
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
    if is_path(name):
        corpus = read_text_files(name, notice=notice)
    elif is_joined(name):
        corpus = _joined(parts_of(name), offline=offline, notice=notice, seed=seed)
    else:
        corpus = _named(name, offline=offline, notice=notice, seed=seed, most=train_pairs)
    return corpus if direction == "en-fr" else corpus.swapped()


def _joined(names: list[str], *, offline: bool, notice: Notice, seed: int) -> Corpus:
    corpora = [_named(name, offline=offline, notice=notice, seed=seed) for name in names]
    if "auto" in names or len({corpus.name for corpus in corpora}) < len(corpora):
        raise ConfigError(
            f"'{'+'.join(names)}' does not name different corpora.",
            hint="Name each of them once, such as europarl+tatoeba.",
        )
    corpus = join(corpora)
    if count := corpus.dropped.get(JOINED_HELD_OUT):
        notice(f"{corpus.name}: {count:,} training pairs left out: {JOINED_HELD_OUT}.")
    return corpus


def _named(
    name: str, *, offline: bool, notice: Notice, seed: int, most: int | None = None
) -> Corpus:
    data_set = named(TATOEBA.name if name == "auto" else name)
    if data_set.kind != "pairs" or name not in (data_set.name, "auto"):
        raise ConfigError(
            f"The data set '{name}' is no parallel corpus.",
            hint=f"Use {', '.join(_READERS)}, grammar, several of these (europarl+tatoeba), "
            "a TSV or two files (a.en,b.fr).",
        )
    if data_set.embedded:
        return _grammar(seed, most)
    data_set, place = _here(data_set, notice=notice)
    if place is None:
        try:
            place = fetch(data_set, offline=offline, notice=notice).folder
        except DataError as error:
            if name != "auto":
                raise
            notice(f"{error.message} Taking 'grammar' in its place.")
            return _grammar(seed, most)
    corpus = _READERS[data_set.name](place)
    if corpus.dropped:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in corpus.dropped.items())
        notice(f"{corpus.name}: pairs left out: {counts}.")
    return corpus


def _here(data_set: DataSet, *, notice: Notice) -> tuple[DataSet, Path | None]:
    """Find a corpus on this machine; `europarl` may be there as its development cut."""
    place = find(data_set)
    if place is None and data_set.name == EUROPARL.name:
        cut = find(EUROPARL_DEV)
        if cut is not None:
            notice(
                f"'{EUROPARL.name}' is not here: taking '{EUROPARL_DEV.name}', another cut of it. "
                f"`dl data fetch {EUROPARL.name}` gets the published one."
            )
            return EUROPARL_DEV, cut.folder
    return data_set, None if place is None else place.folder


def _grammar(seed: int, most: int | None) -> Corpus:
    from dlcli.data.grammar import TRAIN_PAIRS, load_grammar

    return load_grammar(seed=seed, train=TRAIN_PAIRS if most is None else min(most, TRAIN_PAIRS))
