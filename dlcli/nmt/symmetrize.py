"""Two alignments of opposite directions made into one.

A model links each of its target words to one source word, so it can give one source word many
targets but no target two sources; the model of the other direction errs the other way. Heuristics
of Och & Ney 2003 and Koehn, Och & Marcu 2003, as in Moses and fast_align. All links here are
(source, target) of the forward direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from dlcli.nmt.alignment import Link, Links, swapped
from dlcli.nmt.detokenize import Span
from dlcli.nmt.token_links import token_links

Heuristic = Literal[
    "intersection", "union", "grow-diag", "grow-diag-final-and", "forward", "backward"
]
Combination = Literal["none", "average", "product"]
HEURISTICS: tuple[Heuristic, ...] = get_args(Heuristic)
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)

NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def symmetrize(forward: Links, backward: Links, *, heuristic: Heuristic) -> Links:
    """Join the links of two directions.

    Args:
        forward: of the model that translates source to target.
        backward: of the other model, already as (source, target): see `alignment.swapped`.
        heuristic: `intersection`, `union`, `grow-diag` (the intersection, and neighbours from the
            union where a word has no link yet), `grow-diag-final-and` (then links of either
            between two words without any); `forward` and `backward` take one side alone.
    """
    if heuristic == "forward":
        return forward
    if heuristic == "backward":
        return backward
    if heuristic == "intersection":
        return forward & backward
    if heuristic == "union":
        return forward | backward
    grown = _grow_diag(forward & backward, forward | backward)
    if heuristic == "grow-diag-final-and":
        for side in (forward, backward):
            grown = _final_and(grown, side)
    return grown


def combine(forward: Tensor, backward: Tensor, *, how: Combination) -> tuple[Tensor, Tensor]:
    """Mix the attention matrices of two directions, so that each side knows what the other saw.

    Args:
        forward: (T, S).
        backward: (S, T), of the model of the other direction.
        how: `none` leaves them; `average` and `product` give both directions the same matrix.

    Returns:
        (T, S) and (S, T).
    """
    if how == "none":
        return forward, backward
    mixed = (forward + backward.T) / 2 if how == "average" else forward * backward.T
    return mixed, mixed.T


def symmetric_links(
    forward: Tensor,
    backward: Tensor,
    *,
    source: Sequence[Span],
    target: Sequence[Span],
    heuristic: Heuristic,
    how: Combination = "none",
    least: float = 0.0,
) -> Links:
    """Link tokens by two attention matrices of opposite directions.

    Args:
        forward: (T, S), rows of target tokens.
        backward: (S, T), rows of source tokens.
        source: the characters of each source token, see `token_links`.
        target: the characters of each target token.
        heuristic: see `symmetrize`.
        how: see `combine`.
        least: of the (mixed) matrices, see `token_links`.
    """
    by_target, by_source = combine(forward, backward, how=how)
    one = token_links(by_target, source=source, target=target, least=least)
    other = swapped(token_links(by_source, source=target, target=source, least=least))
    return symmetrize(one, other, heuristic=heuristic)


def _grow_diag(start: Links, union: Links) -> Links:
    """Add neighbours of links, from the union, until no word without a link can get one so."""
    found = set(start)
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    candidates = sorted(union)
    before = -1
    while len(found) > before:
        before = len(found)
        for link in candidates:
            if link not in found:
                continue
            for new in _neighbours(link):
                if (
                    new in union
                    and new not in found
                    and not (new[0] in sources and new[1] in targets)
                ):
                    found.add(new)
                    sources.add(new[0])
                    targets.add(new[1])
    return frozenset(found)


def _final_and(start: Links, side: Links) -> Links:
    """Add links of one side between two words that have none."""
    found = set(start)
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    for i, j in sorted(side):
        if i not in sources and j not in targets:
            found.add((i, j))
            sources.add(i)
            targets.add(j)
    return frozenset(found)


def _neighbours(link: Link) -> list[Link]:
    return [(link[0] + down, link[1] + right) for down, right in NEIGHBOURS]
