"""Thousands of damaged inputs, in this process and as processes of their own.

A case is named by its family and number, which is the seed of its damage: `python -m pytest
tests/fuzz -m slow` runs over ten thousand, the default run a few of every family.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fuzz.cases import MAKERS, workshop
from tests.fuzz.guard import check, run, snapshot
from tests.processes import Launcher

PROCESSES = 200


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    workshop(folder)
    return folder


@pytest.fixture
def inside(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the shop, whose raw images are those of the machine."""
    monkeypatch.chdir(shop)
    monkeypatch.setenv("DL_DATA_DIR", str(shop / "data"))
    for name in ("draw_curves", "draw_snapshots"):
        monkeypatch.setattr(f"dlcli.display.runs.{name}", lambda *_a, **_k: None)
    return shop


def _try(family: str, number: int) -> None:
    given = MAKERS[family][0](random.Random(f"{family} {number}"))
    try:
        run(given)
    except BaseException as error:
        raise AssertionError(f"{family} {number}: dl {given}\n{error}") from error


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("family", MAKERS)
def test_a_few_inputs_of_every_family(family: str) -> None:
    for number in range(MAKERS[family][1]):
        _try(family, number)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("family", MAKERS)
def test_ten_thousand_inputs(family: str) -> None:
    faults = []
    for number in range(MAKERS[family][2]):
        try:
            _try(family, number)
        except AssertionError as error:
            faults.append(str(error))
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:20])


@pytest.fixture
def launcher(inside: Path) -> Launcher:
    (inside / "cache").mkdir(exist_ok=True)
    return Launcher(inside)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_real_processes(launcher: Launcher) -> None:
    environment = {name: os.environ[name] for name in ("DL_DATA_DIR", "XDG_CACHE_HOME")}
    for number in range(PROCESSES):
        family = list(MAKERS)[number % len(MAKERS)]
        given = MAKERS[family][0](random.Random(f"process {number}"))
        before = _own(snapshot(launcher.folder))
        done = launcher.start(given, env=environment).wait()
        check(given, code=done.code, out=done.stdout, err=done.stderr)
        assert _own(snapshot(launcher.folder)) == before, given


def _own(found: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Leave out what the launcher itself writes down about its children."""
    return {name: state for name, state in found.items() if not name[:3].isdigit()}
