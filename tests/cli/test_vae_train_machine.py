"""`dl vae train` on a machine that is no help: a full disk, a wrong clock, and a real terminal."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from dlcli.cli.app import app
from dlcli.engine.runs import RunFolder, find_run
from tests.cli.tiny import CONV, TRAIN, dl, dl_json, error_of, same, weights_of
from tests.report.terminals import Terminal

pytestmark = pytest.mark.usefixtures("no_figures")


def test_a_disk_that_fills_up_keeps_the_last_checkpoint_and_goes_on_with_more_room(
    tiny_disk: Path, tmp_path: Path
) -> None:
    run = RunFolder(tiny_disk / "a")
    first = [*TRAIN, "--snapshots", "", "--epochs", "1", "--out", str(run.path)]
    dl_json(*first)
    before = run.checkpoint().read_bytes()
    free = 2**20 - sum(f.stat().st_size for f in tiny_disk.rglob("*") if f.is_file())
    (tiny_disk / "ballast").write_bytes(b"x" * max(0, free - len(before) // 2 - 8192))
    go_on = ("vae", "train", "--resume", str(run.path), "--epochs", "3")
    done = dl(*go_on, "--json")
    assert done.exit_code == 1
    error = error_of(done)
    assert "No space left" in error["message"]
    assert "Free some space" in error["hint"]
    assert run.checkpoint().read_bytes() == before
    (tiny_disk / "ballast").unlink()
    dl_json(*go_on)
    dl_json(*first[:-3], "3", "--out", str(tmp_path / "b"))
    assert same(weights_of(run.path), weights_of(tmp_path / "b"))


def test_a_disk_that_became_read_only_is_a_sentence_and_its_run_is_still_of_use(
    tiny_disk: Path,
) -> None:
    run = str(tiny_disk / "a")
    dl_json(*TRAIN, "--snapshots", "", "--epochs", "1", "--out", run)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    for words in (
        ["vae", "train", "--resume", run, "--epochs", "3"],
        [*TRAIN, "--out", str(tiny_disk / "b")],
        [*TRAIN, "--out", run, "--force"],
        ["vae", "generate", "--run", run, "--n", "1"],
        ["runs", "export", run, "--out", str(tiny_disk / "c")],
    ):
        done = dl(*words, "--json")
        assert done.exit_code == 1
        assert "Read-only file system" in error_of(done)["message"]
    dl_json("vae", "generate", "--run", run, "--n", "1", "--out", "here.png")
    assert dl_json("runs", "show", run)["status"] == "done"


def test_a_clock_that_goes_back_changes_neither_latest_nor_the_result(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dl_json(*TRAIN)
    monkeypatch.setattr(time, "strftime", lambda _form: "1999-12-31_23-59")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    found = dl_json(*TRAIN)
    assert Path(found["run"]).name == "1999-12-31_23-59_vae-mlp"
    assert find_run("latest").path == Path(found["run"])
    assert same(weights_of(Path(found["run"])), weights_of(trained))
    assert found["images_per_s"] > 0


def test_on_a_terminal_there_is_a_bar_with_pictures_and_the_cursor_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm-256color")
    app([*TRAIN, *CONV, "--out", "a"], standalone_mode=False)
    text = err.getvalue()
    assert "epoch 2/2" in text
    assert "▀" in text, "the newest snapshots, in half blocks"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is given back"
    assert "test ELBO" in out.getvalue()
    assert "epoch 2/2" not in out.getvalue(), "progress stays on standard error"
