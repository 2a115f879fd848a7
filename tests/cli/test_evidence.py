"""`dl kl` and `dl mc-estimate`: fields, words, exit codes and interruptions."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.evidence.estimate import CaseEstimators
from tests.cli.tiny import dl, dl_json, error_of

KL = ("kl", "--samples", "2000")


def test_json_has_the_agreed_fields():
    found = dl_json(*KL, "--mu-q", "0", "--sigma-q", "1", "--mu-p", "10", "--sigma-p", "1")
    assert found["closed_form"] == 50.0
    assert set(found["monte_carlo"]) == {"value", "std_error", "samples"}
    gap = abs(found["monte_carlo"]["value"] - 50)
    assert gap < 4 * found["monte_carlo"]["std_error"]
    assert found["gradient_check"]["holds"] is True
    assert found["examples"] == {"mu_p=0": 0.0, "mu_p=10": 50.0}
    assert "version:dlcli-" in found["signature"]


def test_words_show_both_directions_and_the_assignments_examples():
    text = dl(*KL, "--sigma-p", "2").stdout
    for part in ("KL(q ‖ p)", "KL(p ‖ q)", "holds", "50 for mu_p = 10", "signature measure:kl"):
        assert part in text


def test_without_words_kl_shows_its_help_with_an_example():
    done = dl("kl")
    assert "dl kl --mu-q 1" in done.output
    assert "closed form (nats)" not in done.output
    assert dl_json("kl")["closed_form"] == 0


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
    done = dl(*KL, *words, "--json")
    assert done.exit_code == 2
    error = error_of(done)
    assert part in error["message"] + error["hint"]


SMALL = [
    "mc-estimate",
    "--pixels",
    "25",
    "--samples",
    "10",
    "1000",
    "--repeats",
    "3",
    "--chains",
    "32",
    "--temperatures",
    "40",
]
TWO = [*SMALL, "--dims", "2", "4"]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every bit of progress said."""
    monkeypatch.setattr("dlcli.display.progress.LINE_EVERY_S", 0.0)


@pytest.mark.usefixtures("often")
def test_it_says_how_far_each_estimator_is():
    done = dl(*TWO, "--estimators", "prior", "ais")
    for line in ("D = 2: prior: 100%", "D = 4: the pilot run: 0%", "D = 4: ais: 50%"):
        assert line in done.stderr
    assert "the pilot run" not in done.stdout
    assert dl(*TWO, "--estimators", "prior", "--quiet").stderr == ""


def test_words_give_the_truth_the_price_and_the_reasons():
    text = dl(*TWO, "--estimators", "prior,bdmc,control").stdout
    for part in (
        "KL(posterior ‖ prior)", "prior samples for any useful estimate", "low on average",
        "signature measure:log-evidence", "samples are worth", "bdmc: ",
    ):  # fmt: skip
        assert part in text


def test_figures(tmp_path: Path):
    drawn = dl_json(*KL, "--mu-p", "3", "--plot", "kl.png")
    measured = dl_json(*TWO, "--estimators", "prior", "--plot", "mc.png")
    for found, name in ((drawn, "kl.png"), (measured, "mc.png")):
        assert found["files"] == [str(tmp_path / name)]
        assert (tmp_path / name).stat().st_size > 5000


def test_a_hopeless_wish_is_answered_at_once():
    found = dl_json(
        *SMALL, *["--dims", "20", "--estimators", "prior", "--target-se", "0.01", "--pixels", "784"]
    )
    target = found["results"][0]["estimators"][0]["target"]
    assert target["reached"] is False
    assert target["samples_needed_log10"] > 20
    assert "10^" in target["reason"]


def test_a_random_decoder():
    found = dl_json(*SMALL, "--model", "bernoulli", "--hidden", "7", "--dims", "1", "3")
    kinds = [result["truth_kind"] for result in found["results"]]
    assert kinds == ["quadrature", "sandwich"]


@pytest.mark.parametrize(
    ("words", "dims", "part"),
    [
        ([], "0", "dims"),
        ([], "1000000", "dims"),
        (["--samples", "0"], "2", "samples"),
        (["--estimators", "priors"], "2", "prior"),
        (["--set", "target_se=0"], "2", "target_se"),
        (["--noise-variance", "-1"], "2", "noise_variance"),
        (["--model", "gauss"], "2", "linear-gaussian"),
        (["--run", "no-such-run"], "2", "no-such-run"),
    ],
)
def test_impossible_requests_are_errors(words: list[str], dims: str, part: str):
    done = dl(*SMALL, "--dims", dims, *words, "--json")
    assert done.exit_code in (1, 2)
    error = error_of(done)
    assert part in error["message"] + error["hint"]


@pytest.mark.usefixtures("often")
def test_a_trained_run_is_estimated_under_its_own_signature(tiny_run: Path):
    of_run = ["--run", str(tiny_run), "--images", "2", "--estimators", "importance"]
    done = dl(*SMALL, *of_run)
    assert "log p(x) of 2 images" in done.stdout
    rows = [line.split()[0] for line in done.stdout.splitlines() if " importance " in line]
    assert len(set(rows)) == 2
    assert all(row.startswith("test-") for row in rows)
    assert {f"{row}: importance: 100%" for row in rows} <= set(done.stderr.splitlines())
    found = dl_json(*SMALL, *of_run)
    assert found["model"] == tiny_run.name
    assert len(found["results"]) == 2
    for part in ("split:test", "images:2", "nll-pixels:binarized-dynamically", "arch:mlp"):
        assert part in found["signature"].split("|")
    assert "dims:" not in found["signature"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"run.json": '{"kind": "nmt"}', "config.yaml": "{}"}, "is a run of kind nmt"),
        ({"run.json": '{"kind": "vae"}', "config.yaml": "{}"}, "checkpoint"),
    ],
)
def test_runs_that_cannot_be_estimated(tmp_path: Path, settings: dict[str, str], message: str):
    (tmp_path / "other").mkdir()
    for name, text in settings.items():
        (tmp_path / "other" / name).write_text(text)
    done = dl(*TWO, "--run", str(tmp_path / "other"), "--json")
    assert done.exit_code in (1, 2)
    assert message in error_of(done)["message"]


@pytest.mark.parametrize("command", [["mc-estimate", "--run"], ["vae", "eval"]])
def test_another_data_set_than_the_runs_is_refused(
    tiny_run: Path, tmp_path: Path, command: list[str]
):
    """The run says `auto`, and `auto` is another data set here than it was there."""
    moved = tmp_path / "moved"
    shutil.copytree(tiny_run, moved)
    file = moved / "checkpoints" / "last.pt"
    state = load_checkpoint(file, kind="vae")
    state["config"]["data"] |= {"name": "auto", "offline": True}
    save_checkpoint(file, state, kind="vae")
    record = json.loads((moved / "run.json").read_text())
    record["result"]["data"] = "mnist"
    (moved / "run.json").write_text(json.dumps(record))
    done = dl(*command, str(moved), "--json")
    assert done.exit_code == 1
    error = error_of(done)
    assert (error["kind"], "was trained on mnist" in error["message"]) == ("data", True)


def test_an_interruption_prints_what_there_is(monkeypatch: pytest.MonkeyPatch):
    real, calls = CaseEstimators.run, []

    def cut(self: CaseEstimators, name: Any) -> Any:
        calls.append(name)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(self, name)

    monkeypatch.setattr(CaseEstimators, "run", cut)
    done = dl(*TWO, "--json")
    assert done.exit_code == 130
    found = json.loads(done.stdout)
    assert found["partial"] is True
    assert [each["name"] for each in found["results"][0]["estimators"]] == ["prior", "importance"]
    calls.clear()
    assert dl(*TWO).stdout.startswith("PARTIAL")


def test_an_interruption_before_any_result(monkeypatch: pytest.MonkeyPatch):
    def cut(self: CaseEstimators, name: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(CaseEstimators, "run", cut)
    done = dl(*TWO, "--json")
    assert done.exit_code == 130
    assert error_of(done)["kind"] == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_leaves_a_partial_result(number: int):
    words = ["mc-estimate", "--dims", "2", "3", "--estimators", "importance", "prior", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dlcli", *words, "--samples", "1000000000", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "importance done" in process.stderr.readline()
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    found = json.loads(out)
    assert found["partial"] is True
    assert [each["name"] for each in found["results"][0]["estimators"]] == ["importance"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plot", "x.xyz"], "picture format"),
        (["--plot", "x.png", "--estimators", "ais"], "no error at several sample counts"),
        (["--plot", "x.png", "--target-se", "0.1"], "no error at several sample counts"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused_first(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(CaseEstimators, "run", lambda *_: pytest.fail("measured"))
    done = dl(*TWO, *words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_bdmc_of_a_real_image_is_refused_first(tiny_run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CaseEstimators, "run", lambda *_: pytest.fail("measured"))
    done = dl(*TWO, "--run", str(tiny_run), "--estimators", "prior", "bdmc")
    assert done.exit_code == 2
    assert "Leave bdmc out" in done.stderr


def test_mc_estimate_writes_a_page(tmp_path: Path) -> None:
    words = ["mc-estimate", "--dims", "2", "--estimators", "prior", "--samples", "20"]
    assert dl_json(*words, "--html")["files"] == [str(tmp_path / "mc-estimate.html")]
    text = (tmp_path / "mc-estimate.html").read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "")
    assert error_of(dl(*words, "--out", "a.pdf", "--json"))["kind"] == "usage"
    assert dl_json(*words, "--out", "b.htm")["files"] == [str(tmp_path / "b.htm")]
