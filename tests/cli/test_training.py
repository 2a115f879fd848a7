"""Measurements that may be interrupted, where a training goes, and who follows it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from dlcli.cli.training import (
    leave_if_partial,
    measured,
    run_location,
    saved_config,
    training_listeners,
)
from dlcli.display.console import Consoles
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from dlcli.errors import Interrupted, UsageFault
from tests.cli.tiny import TRAIN, dl
from tests.processes import PATIENCE_S, ROOT, two_ranks


@dataclass(frozen=True)
class Count:
    value: int
    complete: bool


def counting(
    last: int, *, stopped_at: int | None = None, by: int = signal.SIGINT
) -> Iterator[Count]:
    for value in range(1, last + 1):
        if value == stopped_at:
            os.kill(os.getpid(), by)
        yield Count(value, value == last)


def test_the_last_result_is_returned_and_each_is_told() -> None:
    heard: list[Count] = []
    assert measured(counting(3), progress=heard.append) == Count(3, True)
    assert [count.value for count in heard] == [1, 2, 3]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_result_before_it(by: int) -> None:
    before = signal.getsignal(by)
    found = measured(counting(5, stopped_at=4, by=by), progress=lambda _: None)
    assert found == Count(3, False)
    assert signal.getsignal(by) == before


def test_a_signal_before_the_first_result_is_an_interruption() -> None:
    with pytest.raises(Interrupted, match="before anything was measured") as stop:
        measured(counting(5, stopped_at=1), progress=lambda _: None)
    assert stop.value.exit_code == 130


def test_only_a_partial_result_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    leave_if_partial(Count(2, True), Consoles())
    assert capsys.readouterr().err == ""
    with pytest.raises(typer.Exit) as stop:
        leave_if_partial(Count(1, False), Consoles(), during="counting")
    assert stop.value.exit_code == 130
    assert "Interrupted during counting: this result is partial." in capsys.readouterr().err


def _run(path: Path, *, seed: int = 0) -> Path:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(f"compute:\n  seed: {seed}\n")
    return path


def _location(**given: Any) -> RunLocation:
    usual = {"out": None, "resume": None, "force": False}
    return run_location(Consoles(), kind="vae", **{**usual, **given})


def test_without_resume_a_run_goes_to_out(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    assert _location(out=run, force=True) == RunLocation(out=run, force=True)


def test_a_run_is_named_by_folder_by_name_or_by_out(tmp_path: Path) -> None:
    run = _run(tmp_path / "runs" / "a")
    assert _location(resume="runs/a") == RunLocation(resume=Path("runs/a"))
    assert _location(resume="a") == RunLocation(resume=run)
    assert _location(resume="", out=run) == RunLocation(resume=run)
    with pytest.raises(UsageFault, match="does not say which run"):
        _location(resume="")


def test_a_restart_by_torchrun_resumes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path / "run")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert _location(out=run) == RunLocation(resume=run)
    assert _location(out=tmp_path / "new") == RunLocation(out=tmp_path / "new")
    assert _location() == RunLocation()


def test_a_folder_without_settings_starts_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert _location(out=tmp_path / "run", resume="") == RunLocation(out=tmp_path / "run")
    assert "starting over" in capsys.readouterr().err


def test_a_folder_of_several_runs_is_resumed_as_such(tmp_path: Path) -> None:
    _run(tmp_path / "s" / "seed-10", seed=10)
    _run(tmp_path / "s" / "seed-9", seed=9)
    with pytest.raises(UsageFault, match="holds several runs") as failure:
        _location(resume="s")
    assert "--seeds" in failure.value.hint
    assert _location(resume="s", several=True).resume == Path("s")
    assert saved_config({"resume": "s", "out": None}, kind="vae") == {"compute": {"seed": 9}}


def test_the_latest_run_is_of_the_kind_and_another_that_is_not_finished_is_named(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = trained.parent / "other"
    shutil.copytree(trained, other)
    RunFolder(other).update_record(kind="nmt")
    assert _location(resume="latest") == RunLocation(resume=trained)
    assert capsys.readouterr().err == ""
    RunFolder(other).update_record(kind="vae", status="interrupted")
    os.utime(other / "config.yaml", (100, 100))
    assert _location(resume="latest") == RunLocation(resume=trained)
    assert f"--resume {other}" in capsys.readouterr().err


def test_what_a_data_set_recommends_is_applied_to_the_one_that_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[Any] = []
    for chapter in ("vae", "nmt"):
        monkeypatch.setattr(
            f"dlcli.cli.{chapter}.run_trainings",
            lambda _, cells, **_k: heard.extend(cells.values()),
        )
    assert "Taking 'glyphs'" in dl("vae", "train", "--offline").stderr
    assert "Taking 'grammar'" in dl("nmt", "train", "--offline").stderr
    assert "Taking 'grammar'" in dl("nmt", "train", "--offline", "--embedding", "7").stderr
    assert [config.data.name for config in heard] == ["glyphs", "grammar", "grammar"]
    assert [config.model.embedding for config in heard[1:]] == [160, 7]


def test_a_folder_that_is_not_free_is_refused_before_data_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcli.data.download.fetch", lambda *_a, **_k: pytest.fail("too late"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("x")
    for out, words in (("thesis", "exists already"), ("thesis/a.tex/run", "Not a directory")):
        assert words in dl("vae", "train", "--out", out).stderr


def test_the_saved_settings_are_those_of_the_run(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", seed=4)
    assert saved_config({"resume": "", "out": run}, kind="vae") == {"compute": {"seed": 4}}
    assert saved_config({"resume": None, "out": run}, kind="vae") is None
    (tmp_path / "empty").mkdir()
    assert saved_config({"resume": "", "out": tmp_path / "empty"}, kind="vae") is None


def test_on_other_processes_nobody_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in two_ranks()[1].items():
        monkeypatch.setenv(name, value)
    heard: list[object] = []

    def train() -> None:
        with training_listeners(Consoles()) as listeners:
            heard.extend(listeners)
            raise Interrupted("Stopped.")

    with pytest.raises(SystemExit) as left:
        train()
    assert (left.value.code, heard) == (130, [])


def test_signals_are_watched_while_data_is_loaded() -> None:
    with pytest.raises(KeyboardInterrupt), training_listeners(Consoles()):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize("pipe", ["2> >(head -1 >/dev/null) | head -c 1", "2>&-"])
def test_a_reader_that_leaves_does_not_stop_the_training(pipe: str, tmp_path: Path) -> None:
    words = " ".join([*TRAIN, "--snapshots", "9", "--out", "a", "--json"])
    line = f"set -o pipefail; {sys.executable} -m dlcli {words} {pipe}"
    done = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr + done.stdout
    assert '"status": "done"' in (tmp_path / "a/run.json").read_text()
