"""Europarl v7: what parliament said, cut by a rule that anyone can follow.

The rule, over the lines of `fr-en.tgz` in their order:

1. a pair is left out where a side is empty or no text, has more than 50 words (between white
   space), or more than three times as many as the other side;
2. of equal pairs the first stays;
3. the 2,000 pairs with the smallest hashes (BLAKE2b of English, tab, French in UTF-8, 8 bytes) are
   the validation set, the next 2,000 the test set;
4. of what remains, and of the test set, a pair goes that shares a sentence of either language with
   a set before it: nothing tested, in either direction, was learnt.

`europarl-dev500k` is another cut, made by hand for development; its name goes into signatures.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from dlcli.data.catalogue import EUROPARL, EUROPARL_DEV
from dlcli.data.gzipped import read_gzipped
from dlcli.data.lines import Tally, read_lines, side_by_side
from dlcli.data.pairs import Corpus, Pairs
from dlcli.errors import DataError

MOST_WORDS = 50
MOST_RATIO = 3
HELD_OUT = 2_000

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


def read_europarl(folder: Path, *, held_out: int = HELD_OUT) -> Corpus:
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
