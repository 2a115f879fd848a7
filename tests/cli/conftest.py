"""Runs that the tests of the command line share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.tiny import CONV, TRAIN, dl_json


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing, which takes longer than the training."""
    for name in ("draw_curves", "draw_snapshots"):
        monkeypatch.setattr(f"dlcli.display.runs.{name}", lambda *_a, **_k: None)


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once for all tests: `mlp`, `conv`."""
    folder = tmp_path_factory.mktemp("trained")
    dl_json(*TRAIN, "--out", str(folder / "mlp"))
    dl_json(*TRAIN, *CONV, "--out", str(folder / "conv"))
    return folder


@pytest.fixture(scope="session")
def tiny_run(_trained: Path) -> Path:
    """A finished run of an MLP that all tests share and none changes."""
    return _trained / "mlp"


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """A finished run of an MLP, the test's own, in `runs/mlp`."""
    shutil.copytree(_trained / "mlp", tmp_path / "runs" / "mlp")
    return tmp_path / "runs" / "mlp"


@pytest.fixture
def trained_conv(_trained: Path, tmp_path: Path) -> Path:
    """A finished run of a convolutional VAE, the test's own, in `runs/conv`."""
    shutil.copytree(_trained / "conv", tmp_path / "runs" / "conv")
    return tmp_path / "runs" / "conv"
