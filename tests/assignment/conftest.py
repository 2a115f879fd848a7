"""A lab with the smallest experiments there are, shared by the tests of all questions."""

from __future__ import annotations

import dataclasses

import pytest

from dlcli.assignment.lab import QUICK, Lab

TINY = dataclasses.replace(
    QUICK,
    train_data="glyphs:70",
    epochs=1,
    snapshots=(0, 1),
    grid_epochs=1,
    beta_epochs=1,
    conv_images=64,
    conv_epochs=1,
    eval_images=3,
    eval_k=5,
    snapshot_images=3,
    snapshot_k=5,
    gradient_images=2,
    gradient_samples=4,
    dims=(2,),
    prior_samples=(10, 100),
    kl_samples=1000,
    sentences=12,
    depths=(1, 2),
    norm_seeds=2,
)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """No data sets but the embedded ones, one thread, a folder of its own."""
    folder = tmp_path_factory.mktemp("lab")
    return Lab(sizes=TINY, runs=folder / "runs", data="glyphs:70", offline=True, threads=1)
