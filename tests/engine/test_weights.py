"""Weights come back from checkpoints and from exported files, or are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcli.engine.checkpoint import (
    EXPORTED,
    load_model,
    result_name,
    save_checkpoint,
    save_exported,
)
from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError

WEIGHTS = {
    "matrix": torch.linspace(-1, 1, 15).reshape(3, 5),
    "bias": torch.tensor([1e-9, 70_000.0]),
    "count": torch.tensor(3),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("size: 3\n")
    return RunFolder(tmp_path)


def test_a_checkpoint_gives_its_settings_and_weights(run: RunFolder) -> None:
    save_checkpoint(run.checkpoint("best"), {"config": {"a": 1}, "model": WEIGHTS}, kind="toy")
    found = load_model(run, kind="toy")
    assert (found.name, found.config) == ("best", {"a": 1})
    assert torch.equal(found.weights["matrix"], WEIGHTS["matrix"])


def test_a_checkpoint_without_a_model_is_refused(run: RunFolder) -> None:
    save_checkpoint(run.checkpoint(), {"config": {}}, kind="toy")
    with pytest.raises(CheckpointError, match="holds no model"):
        load_model(run, kind="toy")


def test_of_another_kind_is_refused(run: RunFolder) -> None:
    save_checkpoint(run.checkpoint(), {"config": {}, "model": {}}, kind="toy")
    with pytest.raises(CheckpointError, match="is of a toy run, not of a vae run"):
        load_model(run, kind="vae")


def test_half_precision_is_for_matrices_only(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=True)
    assert result_name(run) == EXPORTED
    found = load_model(run, kind="toy")
    assert found.config == {"size": 3}
    assert torch.equal(found.weights["bias"], WEIGHTS["bias"])
    assert torch.equal(found.weights["count"], WEIGHTS["count"])
    assert found.weights["matrix"].dtype == torch.float32
    assert torch.equal(found.weights["matrix"], WEIGHTS["matrix"].half().float())


def test_whole_precision_keeps_every_bit(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=False)
    found = load_model(run, kind="toy").weights
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


def test_tied_weights_are_written(run: RunFolder) -> None:
    shared = torch.ones(3, 5)
    save_exported(run, {"a": shared, "b": shared, "part": shared[:, :2]}, kind="toy", half=False)
    assert torch.equal(load_model(run, kind="toy").weights["b"], shared)


def test_an_export_of_another_kind_or_format_is_refused(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=True)
    with pytest.raises(CheckpointError, match="of kind 'toy'"):
        load_model(run, kind="vae")


@pytest.mark.parametrize("damage", [b"", b"\xff" * 100, b"\x08\0\0\0\0\0\0\x7f{}"])
def test_a_damaged_export_is_refused(run: RunFolder, damage: bytes) -> None:
    run.exported_file.write_bytes(damage)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(run, kind="toy")


def test_a_cut_export_is_refused(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=True)
    whole = run.exported_file.read_bytes()
    run.exported_file.write_bytes(whole[: len(whole) - 4])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(run, kind="toy")
