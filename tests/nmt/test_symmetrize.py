"""Joining two directions: examples by hand, and the published loops, run word for word."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from dlcli.nmt.alignment import HEURISTICS, Links, combine, symmetric_links, symmetrize

FORWARD = frozenset({(0, 0), (1, 1), (1, 2), (3, 4)})
BACKWARD = frozenset({(0, 0), (1, 1), (2, 2), (4, 3)})


def test_an_example_worked_by_hand() -> None:
    def found(heuristic: Any) -> Links:
        return symmetrize(FORWARD, BACKWARD, heuristic=heuristic)

    assert found("forward") == FORWARD
    assert found("backward") == BACKWARD
    assert found("intersection") == {(0, 0), (1, 1)}
    assert found("union") == FORWARD | BACKWARD
    # (1, 2) touches (1, 1) and gives target 2 its first link; then (2, 2) gives source 2 one.
    # (3, 4) and (4, 3) touch nothing that is linked.
    assert found("grow-diag") == {(0, 0), (1, 1), (1, 2), (2, 2)}
    assert found("grow-diag-final-and") == FORWARD | BACKWARD


def test_growing_leaves_out_links_between_words_that_have_one() -> None:
    forward, backward = frozenset({(0, 0), (1, 1), (0, 1)}), frozenset({(0, 0), (1, 1)})
    assert symmetrize(forward, backward, heuristic="grow-diag-final-and") == {(0, 0), (1, 1)}


def test_final_and_adds_only_between_two_free_words() -> None:
    forward, backward = frozenset({(0, 0), (0, 5), (3, 3)}), frozenset({(0, 0)})
    assert symmetrize(forward, backward, heuristic="grow-diag") == {(0, 0)}
    assert symmetrize(forward, backward, heuristic="grow-diag-final-and") == {(0, 0), (3, 3)}


def pseudo_code(forward: Links, backward: Links, *, size: int, final: bool) -> set[tuple[int, int]]:
    """GROW-DIAG-FINAL-AND as published: loops over every pair of words, Moses's neighbours."""
    neighbours = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    union, found = forward | backward, set(forward & backward)

    def linked(e: int | None = None, f: int | None = None) -> bool:
        return any(i == e if e is not None else j == f for i, j in found)

    added = True
    while added:
        added = False
        for e in range(size):
            for f in range(size):
                for a, b in neighbours if (e, f) in found else []:
                    new = e + a, f + b
                    free = not linked(e=new[0]) or not linked(f=new[1])
                    if free and new in union and new not in found:
                        found.add(new)
                        added = True
    for side in (forward, backward) if final else ():
        for e in range(size):
            for f in range(size):
                if (e, f) in side and not linked(e=e) and not linked(f=f):
                    found.add((e, f))
    return found


def related(draw: random.Random, size: int) -> tuple[Links, Links]:
    """Two noisy copies of a diagonal, each one-to-many in its own direction."""
    forward = {(min(size - 1, max(0, t + draw.choice([-1, 0, 0, 1]))), t) for t in range(size)}
    backward = {(s, min(size - 1, max(0, s + draw.choice([-1, 0, 0, 1])))) for s in range(size)}
    return frozenset(forward), frozenset(backward)


def test_growing_agrees_with_the_pseudo_code() -> None:
    draw = random.Random(5)
    for _ in range(300):
        forward, backward = related(draw, 6)
        grown = symmetrize(forward, backward, heuristic="grow-diag")
        final = symmetrize(forward, backward, heuristic="grow-diag-final-and")
        assert forward & backward <= grown <= final <= forward | backward
        assert grown == pseudo_code(forward, backward, size=6, final=False)
        assert final == pseudo_code(forward, backward, size=6, final=True)


def test_every_heuristic_agrees_with_itself_where_both_sides_do() -> None:
    same = frozenset({(0, 1), (1, 0), (2, 2)})
    for heuristic in HEURISTICS:
        assert symmetrize(same, same, heuristic=heuristic) == same
        assert symmetrize(frozenset(), frozenset(), heuristic=heuristic) == frozenset()


def test_attention_of_both_sides_is_mixed() -> None:
    forward = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]])  # 3 target words, 2 source words
    backward = torch.tensor([[0.2, 0.7, 0.1], [0.0, 0.3, 0.7]])
    mean, mean_back = combine(forward, backward, how="average")
    torch.testing.assert_close(mean, torch.tensor([[0.4, 0.2], [0.6, 0.4], [0.1, 0.8]]))
    torch.testing.assert_close(mean_back, mean.T)
    product, _ = combine(forward, backward, how="product")
    torch.testing.assert_close(product, torch.tensor([[0.12, 0.0], [0.35, 0.15], [0.01, 0.63]]))
    assert combine(forward, backward, how="none") == (forward, backward)


@pytest.mark.parametrize("how", ["none", "average", "product"])
def test_links_of_two_matrices(how: Any) -> None:
    forward = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9]])
    backward = torch.tensor([[0.5, 0.4, 0.1], [0.0, 0.2, 0.8]])
    spans = {"source": [(0, 1), (1, 2)], "target": [(0, 1), (1, 2), (2, 3)]}
    found = symmetric_links(forward, backward, heuristic="intersection", how=how, **spans)
    assert found == {(0, 0), (1, 2)}
    union = symmetric_links(forward, backward, heuristic="union", how=how, **spans)
    assert union == {(0, 0), (0, 1), (1, 2)}
