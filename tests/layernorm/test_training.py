"""Deep stacks on a sequence task: the task, the model, and its loss curves."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.layernorm.config import SOURCES, LnGradientsConfig, StackConfig, TrainConfig
from dlcli.layernorm.training import (
    Arm,
    arms,
    build_learner,
    draw_sequences,
    train_arms,
    train_one,
)
from tests.layernorm.tiny import CPU, seeded, small

SMALL = TrainConfig(width=8, length=5, vocabulary=7, batch_size=3)


def learner(placement="pre", seed=0, **config):
    return build_learner(
        placement,
        stack=StackConfig(heads=2, **config),
        config=SMALL,
        depth=2,
        steps=4,
        seed=seed,
        device=CPU.device,
    )


def test_the_tasks_are_what_they_say():
    stream = seeded()
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
        "pre", stack=StackConfig(), config=wide, depth=1, steps=1, seed=0, device=CPU.device
    )
    symbols, _ = draw_sequences("copy", config=wide, stream=seeded())
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


def config(placements=("post", "pre"), **training):
    sizes = {"width": 16, "length": 3, "vocabulary": 4, "steps": 40, "lr": 0.01, **training}
    return small(training=sizes, sweep={"placements": placements})


def test_post_norm_alone_is_also_run_with_warm_up():
    found = [(arm.placement, arm.warmup) for arm in arms(config(warmup_steps=9))]
    assert found == [("post", 0), ("pre", 0), ("post", 9)]
    assert len(arms(config(warmup_steps=0))) == 2
    assert [arm.name for arm in arms(config(placements=("rezero",)))] == ["rezero, no warm-up"]


def test_a_small_task_is_learned():
    arm = Arm(placement="pre", warmup=0)
    *_, curve = train_one(arm, config=config(steps=300), seed=0, compute=CPU)
    assert curve.solved
    assert curve.loss[-1] < 0.2 < 1.0 < curve.loss[0]
    assert curve.steps == tuple(range(15, 301, 15))
    assert len(curve.steps) == len(curve.loss) == len(curve.accuracy)


def test_results_grow_and_end_with_every_arm():
    results = list(train_arms(config(steps=4, seeds=2), compute=CPU))
    assert [len(r.curves) for r in results] == sorted(len(r.curves) for r in results)
    final = results[-1]
    assert len(final.curves) == 6
    assert {curve.seed for curve in final.curves} == {0, 1}
    assert final.chance_loss == pytest.approx(math.log(4))
    assert all("2 runs" in words for words in final.words)
    assert "no run is complete" in results[0].words[0]


def test_trainings_repeat_bit_by_bit():
    arm = Arm(placement="post", warmup=2)
    first, second = (list(train_one(arm, config=config(), seed=3, compute=CPU))[-1] for _ in "ab")
    assert first == second


def test_a_run_that_diverges_says_so_and_the_others_go_on():
    *_, final = train_arms(config(steps=8, lr=1e3, warmup_steps=0), compute=CPU)
    assert len(final.curves) == 2
    for curve in final.curves:
        assert not curve.solved
        assert curve.note or math.isfinite(curve.loss[-1])


@pytest.mark.slow
def test_18_layers_learn_without_warm_up_only_with_pre_norm():
    settings = LnGradientsConfig()
    *_, pre = train_one(Arm(placement="pre", warmup=0), config=settings, seed=0, compute=CPU)
    *_, post = train_one(Arm(placement="post", warmup=0), config=settings, seed=0, compute=CPU)
    assert pre.solved
    assert not post.solved
    assert post.loss[-1] > 0.95 * math.log(16)
