"""Links between tokens of which some were contracted, from attention that cannot tell them apart.

French "de" "le" both became "du", so their attention is the same, and linking each to its maximum
would link both to one word. Those who align by hand link "de" to "of" and "le" to "the", or to the
noun where there is no article: the best words, one each, in order. With no contraction this is
`alignment.attention_links`. Legend: T target tokens, S source tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor

from dlcli.nmt.alignment import Link, Links
from dlcli.nmt.detokenize import Span

Group = list[int]
"""Tokens that share their characters, in order; most are alone."""


def token_links(
    matrix: Tensor, *, source: Sequence[Span], target: Sequence[Span], least: float = 0.0
) -> Links:
    """Link each target token to where it looks most, contracted ones to different words.

    Args:
        matrix: (T, S) attention or anything like it, ≥ 0; tokens with the same span have the same
            rows or columns.
        source: the characters of each source token.
        target: the characters of each target token.
        least: links of no more mass than this are left out.
    """
    if not len(source) or not len(target):
        return frozenset()
    columns, rows = groups(source), groups(target)
    masses = matrix[[group[0] for group in rows]][:, [group[0] for group in columns]]
    chosen: list[Group] = [[] for _ in columns]
    """The target tokens that take each group of source tokens, in order."""
    for row, tokens in zip(masses, rows, strict=True):
        for token, column in zip(tokens, _best(row, count=len(tokens)), strict=False):
            if float(row[column]) > least:
                chosen[column].append(token)
    pairs = zip(columns, chosen, strict=True)
    return frozenset(itertools.chain.from_iterable(_paired(*pair) for pair in pairs))


def groups(spans: Sequence[Span]) -> list[Group]:
    """Put neighbours with the same span together."""
    runs = itertools.groupby(range(len(spans)), key=lambda index: spans[index])
    return [list(run) for _, run in runs]


def _best(row: Tensor, *, count: int) -> list[int]:
    """Return the places of the `count` greatest masses, in order; the last one for want of more."""
    places = row.argsort(descending=True, stable=True)[:count].tolist()
    found = sorted(place for place in places if float(row[place]) > 0)
    return found + found[-1:] * (count - len(found))


def _paired(source: Group, target: Group) -> list[Link]:
    """Pair a contraction's tokens with those that take it: in order, or all with a single one."""
    if len(target) == 1:
        return [(token, target[0]) for token in source]
    k, m = len(source), len(target)
    return [(source[rank * k // m], token) for rank, token in enumerate(target)]
