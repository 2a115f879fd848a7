"""The contract of a learner, shown on the tests' own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlcli.engine.loop import Batch, Criterion, Learner
from tests.engine.toy import ITEMS, Toy


def _rows(learner: Learner, *, start: int = 0, rank: int = 0, world: int = 1) -> list[Tensor]:
    batches: list[Batch] = list(learner.batches(epoch=1, start=start, rank=rank, world=world))
    return [torch.cat(batch.payload, 1) for batch in batches]


def test_the_batches_of_an_epoch_are_every_item_once() -> None:
    learner: Learner = Toy()
    found = torch.cat(_rows(learner))[:, :3]
    assert len(_rows(learner)) == learner.steps_per_epoch()
    assert sorted(found.tolist()) == sorted(Toy().x.tolist())


def test_starting_later_leaves_out_the_first_batches_and_changes_none() -> None:
    whole = _rows(Toy())
    for start in range(5):
        rest = _rows(Toy(), start=start)
        assert len(rest) == max(0, len(whole) - start)
        assert all(map(torch.equal, rest, whole[start:]))


def test_the_parts_of_all_processes_are_the_whole_batch() -> None:
    whole = _rows(Toy())
    parts = [_rows(Toy(), rank=rank, world=3) for rank in range(3)]
    for number, batch in enumerate(whole):
        together = torch.cat([part[number] for part in parts])
        assert sorted(together.tolist()) == sorted(batch.tolist())
    weights = [b.weight for b in Toy().batches(epoch=1, start=0, rank=2, world=3)]
    assert sum(weights) == ITEMS


@pytest.mark.parametrize(
    ("higher", "value", "best", "improves"),
    [
        (False, 1.0, None, True),
        (False, 1.0, 2.0, True),
        (False, 2.0, 2.0, False),
        (True, 2.0, 1.0, True),
        (True, 1.0, 1.0, False),
        (True, math.nan, None, False),
        (False, -math.inf, 1.0, False),
        (True, math.inf, 1.0, False),
    ],
)
def test_a_criterion_says_what_is_better(
    higher: bool, value: float, best: float | None, improves: bool
) -> None:
    assert Criterion(higher_is_better=higher).improves(value, best=best) is improves
