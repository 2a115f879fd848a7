"""`dl nmt translate`: from a word, a file, a pipe; what it says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from tests.cli.tiny import error_of
from tests.nmt.tiny_run import write_run

QUICK = ["--device", "cpu", "--precision", "fp32", "--beam", "2", "--max-length", "6"]
LINES = ["The cat sees the dog here.", "", "The king!", "  ", "🙂 שלום", "The bird again ..."]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "tiny")


def dl(*words: str, run: Path, given: bytes | None = None) -> Result:
    command = ["nmt", "translate", "--run", str(run), *QUICK, *words]
    return CliRunner().invoke(app, command, input=given)


def answers(*words: str, run: Path, given: bytes | None = None) -> list[str]:
    done = dl(*words, run=run, given=given)
    assert done.exit_code == 0, done.output
    return done.stdout.split("\n")[:-1]


def test_a_file_a_pipe_and_the_same_lines_typed_agree(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    found = answers("--input", str(file), run=run)
    assert len(found) == len(LINES)
    assert [not line for line in found] == [not line.strip() for line in LINES]
    assert answers(run=run, given=file.read_bytes()) == found
    assert answers("-", run=run, given=file.read_bytes()) == found
    assert answers("\n".join(LINES), run=run) == found
    typed = [answers("--", line, run=run) for line in LINES]
    assert [line for lines in typed for line in lines] == found


def test_line_ends_of_any_kind_change_nothing(run: Path) -> None:
    found = answers(run=run, given=b"The cat\nThe king\n")
    for given in (
        b"The cat\r\nThe king\r\n",
        b"\xef\xbb\xbfThe cat\nThe king",
        b"The\0cat\nThe king",
    ):
        assert answers(run=run, given=given) == found


def test_json_is_one_object_a_line(run: Path) -> None:
    found = [json.loads(line) for line in answers("--json", run=run, given=b"The cat\n\nThe king")]
    assert [one["source"] for one in found] == ["The cat", "", "The king"]
    assert found[1]["translation"] == ""
    assert found[1]["score"] == 0
    assert all(one["score"] <= 0 for one in found)
    assert [one["translation"] for one in found] == answers(run=run, given=b"The cat\n\nThe king")


def test_n_best_are_ranked(run: Path) -> None:
    (one,) = map(json.loads, answers("The cat", "--n-best", "2", "--json", run=run))
    scores = [best["score"] for best in one["n_best"]]
    assert len(scores) == 2
    assert one["translation"] == one["n_best"][0]["translation"]
    rows = [row.split(" ||| ") for row in answers("The cat", "--n-best", "2", run=run)]
    assert [row[0] for row in rows] == ["0", "0"]
    assert [float(row[2]) for row in rows] == scores


def test_nothing_gives_nothing(run: Path) -> None:
    assert answers(run=run, given=b"") == []
    assert answers("", run=run) == [""]


def test_five_thousand_words_are_answered_and_remarked_on(run: Path) -> None:
    done = dl("--beam", "1", run=run, given=b"The cat sees the dog. " * 1000)
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert "was translated in 1,000 parts" in done.stderr


def test_lines_before_a_faulty_one_are_answered(run: Path) -> None:
    done = dl("--json", run=run, given=b"The cat\n\xff\xfe\n")
    assert done.exit_code == 1
    first, error = map(json.loads, done.stdout.splitlines())
    assert first["source"] == "The cat"
    assert error["error"]["kind"] == "data"
    assert "Line 2 of standard input is not UTF-8" in error["error"]["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--beam", "0"], "A beam of 0 holds no translation"),
        (["a", "--n-best", "3"], "cannot give the 3 best"),
        (["a", "--length-penalty", "-1"], "length penalty of -1"),
        (["a", "--input", __file__], "TEXT and --input are two inputs"),
        (["--input", "nowhere.txt"], "nowhere.txt"),
        (["a", "--run", "nowhere"], "no run 'nowhere'"),
        (["a", "--batch-size", "0"], "batch"),
    ],
)
def test_mistakes_are_named(run: Path, words: list[str], message: str) -> None:
    done = dl(*words, "--json", run=run)
    assert done.exit_code == 2
    assert message in error_of(done)["message"]


def test_a_beam_larger_than_the_vocabulary_is_no_mistake(run: Path) -> None:
    assert len(answers("The cat", "--beam", "400", "--max-length", "2", run=run)) == 1


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**record, "kind": "vae"}))
    done = dl("The cat", "--json", run=other)
    assert done.exit_code == 2
    assert "is a vae run, and this command needs a nmt run" in error_of(done)["message"]


def test_a_closed_pipe_is_quiet(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("The cat\n" * 3000)
    words = [sys.executable, "-m", "dlcli", "nmt", "translate", "--run", str(run), *QUICK]
    with subprocess.Popen(
        [*words, "--quiet", "--beam", "1", "--input", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
