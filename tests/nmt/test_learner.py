from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcli.engine.loop import Batch, Learner
from dlcli.nmt.tokenizer import PAD
from tests.nmt.runs import make_learner


def _batches(learner: Learner, *, start: int = 0, rank: int = 0, world: int = 1) -> list[Batch]:
    return list(learner.batches(epoch=1, start=start, rank=rank, world=world))


def _sentences(batches: list[Batch]) -> list[tuple[int, ...]]:
    rows = [row for batch in batches for row in batch.payload[0].target_out.tolist()]
    return sorted(tuple(i for i in row if i != PAD) for row in rows if any(row))


@pytest.mark.parametrize("unit", ["sentences", "tokens"])
def test_the_batches_of_an_epoch_are_every_pair_once(unit: str) -> None:
    learner = make_learner(loop={"batch_unit": unit, "batch_size": 60})
    found = _batches(learner)
    assert len(found) == learner.steps_per_epoch()
    everything = learner.train.batch(np.arange(len(learner.train))).target_out.tolist()
    expected = sorted(tuple(i for i in row if i != PAD) for row in everything)
    assert _sentences(found) == expected
    assert sum(batch.weight for batch in found) == learner.tokens
    assert sum(batch.items for batch in found) == learner.tokens


def test_starting_later_leaves_out_the_first_batches_and_changes_none() -> None:
    learner = make_learner(objective={"teacher_forcing": 0.5})
    whole = _batches(learner)
    for start in range(len(whole) + 1):
        rest = _batches(learner, start=start)
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert torch.equal(one.payload[0].source, other.payload[0].source)
            assert torch.equal(one.payload[0].target_in, other.payload[0].target_in)
            assert torch.equal(one.payload[1], other.payload[1])


@pytest.mark.parametrize("forcing", [1.0, 0.5])
@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_all_processes_add_up_to_the_whole(forcing: float, world: int) -> None:
    learner = make_learner(objective={"teacher_forcing": forcing}, model={"dropout_embedding": 0.0})
    learner.network.double().eval()
    parts = [_batches(learner, rank=rank, world=world) for rank in range(world)]
    for number, batch in enumerate(_batches(learner)):
        sums = learner.network(*batch.payload)
        shares = [learner.network(*part[number].payload) for part in parts]
        for name, value in sums.items():
            torch.testing.assert_close(sum(share[name] for share in shares), value)
        assert sum(part[number].items for part in parts) == batch.items
        assert {part[number].weight for part in parts} == {batch.weight}


def test_a_process_without_sentences_counts_for_nothing() -> None:
    learner = make_learner(train=25, loop={"batch_size": 12})  # the last batch has one pair
    learner.network.double().eval()
    parts = [_batches(learner, rank=rank, world=2) for rank in range(2)]
    idle = [batch for part in parts for batch in part if batch.items == 0]
    assert len(idle) == 1
    found = learner.network(*idle[0].payload)
    assert found["loss"].item() == found["nll"].item() == 0.0
    found["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in learner.network.parameters())


def test_true_words_alone_need_no_coins() -> None:
    assert all(batch.payload[1] is None for batch in _batches(make_learner()))
    half = _batches(make_learner(objective={"teacher_forcing": 0.5}))
    assert all(batch.payload[1].shape == batch.payload[0].target_in.shape for batch in half)


def test_scheduled_sampling_begins_with_the_teacher() -> None:
    learner = make_learner(
        objective={"teacher_forcing": 1.0, "teacher_forcing_end": 0.0},
        loop={"epochs": 4, "batch_size": 2},
    )
    first, *_ = learner.batches(epoch=0, start=0, rank=0, world=1)
    assert first.payload[1] is None
    shares = []
    for epoch in range(4):
        coins = [b.payload[1] for b in learner.batches(epoch=epoch, start=0, rank=0, world=1)]
        coins = [c for c in coins if c is not None]
        shares.append(sum(float(c.sum()) for c in coins) / sum(c.numel() for c in coins))
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(7 / 8, abs=0.06)
    assert shares[3] == pytest.approx(1 / 8, abs=0.06)


def test_an_evaluation_has_both_losses_and_both_scores() -> None:
    learner = make_learner()
    found = learner.evaluate(epoch=1)
    assert set(found) == {"valid_loss", "valid_free_loss", "valid_bleu", "valid_chrf"}
    assert found["valid_loss"] == pytest.approx(math.log(330), rel=0.2)
    assert found == learner.evaluate(epoch=2)
