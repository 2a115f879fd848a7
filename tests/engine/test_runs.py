"""Run folders: made, refused, and read whatever is left of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dlcli.engine import runs
from dlcli.engine.runs import (
    RUNS,
    create_run,
    find_run,
    finite,
    fresh_path,
    list_runs,
    open_run,
    open_unfinished,
)
from dlcli.errors import DlError, RunFailed, UsageFault
from tests.engine.trained_run import trained_run

NAMES = ["runs", "un été à Noël", "with spaces/and 'quotes'", "深い/フォルダ", "-dash"]


def _fault(kind: type[DlError] = UsageFault) -> pytest.RaisesExc[DlError]:
    return pytest.raises(kind)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_gets_the_folder_asked_for(name: str, tmp_path: Path) -> None:
    run = create_run("toy", out=tmp_path / name, force=False)
    assert run.path == tmp_path / name
    assert run.checkpoints.is_dir()
    assert run.figures.is_dir()
    run.update_record(title="é")
    assert run.record() == {"title": "é"}


def test_without_a_name_it_is_called_by_date_and_title() -> None:
    run = create_run("vae-conv", out=None, force=False)
    assert run.path.parent == RUNS.absolute()
    assert len(run.path.name) == len("2026-11-23_05-01_vae-conv")
    assert run.path.name.endswith("_vae-conv")
    assert create_run("vae-conv", out=None, force=False).path != run.path
    assert fresh_path("vae-conv").name.endswith("_vae-conv-3")


def test_runs_that_start_together_get_a_folder_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked, and found the name free, before either makes the folder."""
    both = threading.Barrier(2)
    real, found = fresh_path, []

    def late(title: str) -> Path:
        path = real(title)
        if not path.name.endswith("-2"):
            both.wait(5)
        return path

    monkeypatch.setattr(runs, "fresh_path", late)

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
    run = trained_run(tmp_path / "run")
    with _fault() as failure:
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
    with _fault():
        create_run("toy", out=run.path, force=False)


def test_force_replaces_a_run_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run")
    run.metrics_file.write_text("{}\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (run.path / "link").symlink_to(outside)
    create_run("toy", out=run.path, force=True)
    left = sorted(p.relative_to(run.path).as_posix() for p in run.path.rglob("*"))
    assert left == [".lock", "checkpoints", "figures"]
    assert (outside / "precious").exists(), "a link is removed, not what it leads to"


def test_force_replaces_nothing_but_runs(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        with pytest.raises(UsageFault, match="is not a run folder"):
            create_run("toy", out=tmp_path / name, force=True)
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_force_does_not_pull_the_floor_from_under_a_training(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run")
    with run.locked(), pytest.raises(RunFailed, match="Another process is training"):
        create_run("toy", out=run.path, force=True)
    assert run.checkpoint().exists()


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
    finally:
        other.kill()
        other.communicate()
    with run.locked():
        pass


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFailed, match=r"file/run cannot be written: Not a directory") as failure:
        create_run("toy", out=tmp_path / "file" / "run", force=False)
    assert "--out" in failure.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunFailed, match="cannot be written: Permission denied"):
        create_run("toy", out=tmp_path / "locked" / "run", force=False)


def test_runs_is_a_file(tmp_path: Path) -> None:
    RUNS.write_text("x")
    with pytest.raises(RunFailed, match="cannot be written"):
        create_run("toy", out=None, force=False)
    assert list_runs() == []


def test_open_run_wants_a_run(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run")
    assert open_run(run.path) == run
    with pytest.raises(UsageFault, match="There is no run at"):
        open_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b'"a"'])
def test_an_unreadable_record_is_an_empty_one(content: bytes) -> None:
    run = trained_run(RUNS / "a")
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


def test_sweeping_removes_what_a_killed_process_was_writing(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run")
    for left in (run.path / ".run.json.x1.tmp", run.checkpoints / ".last.pt.y2.tmp"):
        left.write_bytes(b"half")
    run.sweep()
    assert not list(run.path.rglob("*.tmp"))
    assert run.checkpoint().exists()


def test_finite_leaves_everything_else_as_it_is() -> None:
    value = {"a": [1, 2.5, True, None, "x", {"b": (float("-inf"),)}]}
    assert finite(value) == {"a": [1, 2.5, True, None, "x", {"b": [None]}]}


def test_nothing_goes_on_in_an_exported_model(tmp_path: Path) -> None:
    run = create_run("run", out=tmp_path / "run", force=False)
    run.config_file.write_text("{}")
    assert open_unfinished(run.path).path == run.path
    run.exported_file.touch()
    with pytest.raises(UsageFault, match="exported model"):
        open_unfinished(run.path)
    run.checkpoint().touch()  # exported into itself, by hand
    assert open_unfinished(run.path).path == run.path
