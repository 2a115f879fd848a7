"""`dl nmt attend`: the matrix with its words, in every form it is given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from dlcli.cli.nmt import default_file
from dlcli.nmt.translator import Translator
from tests.cli.tiny import error_of
from tests.nmt.tiny_run import write_run

QUICK = ["--device", "cpu", "--precision", "fp32", "--beam", "2", "--max-length", "8"]
TARGET = "L'accord sur la zone ..."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "tiny")


def dl(*words: str, run: Path, given: str | None = None) -> Result:
    command = ["nmt", "attend", "--run", str(run), *QUICK, *words]
    return CliRunner().invoke(app, command, input=given)


def dl_json(*words: str, run: Path, given: str | None = None) -> dict[str, Any]:
    done = dl(*words, "--json", run=run, given=given)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_three_dots_typed_literally(run: Path) -> None:
    done = dl("The agreement ...", run=run)
    assert done.exit_code == 0, done.output
    heads = [line for line in done.stdout.splitlines() if line.strip()]
    assert "@@" in done.stdout
    assert heads[-1].endswith("figures/attend-the-agreement.png")
    assert Path(heads[-1]).is_file()
    assert f"Using {run}" in done.stderr
    found = dl_json("The agreement ...", run=run)
    assert found["source"] == ["The", "agreement", "...", "</s>"]
    assert found["run"] == str(run)


def test_figures_do_not_replace_one_another(run: Path) -> None:
    translator = Translator.load(run)
    found = translator.attend("The agreement " * 9 + "...")
    names = {
        default_file(found, translator=translator, given=given)
        for given in (None, "une cible", "une autre")
    }
    assert len(names) == 3
    own = default_file(found, translator=translator)
    assert own.parent == run / "figures"
    assert own.stem == "attend-" + "-".join(["the", "agreement"] * 4 + ["the"])
    shipped = Translator.load("pretrained:nmt-grammar")
    packaged = default_file(shipped.attend("The law"), translator=shipped)
    assert str(packaged) == "attend-nmt-grammar-the-law.png"


def test_json_has_the_names_of_the_design(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.svg"
    found = dl_json("The agreement ...", "--target", TARGET, "--out", str(out), run=run)
    assert found["target"] == ["L'", "accord", "sur", "la", "zone", "...", "</s>"]
    matrix = np.array(found["attention"])
    assert matrix.shape == (7, 4)
    assert np.allclose(matrix.sum(axis=1), 1)
    assert sorted(link.split("-")[1] for link in found["alignment"].split()) == list("012345")
    assert found["files"] == [str(out)]
    drawn = re.findall(r"<!-- (.*?) -->", out.read_text(encoding="utf-8"))
    words = [word.replace("&lt;", "<").replace("&gt;", ">") for word in drawn]
    assert words[:11] == [*found["source"], *found["target"]]


@pytest.mark.parametrize("ending", ["png", "pdf", "json", "npz"])
def test_out_takes_figures_and_numbers(run: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"a.{ending}"
    assert dl_json("The cat", "--out", str(out), run=run)["files"] == [str(out)]
    assert out.stat().st_size > 100


def test_subwords_have_rows_of_their_own(run: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.npz")
    found = dl_json("The agreement", "--target", TARGET, "--subwords", "--out", out, run=run)
    assert found["unit"] == "subwords"
    assert len(found["target"]) > 7
    assert np.allclose(np.sum(found["attention"], axis=1), 1)


def test_lines_from_a_pipe_are_answered_one_by_one(run: Path) -> None:
    done = dl("--json", run=run, given="The cat\n\nThe king here.\n")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["text"] for one in found] == ["The cat", "The king here."]
    assert [one["files"] for one in found] == [[], []]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([""], "The sentence has no words"),
        (["The cat", "--target", " "], "The translation has no words"),
        (["cat " * 5000], "tokens, and attention is drawn for at most 1,000"),
        (["The cat", "--out", "a.jpg"], "does not say which form"),
        (["--target", "Le chat"], "--target goes with one sentence"),
        (["-", "--out", "a.png"], "--out goes with one sentence"),
        (["The cat", "--beam", "0"], "A beam of 0"),
    ],
)
def test_mistakes_are_named(run: Path, words: list[str], message: str) -> None:
    done = dl(*words, "--json", run=run)
    assert done.exit_code == 2
    assert message in error_of(done)["message"]


def test_a_run_without_attention_is_refused(tmp_path: Path) -> None:
    done = dl("The cat", "--json", run=write_run(tmp_path / "none", attention="none"))
    assert done.exit_code == 2
    assert "was trained with --attention none" in error_of(done)["message"]


@pytest.mark.parametrize("text", ["🙂", "שלום עולם", "The\0cat", "e\u0301te\u0301"])
def test_any_text_is_shown(run: Path, tmp_path: Path, text: str) -> None:
    found = dl_json(text, "--out", str(tmp_path / "a.npz"), run=run)
    assert np.allclose(np.sum(found["attention"], axis=1), 1)
