from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app


def dl(*words: str) -> Result:
    return CliRunner().invoke(app, ["kl", "--samples", "2000", *words])


def parsed(*words: str) -> dict:
    done = dl(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_json_has_the_agreed_fields():
    found = parsed("--mu-q", "0", "--sigma-q", "1", "--mu-p", "10", "--sigma-p", "1")
    assert found["closed_form"] == 50.0
    assert set(found["monte_carlo"]) == {"value", "std_error", "samples"}
    gap = abs(found["monte_carlo"]["value"] - 50)
    assert gap < 4 * found["monte_carlo"]["std_error"]
    assert found["gradient_check"]["holds"] is True
    assert found["examples"] == {"mu_p=0": 0.0, "mu_p=10": 50.0}
    assert "version:dlcli-" in found["signature"]


@pytest.mark.parametrize("forms", [["1", "2"], ["1,2"], ["1", "--mu-p", "2"]])
def test_lists_in_every_form(forms: list[str]):
    assert parsed("--mu-p", *forms)["closed_form"] == 2.5


def test_negative_means_are_numbers_not_flags():
    assert parsed("--mu-q", "-1", "-2", "--mu-p", "-1", "-4")["closed_form"] == 2.0


def test_words_show_both_directions_and_the_seeds_examples():
    text = dl("--sigma-p", "2").stdout
    for part in ("KL(q ‖ p)", "KL(p ‖ q)", "holds", "50 for mu_p = 10", "signature measure:kl"):
        assert part in text


def test_figure(tmp_path: Path):
    found = parsed("--mu-p", "3", "--plot", "kl.png")
    assert found["files"] == [str(tmp_path / "kl.png")]
    assert (tmp_path / "kl.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--sigma-q", "0"], "sigma_q"),
        (["--mu-q", "1", "2", "--mu-p", "1", "2", "3"], "--mu-q has 2 values"),
        (["--samples", "1"], "samples"),
        (["--mu-q", "a"], "--mu-q takes numbers"),
    ],
)
def test_impossible_requests_are_usage_errors(words: list[str], part: str):
    done = dl(*words, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert part in error["message"] + error["hint"]
