"""Optimisers and learning rates against torch's own and by their ends."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

import pytest
import torch
from torch import nn

from dlcli.engine.loop import LeanAdam, build_optimizer, learning_rate, set_learning_rate
from dlcli.engine.settings import OptimConfig

Schedule = Literal["constant", "cosine", "linear"]


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (OptimConfig(lr=0.1), lambda p: torch.optim.Adam(p, 0.1)),
        (
            OptimConfig(lr=0.1, weight_decay=0.3),
            lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.3),
        ),
        (OptimConfig(optimizer="sgd", lr=0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (
            OptimConfig(optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.3),
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.3),
        ),
    ],
)
def test_the_fused_optimisers_take_the_steps_of_the_plain_ones(
    config: OptimConfig, reference: Any
) -> None:
    start = torch.randn(3, 5, dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    pairs = [(ours, build_optimizer(config, [ours])), (theirs, reference([theirs]))]
    for parameter, optimizer in pairs:
        for _ in range(5):
            optimizer.zero_grad()
            torch.autograd.backward((parameter**4).sum())
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(ours, start)


def _adams() -> list[tuple[list[nn.Parameter], torch.optim.Optimizer]]:
    """Build ours and torch's, each for the same two weights."""
    found = []
    for kind in (LeanAdam, torch.optim.Adam):
        torch.manual_seed(0)
        weights = [nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(7))]
        found.append((weights, kind(weights, 0.1, weight_decay=0.3, fused=True)))
    return found


def _train(weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        for weight in weights:
            weight.grad = weight.detach() ** 3
        optimizer.step()


def test_lean_adam_takes_torchs_steps_to_the_bit_also_after_loading() -> None:
    (ours, lean), (theirs, plain) = _adams()
    for optimizer, weights in ((lean, ours), (plain, theirs)):
        _train(weights, optimizer, 3)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        _train(weights, optimizer, 3)
        weights[1].grad = None
        optimizer.step()
        _train(weights, optimizer, 2)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
    state, expected = (o.state_dict()["state"] for o in (lean, plain))
    for number in (0, 1):
        for name, tensor in expected[number].items():
            assert torch.equal(state[number][name], tensor)


def test_weights_of_two_types_are_left_to_torch() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, dtype=torch.float64))]
    assert type(build_optimizer(OptimConfig(), weights)) is torch.optim.Adam
    assert type(build_optimizer(OptimConfig(), weights[:1])) is LeanAdam


def _rates(config: OptimConfig, total: int) -> list[float]:
    return [learning_rate(config, step=step, total_steps=total) for step in range(total)]


def test_constant_is_constant() -> None:
    assert _rates(OptimConfig(lr=0.3), 4) == [0.3] * 4


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_warm_up_rises_in_equal_steps_to_the_peak(schedule: Schedule) -> None:
    rates = _rates(OptimConfig(lr=1.0, schedule=schedule, warmup_steps=4), 12)
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert max(rates) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_decays_fall_from_the_peak_to_just_above_the_end(schedule: Schedule, warmup: int) -> None:
    config = OptimConfig(lr=2.0, schedule=schedule, warmup_steps=warmup, final_lr=0.1)
    rates = _rates(config, 103)[warmup:]
    assert rates[0] == 2.0
    assert rates == sorted(rates, reverse=True)
    assert 0.2 < rates[-1] < 0.25
    assert learning_rate(config, step=103, total_steps=103) == pytest.approx(0.2)
    assert learning_rate(config, step=9999, total_steps=103) == pytest.approx(0.2)


def test_half_way_every_decay_is_half_way() -> None:
    for schedule in ("cosine", "linear"):
        config = OptimConfig(lr=1.0, schedule=schedule, final_lr=0.5)
        assert learning_rate(config, step=50, total_steps=100) == pytest.approx(0.75)


@pytest.mark.parametrize("total", [0, 1, 3])
def test_a_warm_up_longer_than_the_run_is_no_trouble(total: int) -> None:
    config = OptimConfig(lr=1.0, schedule="cosine", warmup_steps=10)
    rates = [learning_rate(config, step=step, total_steps=total) for step in range(12)]
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)
    assert rates[2] == pytest.approx(0.3)


def test_every_group_gets_the_learning_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(2))]}, {"params": [nn.Parameter(torch.ones(2))]}]
    optimizer = torch.optim.Adam(groups, 1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
