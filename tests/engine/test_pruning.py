"""Removing runs: planned first, carried out only where nobody is at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.engine.runs import Removal, RunFolder, create_run, plan_pruning, remove
from dlcli.errors import RunFailed


def _run(path: Path, *, status: str | None = "done", epochs: tuple[int, ...] = ()) -> RunFolder:
    run = create_run("toy", out=path, force=False)
    run.config_file.write_text("epochs: 1\n")
    if status is not None:
        run.update_record(status=status)
    for epoch in epochs:
        run.checkpoint(f"epoch-{epoch:04d}").write_bytes(b"12345")
    return run


def _plan(
    runs: list[RunFolder],
    *,
    keep: int | None = None,
    unfinished: bool = False,
    epochs: bool = False,
) -> list[tuple[str, str]]:
    planned = plan_pruning(runs, keep=keep, unfinished=unfinished, epochs=epochs)
    return [(removal.path.name, removal.reason) for removal in planned]


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    """Five runs, oldest first."""
    return [
        _run(tmp_path / "a", epochs=(0, 10)),
        _run(tmp_path / "b", status="failed", epochs=(0,)),
        _run(tmp_path / "c"),
        _run(tmp_path / "d", status=None),
        _run(tmp_path / "e", epochs=(10, 0)),
    ]


def test_nothing_goes_that_was_not_asked_for(runs: list[RunFolder]) -> None:
    assert _plan(runs) == []


@pytest.mark.parametrize(("keep", "gone"), [(0, "ace"), (1, "ac"), (2, "a"), (3, ""), (9, "")])
def test_the_newest_finished_runs_stay(runs: list[RunFolder], keep: int, gone: str) -> None:
    assert _plan(runs, keep=keep) == [(name, f"beyond the newest {keep}") for name in gone]


def test_unfinished_runs_go_unless_someone_trains_them(runs: list[RunFolder]) -> None:
    assert _plan(runs, unfinished=True) == [("b", "failed"), ("d", "no record")]
    with runs[1].locked():
        assert _plan(runs, unfinished=True) == [("d", "no record")]


def test_a_run_that_stopped_at_its_time_limit_has_a_result_and_a_killed_one_has_none(
    runs: list[RunFolder],
) -> None:
    runs[1].update_record(status="stopped")
    runs[3].update_record(status="running")
    assert _plan(runs, unfinished=True) == [("d", "killed")]
    with runs[3].locked():
        assert runs[3].status == "running"
        assert _plan(runs, unfinished=True) == []
    assert _plan(runs, keep=2) == [(name, "beyond the newest 2") for name in "ab"]


def test_the_folder_of_several_runs_goes_with_the_last_of_them(tmp_path: Path) -> None:
    seeds = [_run(tmp_path / "seeds" / name) for name in "ab"]
    remove(plan_pruning(seeds, keep=1, unfinished=False, epochs=False))
    assert [run.path.exists() for run in seeds] == [False, True]
    remove(plan_pruning(seeds[1:], keep=0, unfinished=False, epochs=False))
    assert not (tmp_path / "seeds").exists()


def test_snapshots_of_finished_runs_that_stay_go(runs: list[RunFolder]) -> None:
    snapshots = [("epoch-0000.pt", "snapshot"), ("epoch-0010.pt", "snapshot")]
    assert _plan(runs, epochs=True) == snapshots * 2
    assert _plan(runs, keep=1, epochs=True)[2:] == snapshots


def test_sizes_are_bytes(runs: list[RunFolder]) -> None:
    (whole, *_) = plan_pruning(runs, keep=2, unfinished=False, epochs=False)
    assert whole.size >= 10 + len("epochs: 1\n")
    (snapshot, *_) = plan_pruning(runs, keep=None, unfinished=False, epochs=True)
    assert snapshot.size == 5


def test_what_was_planned_is_removed_and_nothing_else(runs: list[RunFolder]) -> None:
    remove(plan_pruning(runs, keep=1, unfinished=True, epochs=True))
    assert [run.path.exists() for run in runs] == [False, False, False, False, True]
    assert list(runs[4].checkpoints.iterdir()) == []


def test_planning_removes_nothing(runs: list[RunFolder]) -> None:
    plan_pruning(runs, keep=0, unfinished=True, epochs=True)
    assert all(run.path.exists() for run in runs)


def test_a_run_that_is_being_trained_stays(runs: list[RunFolder]) -> None:
    planned = plan_pruning(runs[:1], keep=0, unfinished=False, epochs=False)
    with runs[0].locked(), pytest.raises(RunFailed, match="Another process is training"):
        remove(planned)
    assert runs[0].checkpoint("epoch-0010").exists()


def test_removing_what_is_gone_already_is_no_trouble(tmp_path: Path) -> None:
    remove([Removal(path=tmp_path / "gone.pt", reason="snapshot", size=1)])
