"""Runs are found by folder, by name, as the newest or as a packaged model, and listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.engine.runs import RUNS, RunFolder, create_run, find_run, list_runs
from dlcli.errors import DlError, UsageFault
from tests.engine.trained_run import trained_run


def _fault(kind: type[DlError] = UsageFault) -> pytest.RaisesExc[DlError]:
    return pytest.raises(kind)


def test_a_run_is_found_by_folder_by_name_or_as_the_latest(tmp_path: Path) -> None:
    trained_run(RUNS / "old", at=100)
    new = trained_run(RUNS / "new été", at=200)
    elsewhere = trained_run(tmp_path / "else where" / "run", at=300)
    untrained = create_run("toy", out=RUNS / "untrained", force=False)
    untrained.config_file.write_text("epochs: 1\n")
    assert find_run(None).path == find_run("latest").path == new.path
    for text in ("new été", "runs/new été", str(new.path), "runs/new été/"):
        assert find_run(text).path == new.path
    assert find_run("else where/run").path == elsewhere.path
    assert find_run("untrained").path == untrained.path


def test_the_latest_run_is_the_latest_of_its_kind() -> None:
    vae = trained_run(RUNS / "a", at=100)
    nmt = trained_run(RUNS / "b", kind="nmt", at=200)
    assert find_run(None, kind="vae").path == vae.path
    assert find_run("latest", kind="nmt").path == nmt.path
    assert [run.path.name for run in list_runs(kind="nmt")] == ["b"]


def test_a_run_that_is_not_there_is_named_with_the_nearest() -> None:
    trained_run(RUNS / "2026-11-23_vae-Conv")
    with _fault() as failure:
        find_run("2026-11-23_vae-conv")
    assert failure.value.message == "There is no run '2026-11-23_vae-conv'."
    assert failure.value.hint == "Did you mean '2026-11-23_vae-Conv'?"
    with _fault() as failure:
        find_run("zzz")
    assert "dl runs list" in failure.value.hint


@pytest.mark.parametrize("text", ["", ".", "..", "/", "nul\0byte", "a/../b", "*"])
def test_odd_names_are_no_runs(text: str) -> None:
    with _fault():
        find_run(text)


def test_a_run_of_another_kind_is_refused() -> None:
    trained_run(RUNS / "a", kind="nmt")
    with pytest.raises(UsageFault, match="is a nmt run, and this command needs a vae run"):
        find_run("a", kind="vae")


def test_without_runs_the_way_to_one_is_shown() -> None:
    with _fault() as failure:
        find_run(None)
    assert failure.value.message == f"There is no trained run under {RUNS.absolute()}."
    with _fault() as failure:
        find_run("latest", kind="nmt")
    assert failure.value.message.startswith("There is no trained nmt run under")
    assert "dl nmt train" in failure.value.hint


def test_runs_are_listed_oldest_first_whatever_their_names_say() -> None:
    for name, at in (("2030-01-01", 100), ("2020-01-01", 300), ("2025-01-01", 200)):
        trained_run(RUNS / name, at=at)
    trained_run(RUNS / "seeds" / "seed-1", at=150)
    (RUNS / "no run").mkdir()
    (RUNS / "a file").write_text("x")
    found = [run.path.name for run in list_runs()]
    assert found == ["2030-01-01", "seed-1", "2025-01-01", "2020-01-01"]


def test_a_clock_that_goes_backwards_does_not_change_the_order() -> None:
    ahead = 4_000_000_000
    for name, at in (("first", ahead), ("second", 1000), ("third", 900)):
        trained_run(RUNS / name, at=at).mark_newest()
    assert [run.path.name for run in list_runs()] == ["first", "second", "third"]


def test_a_run_removed_while_runs_are_listed_is_no_trouble(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "gone").touched_ns == 0
