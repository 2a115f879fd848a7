"""`dl ln-gradients`: its fields, words, exit codes and interruptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dlcli.layernorm.measurement as measurement
from tests.cli.tiny import dl, dl_json, error_of
from tests.nmt.toy import TRANSFORMER, write_run, write_tsv

WORDS = (
    "ln-gradients --depths 1 2 4 --widths 8 --seeds 3 --batch-size 3 --tokens 2 --classes 5 "
    "--layer-depth 3 --equations-depth 2 --equations-width 4 --equations-tokens 2 --train-depth 1 "
    "--train-width 8 --length 2 --vocabulary 3 --train-steps 2 --train-seeds 2"
)
SMALL = WORDS.split()


def test_json_has_the_agreed_fields():
    found = dl_json(*SMALL)
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
    done = dl(*SMALL)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith("verdict: ")
    assert "W^Q = W^K = 0" in done.stdout
    assert "Theorem 1, an upper bound" in done.stdout
    assert "signature measure:ln-gradients" in done.stdout


def test_everything_at_once_with_figures(tmp_path: Path):
    views = ("--per-layer", "--equations", "--train", "--steps", "1")
    found = dl_json(*SMALL, *views, "--plot", "fig.png", "--placements", "post", "pre", "rezero")
    assert [Path(file).name for file in found["files"]] == [
        "fig.png", "fig-layers.png", "fig-training.png",
    ]  # fmt: skip
    assert all((tmp_path / Path(file).name).stat().st_size > 5000 for file in found["files"])
    assert [check["holds"] for check in found["equations"]] == [True, True]
    assert len(found["training"]["curves"]) == 8
    assert found["placements"]["rezero"]["slope"] is None
    text = dl(*SMALL, *views).stdout
    for part in ("Equation 21' holds", "Equation 22' holds", "Lemma 2", "Question 16"):
        assert part in text
    assert "post, warm-up: " in text


def test_check_exits_with_3_where_it_does_not_hold():
    loose = ("--post-tolerance", "9", "--pre-tolerance", "9", "--check")
    assert dl(*SMALL, *loose).exit_code == 0
    done = dl(*SMALL, "--pre-tolerance", "1e-9", "--check", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["verdict"] == "fail"
    assert dl(*SMALL, *loose, "--equations", "--equations-tolerance", "1e-300").exit_code == 3


def test_one_seed_is_undecided_and_says_so():
    found = dl_json(*SMALL, "--seeds", "1")
    assert found["verdict"] is None
    assert found["placements"]["post"]["slope_ci95"] is None
    done = dl(*SMALL, "--seeds", "1", "--check")
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
    done = dl(*SMALL, *words.split(), "--json")
    assert done.exit_code == 2
    error = error_of(done)
    assert part in error["message"] + error["hint"]


@pytest.fixture
def transformer() -> list[str]:
    """The words that measure a run of three layers and one."""
    write_tsv(Path("toy.tsv"), count=60)
    write_run(Path("run"), data="toy.tsv", **TRANSFORMER | {"layers": (3, 1), "norm": "post"})
    return ["ln-gradients", "--run", "run", "--device", "cpu"]


def test_a_trained_transformer_is_measured_layer_by_layer(transformer: list[str], tmp_path: Path):
    found = dl_json(*transformer, "--batch-size", "3", "--plot", "a.png")
    assert (found["run"], found["checkpoint"]) == (str(tmp_path / "run"), "last")
    assert found["norm"] == "post"
    for name, layers in (("encoder", 3), ("decoder", 1)):
        rows = found["stacks"][name]["rows"]
        assert [row["layer"] for row in rows] == list(range(1, layers + 1))
        assert all(row[key] > 0 for row in rows for key in ("weights", "w2", "hidden"))
    assert "|sentences:3|" in found["signature"]
    assert Path(found["files"][0]).read_bytes().startswith(b"\x89PNG")
    said = dl(*transformer).stdout
    assert "encoder, post-norm: gradient at its input over that at its output" in said


def test_what_a_trained_model_has_no_use_for_is_refused(transformer: list[str]):
    write_run(Path("gru"), data="toy.tsv")
    for words, part in (
        ([*transformer, "--depths", "2", "4"], "--depths is for stacks that are drawn"),
        ([*transformer, "--check"], "--check is for Theorem 1"),
        (["ln-gradients", "--run", "gru"], "is no Transformer"),
        ([*SMALL, "--checkpoint", "best"], "--checkpoint goes with --run"),
    ):
        done = dl(*words, "--json")
        assert (done.exit_code, part in error_of(done)["message"]) == (2, True), done.output


def test_float16_overflow_ends_with_1():
    done = dl(*SMALL, "--dtype", "float16", "--gamma", "1e6", "--json")
    assert done.exit_code == 1
    assert "float16" in error_of(done)["message"]


def test_an_interruption_prints_the_partial_result(monkeypatch: pytest.MonkeyPatch):
    real = measurement.sweep_norms

    def cut(*args: object, **named: object):
        for count, norms in enumerate(real(*args, **named), start=1):
            yield norms
            if count == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(measurement, "sweep_norms", cut)
    done = dl(*SMALL, "--json")
    assert done.exit_code == 130
    found = json.loads(done.stdout)
    assert found["partial"] is True
    assert found["complete"] is False
    assert found["seeds"] == 2
    assert len(found["placements"]["pre"]["slope_ci95"]) == 2
    assert "partial" in done.stderr
    assert dl(*SMALL).stdout.startswith("PARTIAL")
