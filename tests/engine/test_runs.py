"""Run folders: found, made, refused, read whatever is left of them, compared, and removed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dlcli.engine import runs as runs_of_runs
from dlcli.engine.runs import (
    RUNS,
    Curve,
    RunFolder,
    create_run,
    curve_of,
    curves_of,
    differences,
    find_run,
    fresh_path,
    list_runs,
    open_unfinished,
    plan_pruning,
    remove,
    signature_warning,
)
from dlcli.errors import RunFailed, UsageFault


def _run(
    path: Path,
    *,
    settings: str = "epochs: 1\n",
    at: int | None = None,
    epochs: tuple[int, ...] = (),
    **record: object,
) -> RunFolder:
    """Make a run that looks trained, its settings written at a given second."""
    run = create_run("toy", out=path, force=False)
    run.config_file.write_text(settings)
    run.update_record(**{"kind": "vae", "title": "vae-mlp", "status": "done", **record})
    for name in ("last", *(f"epoch-{epoch:04d}" for epoch in epochs)):
        run.checkpoint(name).write_bytes(b"weights")
    if at is not None:
        os.utime(run.config_file, (at, at))
    return run


def test_a_run_is_found_by_folder_by_name_or_as_the_latest(tmp_path: Path) -> None:
    _run(RUNS / "old", at=100)
    new = _run(RUNS / "new été", at=200)
    elsewhere = _run(tmp_path / "else where" / "run", at=300)
    untrained = create_run("toy", out=RUNS / "untrained", force=False)
    untrained.config_file.write_text("epochs: 1\n")
    assert find_run(None).path == find_run("latest").path == new.path
    for text in ("new été", "runs/new été", str(new.path), "runs/new été/"):
        assert find_run(text).path == new.path
    assert find_run("else where/run").path == elsewhere.path
    assert find_run("untrained").path == untrained.path


def test_the_latest_run_is_the_latest_of_its_kind() -> None:
    vae = _run(RUNS / "a", at=100)
    nmt = _run(RUNS / "b", kind="nmt", at=200)
    assert find_run(None, kind="vae").path == vae.path
    assert find_run("latest", kind="nmt").path == nmt.path
    assert [run.path.name for run in list_runs(kind="nmt")] == ["b"]


def test_a_run_that_is_not_there_is_named_with_the_nearest() -> None:
    _run(RUNS / "2026-11-23_vae-Conv")
    with pytest.raises(UsageFault) as failure:
        find_run("2026-11-23_vae-conv")
    assert failure.value.message == "There is no run '2026-11-23_vae-conv'."
    assert failure.value.hint == "Did you mean '2026-11-23_vae-Conv'?"
    with pytest.raises(UsageFault) as failure:
        find_run("zzz")
    assert "dl runs list" in failure.value.hint


def test_without_runs_the_way_to_one_is_shown() -> None:
    with pytest.raises(UsageFault) as failure:
        find_run(None)
    assert failure.value.message == f"There is no trained run under {RUNS.absolute()}."
    with pytest.raises(UsageFault) as failure:
        find_run("latest", kind="nmt")
    assert failure.value.message.startswith("There is no trained nmt run under")
    assert "dl nmt train" in failure.value.hint


def test_runs_are_listed_oldest_first_whatever_their_names_say() -> None:
    for name, at in (("2030-01-01", 100), ("2020-01-01", 300), ("2025-01-01", 200)):
        _run(RUNS / name, at=at)
    _run(RUNS / "seeds" / "seed-1", at=150)
    (RUNS / "no run").mkdir()
    (RUNS / "a file").write_text("x")
    found = [run.path.name for run in list_runs()]
    assert found == ["2030-01-01", "seed-1", "2025-01-01", "2020-01-01"]


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


def test_what_was_planned_is_removed_and_nothing_else(runs: list[RunFolder]) -> None:
    remove(plan_pruning(runs, keep=1, unfinished=True, epochs=True))
    assert [run.path.exists() for run in runs] == [False, False, False, False, True]
    assert [path.name for path in runs[4].checkpoints.iterdir()] == ["last.pt"]


def test_of_a_linked_run_the_link_goes_and_what_fails_does_not_keep_the_rest(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    elsewhere = _run(tmp_path / "far" / "away" / "run")
    (tmp_path / "a-too").symlink_to(tmp_path / "a")
    (tmp_path / "linked").symlink_to(elsewhere.path)
    found = list_runs(tmp_path)
    assert sorted(run.path.name for run in found) == ["a", "b", "c", "d", "e", "linked"]
    planned = plan_pruning(found, keep=0, unfinished=True, epochs=False)
    with runs[0].locked(), pytest.raises(RunFailed, match="Another process is training"):
        remove(planned)
    assert [run.path.name for run in list_runs(tmp_path)] == ["a"]
    assert not (tmp_path / "linked").is_symlink()
    assert elsewhere.checkpoint().exists()


def test_without_locks_on_a_file_system_nothing_is_in_use(
    runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: object, _operation: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with runs[0].locked() as held:
        assert held
        assert runs[0].is_in_use
    monkeypatch.setattr(fcntl, "flock", refuse)
    with runs[0].locked() as held:
        assert not held
        assert not runs[0].is_in_use


def test_a_run_that_is_being_trained_stays(runs: list[RunFolder]) -> None:
    planned = plan_pruning(runs[:1], keep=0, unfinished=False, epochs=False)
    with runs[0].locked(), pytest.raises(RunFailed, match="Another process is training"):
        remove(planned)
    assert runs[0].checkpoint("epoch-0010").exists()


NAMES = ["runs", "un été à Noël", "with spaces/and 'quotes'", "深い/フォルダ", "-dash"]


def test_runs_that_start_together_get_a_folder_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked, and found the name free, before either makes the folder."""
    both = threading.Barrier(2)
    real, found = fresh_path, []

    def late(title: str) -> Path:
        path = real(title)
        if not path.name.endswith("-2"):
            both.wait(5)
        return path

    monkeypatch.setattr(runs_of_runs, "fresh_path", late)

    def start() -> None:
        found.append(create_run("toy", out=None, force=False).path)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 2


def test_an_empty_folder_may_be_used_and_any_other_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    create_run("toy", out=tmp_path / "empty", force=False)
    run = _run(tmp_path / "run")
    with pytest.raises(UsageFault) as failure:
        create_run("toy", out=run.path, force=False)
    assert failure.value.message == f"{run.path} exists already."
    assert all(word in failure.value.hint for word in ("--resume", "--force", "--out"))
    assert run.checkpoint().exists()


def test_what_was_killed_before_its_settings_were_written_is_empty(tmp_path: Path) -> None:
    run = create_run("toy", out=tmp_path / "run", force=False)
    with run.locked():
        pass
    (run.path / ".config.yaml.abcd.tmp").write_text("half")
    assert create_run("toy", out=run.path, force=False) == run
    (run.figures / "curves.png").write_bytes(b"")
    with pytest.raises(UsageFault):
        create_run("toy", out=run.path, force=False)


def test_force_replaces_a_run_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.metrics_file.write_text("{}\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (run.path / "link").symlink_to(outside)
    create_run("toy", out=run.path, force=True)
    left = sorted(p.relative_to(run.path).as_posix() for p in run.path.rglob("*"))
    assert left == [".lock", "checkpoints", "figures"]
    assert (outside / "precious").exists(), "a link is removed, not what it leads to"


def test_a_second_training_is_kept_out_and_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    run = create_run("toy", out=tmp_path / "run", force=False)
    code = (
        "import sys; from pathlib import Path; from dlcli.engine.runs import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(RunFailed, match="Another process is training into"), run.locked():
            pass
        run.config_file.write_text("{}")
        with pytest.raises(RunFailed, match="Another process is training into"):
            create_run("toy", out=run.path, force=True)
    finally:
        other.kill()
        other.communicate()
    with run.locked():
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b'"a"'])
def test_an_unreadable_record_is_an_empty_one(content: bytes) -> None:
    run = _run(RUNS / "a")
    run.record_file.write_bytes(content)
    assert run.record() == {}
    assert find_run("a", kind="vae").path == run.path
    assert list_runs(kind="vae") == []
    run.update_record(kind="vae")
    assert run.record() == {"kind": "vae"}


def test_a_record_is_merged_and_none_takes_a_field_out(tmp_path: Path) -> None:
    run = create_run("toy", out=tmp_path / "run", force=False)
    run.update_record(status="failed", error="x", seed=0)
    run.update_record(status="done", error=None, result={"gap": None})
    assert run.record() == {"status": "done", "seed": 0, "result": {"gap": None}}


def test_a_record_is_strict_json_in_utf8(tmp_path: Path) -> None:
    run = create_run("toy", out=tmp_path / "run", force=False)
    words = ["dl", "--out", "caf\udce9"]  # a file name that is not UTF-8, as Python hands it over
    run.update_record(command=words, loss=float("nan"), values=(1.5, float("inf")), path=tmp_path)
    text = run.record_file.read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert found == {
        "command": ["dl", "--out", "caf?"],
        "loss": None,
        "values": [1.5, None],
        "path": str(tmp_path),
    }


def test_metrics_are_read_without_what_was_cut_off(tmp_path: Path) -> None:
    run = create_run("toy", out=tmp_path / "run", force=False)
    assert run.metrics() == []
    lines = [b'{"epoch": 1}', b'"\xff"', b"3", b"", '{"note": "a\u2028b"}'.encode(), b'{"epoch": ']
    run.metrics_file.write_bytes(b"\n".join(lines))
    assert run.metrics() == [{"epoch": 1}, {"note": "a\u2028b"}]


def test_nothing_goes_on_in_an_exported_model(tmp_path: Path) -> None:
    run = create_run("run", out=tmp_path / "run", force=False)
    run.config_file.write_text("{}")
    assert open_unfinished(run.path).path == run.path
    run.exported_file.touch()
    with pytest.raises(UsageFault, match="exported model"):
        open_unfinished(run.path)
    run.checkpoint().touch()  # exported into itself, by hand
    assert open_unfinished(run.path).path == run.path


def _measure(run: RunFolder, *rows: dict[str, object]) -> None:
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_differences_are_the_settings_that_differ(tmp_path: Path) -> None:
    one = _run(tmp_path / "a", settings="optim:\n  lr: 1.0\n  clip: 0\nseed: 1\n")
    other = _run(tmp_path / "b", settings="optim:\n  lr: 2.0\n  clip: 0\nextra: x\n")
    assert differences([one, other]) == {
        "optim.lr": [1.0, 2.0],
        "seed": [1, None],
        "extra": [None, "x"],
    }
    assert differences([one, one]) == {}
    other.config_file.write_text("- broken")
    assert differences([one, other])["seed"] == [1, None]


def test_a_curve_is_of_validation_data_where_there_are_any(tmp_path: Path) -> None:
    run, other = _run(tmp_path / "runs" / "a"), _run(tmp_path / "runs" / "b")
    _measure(
        run,
        {"epoch": 1, "train_loss": 9, "valid_loss": 8.5},
        {"epoch": 2, "train_loss": 7, "valid_loss": None},
        {"epoch": 3, "train_loss": 6, "valid_loss": 7.5},
    )
    _measure(other, {"epoch": 1, "train_loss": 4.0})
    other.update_record(metrics={"elbo": -3.5})
    assert curve_of(run) == Curve([1.0, 3.0], [8.5, 7.5], "validation")
    assert curves_of([run, other])["b"] == Curve([1.0], [4.0], "training", 3.5)
    assert not curve_of(_run(tmp_path / "c")).losses


@pytest.mark.parametrize(
    ("signatures", "part"),
    [
        (["data:a|pixels:grey", "data:a|pixels:grey"], ""),
        (["data:a|pixels:grey", "data:a|pixels:black"], "pixels (black, grey)"),
        (["data:a", "data:b"], "data (a, b)"),
        (["data:a|split:test", "data:a"], "split (none, test)"),
        (["data:a", None], ""),
        ([], ""),
    ],
)
def test_runs_measured_on_different_things_are_pointed_out(
    signatures: list[str | None], part: str
) -> None:
    found = signature_warning([{"signature": signature} for signature in signatures])
    assert part in found
    assert bool(found) == bool(part)
