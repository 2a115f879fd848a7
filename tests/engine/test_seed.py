"""Where a training stands: out and back in with nothing lost, or one sentence."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlcli.engine.distributed import World
from dlcli.engine.seed import (
    Position,
    derive,
    generator,
    random_states,
    reseed,
    restore_random_states,
    seed_everything,
)
from dlcli.errors import CheckpointError
from tests.engine.toy import ToyNetwork, differences

WORLD = World()


def _trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    network = ToyNetwork(dropout=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(5, 3), torch.randn(5, 1), torch.zeros(5, 3))["loss"].backward()
        optimizer.step()
    return network, optimizer


def _state() -> dict[str, Any]:
    network, optimizer = _trained()
    at = Position(
        epoch=3,
        batch=2,
        step=14,
        train_s=1.5,
        best=0.25,
        stale=1,
        evaluated=12,
        names=["loss", "half"],
        sums=torch.tensor([12.0, 3.0, 1.5], dtype=torch.float64),
    )
    return at.state(network=network, optimizer=optimizer, world=WORLD)


def _restore(state: dict[str, Any], network: nn.Module | None = None) -> Any:
    network = network or ToyNetwork(dropout=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 0.9, fused=True)
    at = Position.restore(state, network=network, optimizer=optimizer, world=WORLD)
    return at.state(network=network, optimizer=optimizer, world=WORLD)


def test_what_is_restored_is_what_was_there() -> None:
    state = _state()
    random.seed(99)
    torch.manual_seed(99)
    assert not differences(_restore(state), state)


def test_a_fresh_position_needs_no_sums() -> None:
    network, optimizer = _trained()
    state = Position().state(network=network, optimizer=optimizer, world=WORLD)
    assert state["position"]["sums"] is None
    assert not differences(_restore(state), state)


def test_a_checkpoint_holds_a_copy_of_the_sums() -> None:
    network, optimizer = _trained()
    at = Position(names=["loss"], sums=torch.tensor([1.0, 2.0]))
    state = at.state(network=network, optimizer=optimizer, world=WORLD)
    assert at.sums is not None
    at.sums += 5
    assert state["position"]["sums"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("key", ["model", "optimizer", "position", "random"])
def test_a_checkpoint_that_lacks_something_is_refused(key: str) -> None:
    state = _state()
    del state[key]
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", {}),
        ("model", {"hidden.weight": torch.zeros(2)}),
        ("model", 5),
        ("optimizer", {}),
        ("optimizer", {"state": {}, "param_groups": []}),
        ("optimizer", "x"),
        ("position", {"epoch": 1, "colour": "red"}),
        ("position", {"sums": "x"}),
        ("position", None),
        ("random", {}),
        ("random", {"python": [3, torch.zeros(2), None]}),
        ("random", {"python": 5}),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(key: str, value: object) -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(_state() | {key: value})


def test_a_checkpoint_of_another_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(_state(), nn.Linear(3, 5))
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(_state(), ToyNetwork())


def test_another_number_of_processes_shares_the_sums_out() -> None:
    """Two processes saved; one goes on with all they had summed."""
    state = _state()
    state["position"]["sums"] = torch.tensor([[6.0, 2.0, 1.0], [5.0, 4.0, 2.0]])
    assert _restore(state)["position"]["sums"].tolist() == [[11.0, 6.0, 3.0]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("epoch", "3"), ("batch", None), ("step", [14]), ("stale", 0.5), ("evaluated", -7)],
        *[("train_s", "1"), ("train_s", -1.0), ("best", [0.5]), ("names", "ab"), ("names", ["a"])],
        *[("sums", [1.0]), ("sums", torch.ones(1, 7))],
    ],
)
def test_a_position_that_cannot_be_is_refused(name: str, value: object) -> None:
    state = _state()
    state["position"][name] = value
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)


def test_settings_of_the_optimiser_are_the_configurations_but_for_the_rate() -> None:
    state = _state()
    state["optimizer"]["param_groups"][0] |= {"betas": "fast", "eps": None, "weight_decay": 9}
    network = ToyNetwork(dropout=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 0.9, fused=True)
    Position.restore(state, network=network, optimizer=optimizer, world=WORLD)
    group = optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0)
    assert group["lr"] == 0.1
    state["optimizer"]["param_groups"][0]["lr"] = "quick"
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)


@pytest.mark.parametrize("change", ["shape", "lost"])
def test_means_of_other_weights_are_refused(change: str) -> None:
    state = _state()
    means = state["optimizer"]["state"][0]
    if change == "shape":
        means["exp_avg"] = torch.zeros(2, 2, 2)
    else:
        del means["exp_avg"]
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)


# -- Randomness by name: the same everywhere, different for every name, captured and put back

CPU = torch.device("cpu")


def test_derived_seeds_never_change() -> None:
    """Saved runs depend on them: a change here breaks every resume and every signature."""
    assert derive(0, "noise", 1) == 6506115867383488411
    assert derive(2**63 - 1) == 2076403846995799137


@given(st.integers(0, 2**63 - 1), st.lists(st.one_of(st.integers(), st.text())))
def test_derived_seeds_are_seeds_that_torch_takes(seed: int, names: list[object]) -> None:
    found = derive(seed, *names)
    assert 0 <= found < 2**63
    torch.Generator().manual_seed(found)


def test_names_do_not_run_together() -> None:
    found = {
        derive(1, "a", "b"),
        derive(1, "ab"),
        derive(1, "a", "b", ""),
        derive(11, "b"),
        derive(1, 1, "b"),
        derive(1, "b", 1),
    }
    assert len(found) == 6


def test_a_generator_depends_on_nothing_drawn_before() -> None:
    first = torch.randn(5, generator=generator(7, "noise", 3))
    torch.randn(100)
    torch.manual_seed(1)
    assert torch.equal(first, torch.randn(5, generator=generator(7, "noise", 3)))
    assert not torch.equal(first, torch.randn(5, generator=generator(7, "noise", 4)))


@pytest.mark.parametrize("seed", [0, 3, 2**32, 2**63 - 1])
def test_one_seed_reaches_python_numpy_and_torch(seed: int) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(seed)
    first = draw()
    assert draw() != first
    seed_everything(seed)
    assert draw() == first


def test_reseeding_draws_what_manual_seed_would() -> None:
    torch.manual_seed(derive(5, "step", 2))
    expected = torch.rand(7)
    reseed(derive(5, "step", 2), device=CPU)
    assert torch.equal(torch.rand(7), expected)


def test_reseeding_leaves_the_other_kinds_of_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visiting them takes `torch.manual_seed` 0.3 ms, which is too much for every update."""

    def visit(_seed: int) -> None:
        pytest.fail("a device that is not in use was visited")

    for kind in (torch.cuda, torch.xpu, torch.mtia):
        monkeypatch.setattr(kind, "manual_seed_all", visit)
    reseed(1, device=CPU)


def test_states_survive_a_checkpoint_without_pickled_code() -> None:
    seed_everything(4)
    random.gauss(0, 1)  # leaves half a pair behind
    np.random.randn()  # and so does this
    file = io.BytesIO()
    torch.save(random_states(), file)

    def draw() -> list[float]:
        python = [random.random(), random.gauss(0, 1), random.gauss(0, 1)]
        numpy = [float(np.random.randn()) for _ in range(3)]
        return [*python, *numpy, *torch.randn(3).tolist()]

    expected = draw()
    seed_everything(99)
    file.seek(0)
    restore_random_states(torch.load(file, weights_only=True))
    assert draw() == expected
