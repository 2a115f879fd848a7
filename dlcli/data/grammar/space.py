"""Finite spaces: what can be said, counted exactly and drawn from.

A space knows how many different things it holds. It is built of values, products and weighted
unions; weights decide how often a branch is drawn and never how large it is. All randomness comes
from a function that returns a number in [0, 1), such as `random.Random(seed).random`, whose values
are the same in every version of Python.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
Chance = Callable[[], float]
"""A source of numbers, uniform in [0, 1)."""


class Space(Protocol[T_co]):
    """A finite set that can be counted, listed and drawn from.

    Attributes:
        size: how many elements there are.
    """

    size: int

    def draw(self, chance: Chance) -> T_co:
        """Draw one element."""
        ...

    def __iter__(self) -> Iterator[T_co]:
        """List all elements, each once."""
        ...


class Values(Generic[T_co]):
    """Given values, all different and equally likely."""

    def __init__(self, values: Sequence[T_co]) -> None:
        self.values = tuple(values)
        self.size = len(self.values)

    def draw(self, chance: Chance) -> T_co:
        """Draw one value."""
        return self.values[int(chance() * self.size)] if self.size > 1 else self.values[0]

    def __iter__(self) -> Iterator[T_co]:
        return iter(self.values)


class Product(Generic[T_co]):
    """What a function makes of one element of each part; it must map no two choices to one."""

    def __init__(self, make: Callable[..., T_co], *parts: Space[Any]) -> None:
        self.make, self.parts = make, parts
        self.size = math.prod(part.size for part in parts)

    def draw(self, chance: Chance) -> T_co:
        """Draw an element of every part, in order."""
        return self.make(*[part.draw(chance) for part in self.parts])

    def __iter__(self) -> Iterator[T_co]:
        return itertools.starmap(self.make, itertools.product(*self.parts))


class Union(Generic[T_co]):
    """Disjoint spaces, drawn by weight; a union inside a union is opened, which saves draws."""

    def __init__(self, *branches: tuple[float, Space[T_co]]) -> None:
        opened = [(weight, inner) for pair in branches for weight, inner in _opened(*pair)]
        self.branches = [branch for _, branch in opened]
        self.weights = [weight for weight, _ in opened]
        self.size = sum(branch.size for branch in self.branches)
        self._bounds = list(itertools.accumulate(self.weights))[:-1]
        self._total = sum(self.weights)

    def draw(self, chance: Chance) -> T_co:
        """Draw a branch by weight, then one of its elements."""
        at = bisect.bisect_right(self._bounds, chance() * self._total)
        return self.branches[at].draw(chance)

    def __iter__(self) -> Iterator[T_co]:
        return itertools.chain.from_iterable(self.branches)


def _opened(weight: float, space: Space[T_co]) -> list[tuple[float, Space[T_co]]]:
    if not isinstance(space, Union):
        return [(weight, space)]
    total = sum(space.weights)
    return [
        (weight * part / total, branch)
        for part, branch in zip(space.weights, space.branches, strict=True)
    ]
