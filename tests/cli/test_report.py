"""`dl report`: one page, sections that fail, interruptions, mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dlcli.assignment import evidence
from dlcli.assignment import report as report_module
from dlcli.assignment.lab import Lab
from dlcli.assignment.question import Answer, Question
from dlcli.cli.app import app
from dlcli.cli.report import command_line
from dlcli.errors import DataError


def _report(*words: str) -> Result:
    return CliRunner().invoke(app, ["report", "--threads", "1", *words])


def _json(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_writes_one_page_and_keeps_what_it_found(tmp_path: Path) -> None:
    first = _report("--only", "3", "--out", "one.html", "--json")
    assert first.exit_code == 0, first.output
    found = _json(first)
    assert found["files"] == [str(tmp_path / "one.html")]
    assert [question["status"] for question in found["questions"]] == ["done"]
    assert found["questions"][0]["numbers"][0]["signature"]
    again = _json(_report("--only", "3", "--out", "deep/two.html", "--json"))
    assert [question["status"] for question in again["questions"]] == ["kept"]
    assert again["kept"] == 1
    assert Path("one.html").read_bytes() == Path("deep/two.html").read_bytes()
    fresh = _json(_report("--only", "3", "--fresh", "--json"))
    assert fresh["kept"] == 0
    assert fresh["files"] == [str(tmp_path / "report-3.html")], "a whole report.html stays"
    assert Path("report-3.html").read_bytes() == Path("one.html").read_bytes()
    assert "dl report --only 3 --threads 1" in Path("one.html").read_text(encoding="utf-8")


def test_the_command_of_a_page_says_all_that_changes_it() -> None:
    given = {"--data": "auto", "--seed": 0, "--threads": 0, "--device": "auto"}
    assert command_line(given, full=False, numbers=[]) == "dl report"
    other = {"--data": "glyphs:9", "--seed": 3, "--threads": 2, "--device": "cpu"}
    assert command_line(other, full=True, numbers=[2, 12]) == (
        "dl report --full --only 2 12 --data glyphs:9 --seed 3 --threads 2 --device cpu"
    )


def test_lists_are_written_in_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("--only", "3", "7"), ("--only", "3,7"), ("--only", "7", "--only", "3")):
        found = _json(_report(*words, "--json"))
        assert [question["number"] for question in found["questions"]] == [3, 7]


def _failing(lab: Lab) -> Answer:
    raise DataError("MNIST cannot be had.", hint="Run `dl data fetch mnist`.")


def test_a_section_that_fails_costs_its_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Question(number=4, chapter="c", title="t", asks="a?", answer=_failing)
    monkeypatch.setattr(report_module, "QUESTIONS", (evidence.divergence, bad))
    result = _report("--json")
    assert result.exit_code == 1
    found = _json(result)
    assert found["failed"] == [4]
    assert found["error"]["message"] == "No answer to 4: MNIST cannot be had."
    assert found["error"]["hint"] == "Run `dl data fetch mnist`."
    assert found["questions"][1]["error"]["message"] == "MNIST cannot be had."
    assert "Question 4: MNIST cannot be had." in result.stderr
    page = Path("report.html").read_text(encoding="utf-8")
    assert "MNIST cannot be had." in page
    assert 'id="question-3"' in page


def test_ctrl_c_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(lab: Lab) -> Answer:
        raise KeyboardInterrupt

    late = Question(number=4, chapter="c", title="t", asks="a?", answer=stop)
    monkeypatch.setattr(report_module, "QUESTIONS", (evidence.divergence, late))
    result = _report("--json")
    assert result.exit_code == 130
    assert "1 of 2 sections are done and kept" in _json(result)["error"]["message"]
    assert not Path("report.html").exists()
    monkeypatch.setattr(report_module, "QUESTIONS", (evidence.divergence,))
    assert _json(_report("--json"))["kept"] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--only", "17"), 2, "no section 17"),
        (("--only", "two"), 2, "--only"),
        (("--out", "report.pdf"), 2, "no name of a page"),
        (("--out", "folder.html"), 1, "is a folder"),
        (("--out", "/proc/nowhere/report.html"), 1, "cannot be written"),
        (("--data", "mnits"), 2, "mnits"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    words: tuple[str, ...], code: int, said: str
) -> None:
    Path("folder.html").mkdir()
    result = _report(*words, "--json")
    assert result.exit_code == code, result.output
    assert said in _json(result)["error"]["message"]
    assert not re.search("Traceback", result.output)
