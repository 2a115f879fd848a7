"""Where a run came from."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import pytest

from dlcli.engine.runs import describe_start


def _described() -> dict[str, object]:
    return describe_start(kind="vae", title="vae-conv", seed=3, machine={"torch": "2"})


def test_it_says_what_was_run_where_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dl", "vae", "train"])
    found = _described()
    assert found["command"] == ["dl", "vae", "train"]
    assert (found["kind"], found["seed"], found["status"]) == ("vae", 3, "running")
    started = datetime.fromisoformat(str(found["started"]))
    assert abs((datetime.now(started.tzinfo) - started).total_seconds()) < 60
    json.dumps(found)


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert _described()["git"] is None


def test_in_a_checkout_the_commit_is_named(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *identity, *words], check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init", "-q")
    assert _described()["git"] is None, "nothing is committed yet"
    git("commit", "-q", "--allow-empty", "-m", "x")
    assert _described()["git"] == git("rev-parse", "HEAD")


def test_without_git_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_args: object, **_more: object) -> NoReturn:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert _described()["git"] is None
