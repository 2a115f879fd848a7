"""One update: its gradient is that of the mean over everything in it, however it was cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dlcli.engine.distributed import World
from dlcli.engine.loop import Batch, Stepper
from dlcli.engine.settings import OptimConfig
from tests.engine.toy import CPU, FEATURES, ToyNetwork


def _batch(rows: Tensor) -> Batch:
    payload = (rows[:, :FEATURES], rows[:, FEATURES:], torch.zeros_like(rows[:, :FEATURES]))
    return Batch(payload=payload, items=len(rows), weight=float(len(rows)))


def _rows(count: int) -> Tensor:
    return torch.randn(count, FEATURES + 1, dtype=torch.float64)


def _network(*, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    return ToyNetwork(dropout=dropout).double()


def _stepper(network: nn.Module, optim: OptimConfig, *, world: World | None = None) -> Stepper:
    return Stepper(network, optim=optim, compute=CPU, world=world or World(), seed=3)


SGD = OptimConfig(optimizer="sgd", lr=1.0)


def _moved(batches: Sequence[Batch], optim: OptimConfig) -> list[Tensor]:
    """Return how far one update moves each parameter."""
    network = _network()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    _stepper(network, optim).update(batches, step=0, total_steps=1)
    return [p.detach() - b for p, b in zip(network.parameters(), before, strict=True)]


def test_an_update_follows_the_gradient_of_the_mean_loss() -> None:
    rows, network = _rows(7), _network()
    loss = network(*_batch(rows).payload)["loss"] / 7
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for moved, gradient in zip(_moved([_batch(rows)], SGD), expected, strict=True):
        torch.testing.assert_close(moved, -gradient)


@pytest.mark.parametrize("cuts", [[7, 7, 7], [5, 9, 7], [1, 20], [20, 1]])
def test_accumulated_batches_are_one_big_batch(cuts: list[int]) -> None:
    rows = _rows(21)
    parts = [_batch(part) for part in torch.split(rows, cuts)]
    for ours, whole in zip(_moved(parts, SGD), _moved([_batch(rows)], SGD), strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cuts", [[21], [5, 9, 7]])
def test_clipping_bounds_the_norm_of_the_whole_gradient(cuts: list[int]) -> None:
    parts = [_batch(part) for part in torch.split(100 * _rows(21), cuts)]
    free, clipped = _moved(parts, SGD), _moved(parts, replace(SGD, clip_norm=0.25))
    free_norm, norm = (torch.cat([t.flatten() for t in m]).norm() for m in (free, clipped))
    assert free_norm > 1
    assert norm.item() == pytest.approx(0.25, rel=1e-5)
    for a, b in zip(free, clipped, strict=True):
        torch.testing.assert_close(a / free_norm, b / norm)


def test_clipping_leaves_a_small_gradient_alone() -> None:
    parts = [_batch(_rows(5))]
    for a, b in zip(_moved(parts, SGD), _moved(parts, replace(SGD, clip_norm=1e6)), strict=True):
        torch.testing.assert_close(a, b)


def test_sums_are_of_everything_in_the_update() -> None:
    rows, network = _rows(12), _network()
    with torch.no_grad():
        expected = network(*_batch(rows).payload)
    stepper = _stepper(network, replace(SGD, lr=1e-30))
    sums = stepper.update([_batch(part) for part in torch.split(rows, 5)], step=0, total_steps=1)
    assert stepper.names == ["loss", "half"]
    assert sums.dtype == torch.float64
    assert sums.tolist() == pytest.approx([12.0, *(float(v) for v in expected.values())])


def test_gradients_of_the_update_before_are_forgotten() -> None:
    rows, network = _rows(6), _network()
    stepper = _stepper(network, replace(SGD, lr=1e-30))
    for step in range(2):
        stepper.update([_batch(rows)], step=step, total_steps=2)
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    loss = network(*_batch(rows).payload)["loss"] / 6
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for ours, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, reference)


def test_dropout_depends_on_the_update_and_not_on_what_came_before() -> None:
    batch = _batch(_rows(50))

    def loss(step: int, *, rank: int = 0) -> float:
        stepper = _stepper(_network(dropout=0.5), SGD)
        stepper.world = World(rank=rank)
        torch.rand(torch.randint(1, 9, ()).item())  # type: ignore[arg-type]
        return float(stepper.update([batch], step=step, total_steps=9)[1])

    assert loss(4) == loss(4)
    assert len({loss(4), loss(5), loss(4, rank=1)}) == 3


def test_the_learning_rate_is_that_of_the_last_update() -> None:
    stepper = _stepper(_network(), replace(SGD, schedule="linear"))
    assert stepper.lr == 1.0
    stepper.update([_batch(_rows(5))], step=3, total_steps=4)
    assert stepper.lr == 0.25


def test_frozen_parameters_stay() -> None:
    network = _network()
    frozen = network.get_parameter("hidden.weight").requires_grad_(False)
    before = frozen.clone()
    stepper = _stepper(network, replace(SGD, clip_norm=1.0))
    stepper.update([_batch(_rows(5)), _batch(_rows(3))], step=0, total_steps=1)
    assert torch.equal(frozen, before)


def test_bf16_computes_in_bf16_and_keeps_weights_and_sums_exact() -> None:
    network = ToyNetwork()
    compute = replace(CPU, precision="bf16")
    stepper = Stepper(network, optim=SGD, compute=compute, world=World(), seed=3)
    products: list[torch.dtype] = []
    network.hidden.register_forward_hook(lambda _m, _i, out: products.append(out.dtype))
    rows = _rows(5).float()
    sums = stepper.update([_batch(rows)], step=0, total_steps=1)
    assert products == [torch.bfloat16]
    assert sums.dtype == torch.float64
    assert {p.dtype for p in network.parameters()} == {torch.float32}
