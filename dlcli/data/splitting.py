"""Which pairs are learnt from, chosen by and tested on: by hashes, so that anyone gets the same.

Sentences that differ in case or punctuation only count as one. Pairs that share a sentence on
either side, directly or through others, are a family and stay together: nothing that is tested, in
either direction, was learnt.

Legend: N pairs; a source or target *number* stands for one different sentence of that side.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlcli.data.lines import Tally
from dlcli.data.pairs import Corpus, Pairs
from dlcli.errors import DataError

TRAIN, VALID, TEST = 0, 1, 2

_WORDS = re.compile(r"\w+")


def sentence_key(sentence: str) -> str:
    """Reduce a sentence to what makes it another one: its words, without case."""
    return " ".join(_WORDS.findall(sentence.casefold())) or sentence


def stable_hash(text: str) -> int:
    """Hash a text into [0, 2**64), the same in every process and on every machine."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Pairs that are connected by shared sentences.

    Attributes:
        rank: the smallest hash of its source sentences.
        sources: how many different source sentences it has.
        pairs: places of its pairs, ascending.
    """

    rank: int
    sources: int
    pairs: list[int]


def split_connected(
    source: Iterable[str], target: Iterable[str], *, held_out: int
) -> dict[int, list[int]]:
    """Deal pairs out to TRAIN, VALID and TEST, a whole family at a time.

    Families come in the order of their hashes. One that has more sentences than VALID or TEST
    still lacks goes to TRAIN.

    Args:
        source: N sentences.
        target: their N translations.
        held_out: how many different source sentences VALID shall have, and TEST as well.

    Returns:
        The places of each split's pairs, ascending; VALID and TEST stay empty where there are fewer
        than three families.
    """
    families = _families(source, target)
    dealt: dict[int, list[int]] = {TRAIN: [], VALID: [], TEST: []}
    lacks = dict.fromkeys((VALID, TEST), 0)
    if len(families) >= 3:
        second_smallest = sorted(family.sources for family in families)[1]
        lacks = dict.fromkeys((VALID, TEST), max(held_out, second_smallest))
    for family in sorted(families, key=lambda family: family.rank):
        split = next((s for s in (VALID, TEST) if family.sources <= lacks[s]), TRAIN)
        if split != TRAIN:
            lacks[split] -= family.sources
        dealt[split] += family.pairs
    return {split: sorted(pairs) for split, pairs in dealt.items()}


def split_corpus(
    pairs: Sequence[tuple[str, str]],
    *,
    name: str,
    held_out: int,
    tally: Tally,
    languages: tuple[str, str] = ("en", "fr"),
) -> Corpus:
    """Make a corpus of pairs that come without splits, dealt out by `split_connected`.

    Raises:
        DataError: too few sentences differ for a training, a validation and a test set.
    """
    dealt = split_connected([one for one, _ in pairs], [two for _, two in pairs], held_out=held_out)
    if not all(dealt.values()):
        raise DataError(
            f"{name} has {_amount(len(pairs), 'pair')} of sentences, too few or too much alike for "
            "a training, a validation and a test set.",
            hint="Three pairs that share no sentence are the least; hundreds make a translator.",
        )
    splits = {s: Pairs.of(pairs[place] for place in places) for s, places in dealt.items()}
    return Corpus(
        name=name,
        languages=languages,
        train=splits[TRAIN],
        valid=splits[VALID],
        tests={"test": splits[TEST]},
        dropped=dict(tally.dropped),
    )


def _amount(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _families(source: Iterable[str], target: Iterable[str]) -> list[_Family]:
    sources, source_keys = _number(source)
    targets, target_keys = _number(target)
    roots = list(range(len(source_keys) + len(target_keys)))

    def root(node: int) -> int:
        while roots[node] != node:
            roots[node] = roots[roots[node]]  # halves the path, so that the next walk is shorter
            node = roots[node]
        return node

    for one, other in zip(sources, targets, strict=True):
        roots[root(one)] = root(len(source_keys) + other)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(sources):
        members[root(one)].append(place)
    hashes = [stable_hash(key) for key in source_keys]
    return [
        _Family(rank=min(hashes[n] for n in numbers), sources=len(numbers), pairs=pairs)
        for pairs in members.values()
        for numbers in [{sources[place] for place in pairs}]
    ]


def _number(sentences: Iterable[str]) -> tuple[list[int], Sequence[str]]:
    """Number sentences by their keys, in the order in which they come."""
    numbers: dict[str, int] = {}
    numbered = [numbers.setdefault(sentence_key(s), len(numbers)) for s in sentences]
    return numbered, list(numbers)
