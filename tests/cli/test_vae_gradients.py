"""`dl vae gradients`: the table, the fields, the refusals."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from tests.cli import test_pictures

tiny_run = test_pictures.tiny_run


def dl(*words: str) -> Result:
    return CliRunner().invoke(app, ["vae", "gradients", *words])


def test_question_8_is_a_number_with_an_interval(tiny_run: Path) -> None:
    done = dl("--run", str(tiny_run), "--images", "4", "--samples", "40", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    for target in ("outputs", "parameters"):
        contrast = found[target]["against_score"]
        low, high = contrast["ratio_ci95"]
        assert 1 < low < contrast["ratio"] < high
        assert contrast["ratio"] > found[target]["against_baseline"]["ratio"]
    assert (found["images"], found["samples"], found["seed"]) == (4, 40, 0)
    for part in ("data:glyphs:40", "estimator:pathwise,score-function", "samples:40"):
        assert part in found["signature"].split("|")


def test_the_table_says_it_in_words(tiny_run: Path) -> None:
    done = dl("--run", str(tiny_run), "--images", "4", "--samples", "8")
    assert done.exit_code == 0
    for word in ("encoder parameters", "pathwise", "best baseline", "version:"):
        assert word in done.stdout


def test_odd_samples_are_refused(tiny_run: Path) -> None:
    done = dl("--run", str(tiny_run), "--images", "4", "--samples", "5", "--json")
    assert done.exit_code == 2
    assert "pairs" in json.loads(done.stdout)["error"]["message"]
