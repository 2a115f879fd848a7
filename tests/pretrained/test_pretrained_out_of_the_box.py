"""Right after installation, with no run of one's own and no network, commands have a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dlcli.cli.app import app

FAMOUS = "The agreement on the European Economic Area was signed in August 1992."


FRENCH = "L'accord sur la zone économique européenne a été signé en août 1992."
BACKWARDS = {"4-6", "5-5", "6-4"}


def _attend(*words: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, ["nmt", "attend", FAMOUS, *words, "--json"])
    assert found.exit_code == 0, found.output
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def test_attend_shows_the_sentence_of_the_paper_against_the_diagonal() -> None:
    result = _attend()
    assert "conomique européen" in result["translation"]
    assert set(result["alignment"].split()) >= BACKWARDS
    assert [Path(file).parent for file in result["files"]] == [Path.cwd()]


@pytest.mark.parametrize("run", ["nmt-en-fr", "nmt-grammar"])
def test_also_with_the_paper_s_translation(run: str) -> None:
    result = _attend("--run", f"pretrained:{run}", "--target", FRENCH)
    assert set(result["alignment"].split()) >= BACKWARDS


def test_the_grammar_s_own_sentence() -> None:
    assert _attend("--run", "pretrained:nmt-grammar")["translation"] == FRENCH


def test_three_dots_are_a_word_like_any_other() -> None:
    found = CliRunner().invoke(app, ["nmt", "attend", "The agreement ...", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["source"][:3] == ["The", "agreement", "..."]


def test_translate_warns_of_words_it_has_never_seen() -> None:
    words = ["nmt", "translate", "--run", "pretrained:nmt-grammar"]
    found = CliRunner().invoke(app, [*words, "The axolotl sleeps."])
    assert found.exit_code == 0
    assert "never seen: 1 of 1" in found.stderr
    assert "never seen" not in CliRunner().invoke(app, [*words, FAMOUS]).stderr


def test_generate_and_sample_draw_digits() -> None:
    for command in (["vae", "generate", "--n", "4"], ["sample", "--n", "3"]):
        found = CliRunner().invoke(app, [*command, "--json"])
        assert found.exit_code == 0, found.output
        files = [Path(file) for file in json.loads(found.stdout)["files"]]
        assert files
        assert all(file.parent == Path.cwd() and file.stat().st_size for file in files)
