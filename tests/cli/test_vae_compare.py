"""`dl vae compare`: a grid in one table and one figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.tiny import LENGTH, SIZES, contents, dl, dl_json, error_of

pytestmark = pytest.mark.usefixtures("no_figures")

GRID = ["vae", "compare", *LENGTH, *SIZES, "--snapshots", "9", "--set", "optim.lr=0.001,0.1"]
LABELS = ["optim.lr=0.001", "optim.lr=0.1"]


def test_every_cell_is_trained_into_a_folder_of_its_own(tmp_path: Path) -> None:
    found = dl_json(*GRID, "--out", "grid")
    assert found["run"] == str(tmp_path / "grid")
    assert list(found["results"]) == LABELS
    assert found["best"] == "optim.lr=0.1"
    assert found["failed"] == []
    assert found["files"] == [str(tmp_path / "grid/compare.png")]
    assert (tmp_path / "grid/compare.png").read_bytes().startswith(b"\x89PNG")
    for label, result in found["results"].items():
        assert result["run"] == str(tmp_path / "grid" / label)
        assert f"adam-{label.removeprefix('optim.lr=')}-" in result["signature"]


def test_it_goes_on_without_its_other_settings_being_repeated(tmp_path: Path) -> None:
    first = dl_json(*GRID, "--out", "grid")
    before = contents(tmp_path / "grid" / LABELS[0])
    words = ["vae", "compare", "--resume", "grid", "--set", "optim.lr=0.001,0.1,0.2"]
    found = dl_json(*words, "--plot", "other.png")
    assert list(found["results"]) == [*LABELS, "optim.lr=0.2"]
    assert found["results"][LABELS[1]] == first["results"][LABELS[1]]
    assert contents(tmp_path / "grid" / LABELS[0]) == before
    assert Path("other.png").is_file()


def test_a_cell_that_diverges_costs_a_warning_and_its_place(tmp_path: Path) -> None:
    words = ["--optimizer", "sgd", "--set", "optim.lr=0.0001,1000000.0"]
    done = dl(*GRID[:-2], *words, "--out", "grid")
    assert done.exit_code == 0
    assert "warning: optim.lr=1000000.0: " in done.stderr
    assert "optim.lr=0.0001" in done.stdout
    found = dl_json(*GRID[:-2], *words, "--resume", "grid")
    assert found["failed"] == ["optim.lr=1000000.0"]


def test_a_grid_wants_several_values() -> None:
    done = dl("vae", "compare", "--set", "optim.lr=0.1", "--json")
    assert done.exit_code == 2
    assert "several values" in error_of(done)["message"]


def test_a_grid_that_never_started_leaves_no_folder(tmp_path: Path) -> None:
    done = dl(*GRID, "--data", "glyphs:0", "--json")
    assert done.exit_code == 2
    assert list((tmp_path / "runs").iterdir()) == []
