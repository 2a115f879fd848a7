"""The quick report as a user makes it: all sections, offline, twice the same page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.assignment.browser import browser, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


def _report(folder: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "dlcli", "report", "--offline", "--json", "--quiet", *words]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    print(f"dl report: {time.monotonic() - began:.0f} s")
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, Any]:
    """What the first report says, which is `one.html`; it leaves its answers for the next."""
    return _report(folder, "--out", "one.html")


def test_answers_every_question_offline_and_then_keeps_them(
    first: dict[str, Any], folder: Path
) -> None:
    assert [question["status"] for question in first["questions"]] == ["done"] * 16
    assert not first["failed"]
    for question in first["questions"]:
        assert question["numbers"], question["number"]
        assert all(number["signature"] for number in question["numbers"])
    again = _report(folder, "--out", "two.html")
    assert again["kept"] == 16
    assert (folder / "one.html").read_bytes() == (folder / "two.html").read_bytes()


@pytest.mark.usefixtures("first")
def test_a_second_making_has_the_same_figures(folder: Path) -> None:
    """What is measured anew comes out with the same bytes, times aside: there are none."""
    fresh = _report(folder, "--out", "three.html", "--fresh", "--only", "2,5,13")
    assert fresh["kept"] == 0
    one, three = ((folder / name).read_text() for name in ("one.html", "three.html"))
    sections = re.findall(r'<section id="question-\d+".*?</section>', three, re.DOTALL)
    assert len(sections) == 3
    assert all(section in one for section in sections)


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_every_window(folder: Path, width: int) -> None:
    with browser(installed()) as chromium:
        chromium.open(folder / "one.html", width=width)
        assert chromium.value("document.documentElement.scrollWidth") <= width
        assert chromium.value("document.querySelectorAll('figure svg').length") >= 16
        assert not chromium.problems
