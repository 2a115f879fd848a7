"""`dl report`: one page, sections that fail, interruptions, mistakes; the whole page offline."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from dlcli.assignment import evidence
from dlcli.assignment import report as report_module
from dlcli.assignment.lab import Lab
from dlcli.assignment.question import Answer, Question
from dlcli.cli.report import command_line
from dlcli.errors import DataError
from tests.browser import browser, installed
from tests.cli.tiny import dl, dl_json, error_of


def _report(*words: str) -> Result:
    return dl("report", "--threads", "1", *words, "--json")


def _made(*words: str) -> dict[str, Any]:
    return dl_json("report", "--threads", "1", *words)


def test_writes_one_page_and_keeps_what_it_found(tmp_path: Path) -> None:
    found = _made("--only", "3", "--out", "one.html")
    assert found["files"] == [str(tmp_path / "one.html")]
    assert [question["status"] for question in found["questions"]] == ["done"]
    assert found["questions"][0]["numbers"][0]["signature"]
    again = _made("--only", "3", "--out", "deep/two.html")
    assert [question["status"] for question in again["questions"]] == ["kept"]
    assert again["kept"] == 1
    assert Path("one.html").read_bytes() == Path("deep/two.html").read_bytes()
    fresh = _made("--only", "3", "--fresh")
    assert fresh["kept"] == 0
    assert fresh["files"] == [str(tmp_path / "report-3.html")], "a whole report.html stays"
    assert Path("report-3.html").read_bytes() == Path("one.html").read_bytes()
    text = re.sub(r"<[^>]+>", "", Path("one.html").read_text(encoding="utf-8"))
    assert "dl report --only 3 --threads 1" in text


def test_the_command_of_a_page_says_all_that_changes_it() -> None:
    given = {"--data": "auto", "--seed": 0, "--threads": 0, "--device": "auto"}
    assert command_line(given, full=False, numbers=[]) == "dl report"
    other = {"--data": "glyphs:9", "--seed": 3, "--threads": 2, "--device": "cpu"}
    assert command_line(other, full=True, numbers=[2, 12]) == (
        "dl report --full --only 2 12 --data glyphs:9 --seed 3 --threads 2 --device cpu"
    )


def test_sections_come_in_the_order_of_their_numbers() -> None:
    found = _made("--only", "7", "3")
    assert [question["number"] for question in found["questions"]] == [3, 7]


def _answers(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the report have a section that is quick and one whose answer raises `error`."""

    def answer(lab: Lab) -> Answer:
        raise error

    bad = Question(number=4, chapter="c", title="t", asks="a?", answer=answer)
    monkeypatch.setattr(report_module, "QUESTIONS", (evidence.divergence, bad))


def test_a_section_that_fails_costs_its_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, DataError("MNIST cannot be had.", hint="Run `dl data fetch mnist`."))
    result = _report()
    found = json.loads(result.stdout)
    assert (result.exit_code, found["failed"]) == (1, [4])
    assert found["error"]["message"] == "No answer to 4: MNIST cannot be had."
    assert found["error"]["hint"] == "Run `dl data fetch mnist`."
    assert found["questions"][1]["error"]["message"] == "MNIST cannot be had."
    assert "Question 4: MNIST cannot be had." in result.stderr
    page = Path("report.html").read_text(encoding="utf-8")
    assert "MNIST cannot be had." in page
    assert 'id="question-3"' in page


def test_ctrl_c_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, KeyboardInterrupt())
    result = _report()
    assert result.exit_code == 130
    assert "1 of 2 sections are done and kept" in error_of(result)["message"]
    assert not Path("report.html").exists()
    assert _made("--only", "3")["kept"] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--only 17", 2, "no section 17"),
        ("--only two", 2, "--only"),
        ("--out report.pdf", 2, "no name of a page"),
        ("--out folder.html", 1, "is a folder"),
        ("--out /proc/nowhere/report.html", 1, "cannot be written"),
        ("--data mnits", 2, "mnits"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(words: str, code: int, said: str) -> None:
    Path("folder.html").mkdir()
    result = _report(*words.split())
    assert result.exit_code == code, result.output
    assert said in error_of(result)["message"]


# What a user makes: all sections, offline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


def _whole(folder: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "dlcli", "report", "--offline", "--json", "--quiet", *words]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, Any]:
    """What the first report says, which is `one.html`; it leaves its answers for the next."""
    return _whole(folder, "--out", "one.html")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_question_is_answered_offline_and_measured_anew_the_same(
    first: dict[str, Any], folder: Path
) -> None:
    assert [question["status"] for question in first["questions"]] == ["done"] * 16
    assert not first["failed"]
    for question in first["questions"]:
        assert question["numbers"], question["number"]
        assert all(number["signature"] for number in question["numbers"])
    assert _whole(folder, "--out", "two.html")["kept"] == 16
    assert (folder / "one.html").read_bytes() == (folder / "two.html").read_bytes()
    assert _whole(folder, "--out", "three.html", "--fresh", "--only", "2,5,13")["kept"] == 0
    one, three = ((folder / name).read_text() for name in ("one.html", "three.html"))
    sections = re.findall(r'<section id="question-\d+".*?</section>', three, re.DOTALL)
    assert len(sections) == 3
    assert all(section in one for section in sections)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_every_window(folder: Path, width: int) -> None:
    with browser(installed()) as chromium:
        chromium.open(folder / "one.html", width=width)
        assert chromium.value("document.documentElement.scrollWidth") <= width
        assert chromium.value("document.querySelectorAll('figure svg').length") >= 16
        assert not chromium.problems
