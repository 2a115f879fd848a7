"""Randomness by name: the same everywhere, different for every name, captured and put back."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch

from dlcli.engine.seed import (
    derive,
    generator,
    random_states,
    reseed,
    restore_random_states,
    seed_everything,
)

CPU = torch.device("cpu")


def test_derived_seeds_never_change() -> None:
    """Saved runs depend on them: a change here breaks every resume and every signature."""
    assert derive(0, "noise", 1) == 6506115867383488411
    assert derive(2**63 - 1) == 2076403846995799137


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
