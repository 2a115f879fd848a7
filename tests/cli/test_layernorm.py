"""`dl ln-gradients`: its fields, words, exit codes and interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import dlcli.layernorm.measurement as measurement
from dlcli.cli.app import app

SMALL = (
    "--depths 1 2 4 --widths 8 --seeds 3 --batch-size 3 --tokens 2 --classes 5 --layer-depth 3 "
    "--equations-depth 2 --equations-width 4 --equations-tokens 2 --train-depth 1 --train-width 8 "
    "--length 2 --vocabulary 3 --train-steps 2 --train-seeds 2"
)


def dl(*words: str) -> Result:
    return CliRunner().invoke(app, ["ln-gradients", *SMALL.split(), *words])


def parsed(*words: str) -> dict[str, Any]:
    done = dl(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_json_has_the_agreed_fields():
    found = parsed()
    assert found["verdict"] in ("pass", "fail")
    assert set(found["theorem"]) == set(found["placements"]) == {"post", "pre"}
    for result in found["placements"].values():
        assert result["depths"] == [1, 2, 4]
        assert len(result["last_layer_norm"]) == 3
        assert len(result["slope_ci95"]) == 2
        assert [row["layer"] for row in result["per_layer"]] == [1, 2, 3]
    assert found["partial"] is False
    assert found["files"] == []
    assert found["signature"].startswith("measure:ln-gradients|setting:theorem")


def test_words_end_with_the_verdict_and_name_the_setting():
    done = dl()
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith("verdict: ")
    assert "W^Q = W^K = 0" in done.stdout
    assert "Theorem 1, an upper bound" in done.stdout
    assert "signature measure:ln-gradients" in done.stdout


def test_everything_at_once_with_figures(tmp_path: Path):
    views = ("--per-layer", "--equations", "--train", "--steps", "1")
    found = parsed(*views, "--plot", "fig.png", "--placements", "post", "pre", "rezero")
    assert [Path(file).name for file in found["files"]] == [
        "fig.png", "fig-layers.png", "fig-training.png",
    ]  # fmt: skip
    assert all((tmp_path / Path(file).name).stat().st_size > 5000 for file in found["files"])
    assert [check["holds"] for check in found["equations"]] == [True, True]
    assert len(found["training"]["curves"]) == 8
    assert found["placements"]["rezero"]["slope"] is None
    text = dl(*views).stdout
    for part in ("Equation 21' holds", "Equation 22' holds", "Lemma 2", "Question 16"):
        assert part in text
    assert "post, warm-up: " in text


def test_check_exits_with_3_where_it_does_not_hold():
    loose = ("--post-tolerance", "9", "--pre-tolerance", "9", "--check")
    assert dl(*loose).exit_code == 0
    done = dl("--pre-tolerance", "1e-9", "--check", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["verdict"] == "fail"
    assert dl(*loose, "--equations", "--equations-tolerance", "1e-300").exit_code == 3


def test_one_seed_is_undecided_and_says_so():
    found = parsed("--seeds", "1")
    assert found["verdict"] is None
    assert found["placements"]["post"]["slope_ci95"] is None
    done = dl("--seeds", "1", "--check")
    assert done.exit_code == 3
    assert "one seed gives no interval" in done.stdout
    assert "verdict: undecided" in done.stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--placements sandwhich", "sandwich"),
        ("--seeds 0", "seeds"),
        ("--dtype float8", "float16"),
    ],
)
def test_impossible_requests_are_usage_errors(words: str, part: str):
    done = dl(*words.split(), "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert part in error["message"] + error["hint"]
    assert "Traceback" not in done.output


def test_float16_overflow_ends_with_1():
    done = dl("--dtype", "float16", "--gamma", "1e6", "--json")
    assert done.exit_code == 1
    assert "float16" in json.loads(done.stdout)["error"]["message"]


def test_an_interruption_prints_the_partial_result(monkeypatch: pytest.MonkeyPatch):
    real = measurement.sweep_norms

    def cut(*args: object, **named: object):
        for count, norms in enumerate(real(*args, **named), start=1):
            yield norms
            if count == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(measurement, "sweep_norms", cut)
    done = dl("--json")
    assert done.exit_code == 130
    found = json.loads(done.stdout)
    assert found["partial"] is True
    assert found["complete"] is False
    assert found["seeds"] == 2
    assert len(found["placements"]["pre"]["slope_ci95"]) == 2
    assert "partial" in done.stderr
    assert dl().stdout.startswith("PARTIAL")


def test_an_interruption_before_any_result_has_exit_code_130(monkeypatch: pytest.MonkeyPatch):
    def cut(*args: object, **named: object):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(measurement, "sweep_norms", cut)
    done = dl("--json")
    assert done.exit_code == 130
    assert json.loads(done.stdout)["error"]["kind"] == "interrupted"


@pytest.mark.slow
def test_a_real_signal_leaves_a_partial_result():
    words = [sys.executable, "-m", "dlcli", "ln-gradients", "--seeds", "4000", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()  # the first line of progress
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert json.loads(out)["partial"] is True
