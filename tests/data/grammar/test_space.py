"""Spaces: what is counted is what is listed, and weights change only how often."""

from __future__ import annotations

import random
from collections import Counter

from dlcli.data.grammar.space import Product, Space, Union, Values


def _pair(letter: str, number: int) -> str:
    return f"{letter}{number}"


def _space() -> Space[str]:
    numbers = Union((3, Values([1, 2])), (1, Values([7])))
    return Union((1, Product(_pair, Values("abc"), numbers)), (2, Values(["x", "y"])))


def test_size_is_the_number_of_elements() -> None:
    space = _space()
    assert space.size == 3 * 3 + 2 == len(set(space)) == len(list(space))


def test_draws_are_elements_and_reach_all() -> None:
    space = _space()
    chance = random.Random(0).random
    assert {space.draw(chance) for _ in range(500)} == set(space)


def test_a_branch_comes_by_its_weight_not_by_its_size() -> None:
    chance = random.Random(3).random
    space = Union((3, Values(["rare"])), (1, Values(["a", "b", "c"])))
    counts = Counter(space.draw(chance) for _ in range(8_000))
    assert abs(counts["rare"] - 6_000) < 4 * (8_000 * 0.75 * 0.25) ** 0.5


def test_the_ends_of_chance_are_inside() -> None:
    space = _space()
    assert space.draw(lambda: 0.0) == "a1"
    assert space.draw(lambda: 1 - 2**-53) == "y"
