from __future__ import annotations

import pytest
import torch

from dlcli.layernorm.config import SOURCES, StackConfig, TrainConfig
from dlcli.layernorm.training import build_learner, draw_sequences

SMALL = TrainConfig(width=8, length=5, vocabulary=7, batch_size=3)
CPU = torch.device("cpu")


def learner(placement="pre", seed=0, **config):
    return build_learner(
        placement,
        stack=StackConfig(heads=2, **config),
        config=SMALL,
        depth=2,
        steps=4,
        seed=seed,
        device=CPU,
    )


def test_the_tasks_are_what_they_say():
    stream = torch.Generator().manual_seed(0)
    symbols, targets = draw_sequences("reverse", config=SMALL, stream=stream)
    assert symbols.shape == (3, 5)
    assert torch.equal(targets, symbols.flip(1))
    symbols, targets = draw_sequences("copy", config=SMALL, stream=stream)
    assert torch.equal(targets, symbols)
    assert 0 <= symbols.min() <= symbols.max() < 7


def test_batches_depend_on_the_seed_and_their_number_alone():
    whole = list(learner().batches(epoch=0, start=0, rank=0, world=1))
    late = list(learner().batches(epoch=0, start=2, rank=0, world=1))
    assert len(whole) == learner().steps_per_epoch() == 4
    assert torch.equal(whole[2].payload[0], late[0].payload[0])
    assert not torch.equal(whole[2].payload[0], whole[3].payload[0])
    assert whole[0].items == whole[0].weight == 15


def test_the_embedded_input_has_unit_variance():
    wide = TrainConfig(width=512, length=16, vocabulary=16, batch_size=16)
    made = build_learner(
        "pre", stack=StackConfig(), config=wide, depth=1, steps=1, seed=0, device=CPU
    )
    symbols, _ = draw_sequences("copy", config=wide, stream=torch.Generator().manual_seed(0))
    assert made.network.embed(symbols).var().item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("placement", list(SOURCES))
def test_forward_returns_sums_and_reaches_every_parameter(placement):
    made = learner(placement, regime="transformer")
    batch = next(made.batches(epoch=0, start=0, rank=0, world=1))
    parts = made.network(*batch.payload)
    assert 0 <= parts["correct"] <= 15
    parts["loss"].backward()
    assert all(p.grad is not None for p in made.network.parameters())


def test_placements_of_one_seed_share_their_embeddings():
    a, b = learner("post").network, learner("dlcl").network
    assert torch.equal(a.symbols, b.symbols)
    assert torch.equal(a.readout, b.readout)


def test_admin_arrives_profiled():
    omega = learner("admin").network.stack.layer(1).feedforward.omega
    assert (omega > 1).all()
