"""`dl runs`: list, show, compare, prune."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.tiny import dl, dl_json, error_of

pytestmark = pytest.mark.usefixtures("no_figures")


def test_list_says_what_there_is(trained: Path) -> None:
    found = dl_json("runs", "list")["runs"]
    assert [run["name"] for run in found] == ["mlp"]
    assert found[0]["status"] == "done"
    assert found[0]["metrics"]["elbo"] < 0
    assert "mlp" in dl("runs", "list").stdout
    assert dl_json("runs", "list", "--kind", "nmt")["runs"] == []


def test_no_runs_is_no_error() -> None:
    assert dl_json("runs", "list")["runs"] == []


def test_show_takes_a_name_a_folder_or_the_newest(trained: Path) -> None:
    whole = [dl_json("runs", "show", *words) for words in ((), ("mlp",), (str(trained),))]
    assert whole[0] == whole[1] == whole[2]
    assert whole[0]["config"]["model"]["hidden"] == [7]
    assert whole[0]["record"]["signature"] in dl("runs", "show").stdout


def test_compare_draws_the_curves_and_names_what_differs(
    trained: Path, trained_conv: Path, tmp_path: Path
) -> None:
    figure = tmp_path / "both.png"
    found = dl_json("runs", "compare", "mlp", "conv", "--plot", str(figure))
    assert found["files"] == [str(figure)]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert found["differences"]["model.arch"] == ["mlp", "conv"]
    assert len(found["runs"]) == 2


def test_one_run_cannot_be_compared(trained: Path) -> None:
    done = dl("runs", "compare", "mlp", "--json")
    assert done.exit_code == 2
    assert "two" in error_of(done)["message"]


def test_prune_says_before_it_does(trained: Path) -> None:
    shutil.copytree(trained, trained.parent / "older")
    said = dl_json("runs", "prune", "--keep", "1")
    assert said["removed"] is False
    assert len(said["paths"]) == 1
    assert Path(said["paths"][0]).is_dir()
    done = dl_json("runs", "prune", "--keep", "1", "--yes")
    assert done["removed"] is True
    assert not Path(done["paths"][0]).exists()
    assert len(dl_json("runs", "list")["runs"]) == 1


def test_prune_of_snapshots_leaves_the_result(trained: Path) -> None:
    dl_json("runs", "prune", "--epochs", "--yes")
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["last.pt"]


def test_prune_wants_to_know_what() -> None:
    assert dl("runs", "prune").exit_code == 2
    assert dl("runs", "prune", "--keep", "-1").exit_code == 2
