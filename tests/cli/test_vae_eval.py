"""`dl vae eval` and `gradients`, a run with a learned prior: fields, words, refusals, Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.vae import bounds, evaluation
from tests.cli.tiny import TRAIN, contents, dl, dl_json, error_of, same, weights_of

SMALL = ("--k", "20", "--images", "5", "--threads", "1", "--device", "cpu")


def evaluate(*words: str) -> Result:
    return dl("vae", "eval", *words)


def test_it_says_how_far_the_annealing_is(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcli.display.progress.LINE_EVERY_S", 0.0)
    ais = ("--ais", "--ais-images", "1", "--ais-chains", "4", "--ais-temperatures", "10")
    assert "vae eval: 75%, AIS" in evaluate(str(tiny_run), *SMALL, *ais).stderr


def test_json_has_the_names_that_scripts_rely_on(tiny_run: Path) -> None:
    found = dl_json("vae", "eval", str(tiny_run), *SMALL)
    assert found["run"] == str(tiny_run)
    assert found["nll"] is None  # trained on grey pixels
    assert {"value", "std_error", "estimator", "k"} <= set(found["nll_binarized"])
    assert found["nll_binarized"]["k"] == 20
    assert found["elbo"] < 0 < found["gap"]
    assert len(found["kl_per_dim"]) == 3
    assert 0 <= found["active_units"] <= 3
    assert "k:20" in found["signature"].split("|")
    assert (found["images"], found["partial"], found["seed"]) == (5, False, 0)
    assert found["evaluations"] == 100
    assert found["evaluations_per_s"] > 0
    by_flag = dl_json("vae", "eval", "--run", str(tiny_run), *SMALL)
    assert by_flag["nll_binarized"] == found["nll_binarized"]


def test_snapshots_are_drawn_as_curves(tiny_run: Path, tmp_path: Path) -> None:
    figure = tmp_path / "five.png"
    snapshots = ("--checkpoints", "all", "--checkpoints-k", "10", "--plot", str(figure))
    done = evaluate(str(tiny_run), *SMALL, *snapshots)
    assert done.exit_code == 0, done.output
    assert f"figure: {figure}" in done.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("after", [0, 1])
def test_ctrl_c_prints_what_there_is(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    whole = evaluation.evaluate_run

    def stopped(*args: Any, **settings: Any) -> Iterator[Any]:
        results = whole(*args, **settings)
        for _ in range(after):
            yield next(results)
        raise KeyboardInterrupt

    monkeypatch.setattr(bounds, "LATENTS_BATCH", 40)
    monkeypatch.setattr(evaluation, "evaluate_run", stopped)
    done = evaluate(str(tiny_run), *SMALL, "--json")
    assert done.exit_code == 130
    if after:
        found = json.loads(done.stdout)
        assert (found["partial"], found["images"]) == (True, 2)
        assert "partial" in done.stderr
    else:
        assert error_of(done)["kind"] == "interrupted"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "9"], "8 test images, not 9"),
        (["--images", "0"], "images"),
        (["--k", "0"], "k"),
        (["--ais-chains", "1"], "chains"),
        (["--checkpoints", "some"], "checkpoints"),
        (["--run", "nowhere"], "no run 'nowhere'"),
        (["a", "--run", "b"], "two runs"),
        (["--checkpoint", "epoch-0007"], "epoch-0007"),
        (["--run", "other"], "nmt"),
    ],
)
def test_mistakes_are_named(tiny_run: Path, words: list[str], message: str) -> None:
    Path("other").mkdir()
    Path("other/run.json").write_text('{"kind": "nmt"}')
    Path("other/config.yaml").write_text("{}")
    run = [] if "--run" in words else ["--run", str(tiny_run)]
    done = evaluate(*words, *run, "--json")
    assert done.exit_code in (1, 2)
    error = error_of(done)
    assert message in error["message"]
    assert error["hint"]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_weights_that_are_nan_are_named(trained: Path, part: str) -> None:
    file = trained / "checkpoints" / "last.pt"
    state = load_checkpoint(file, kind="vae")
    for name, weight in state["model"].items():
        if part in name and weight.is_floating_point():
            weight.fill_(float("nan"))
    save_checkpoint(file, state, kind="vae")
    done = evaluate(str(trained), *SMALL, "--json")
    assert done.exit_code == 1
    assert f"The {part}" in error_of(done)["message"]
    assert "returned NaN" in error_of(done)["message"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_leaves_a_partial_result(tiny_run: Path, number: int) -> None:
    words = ["vae", "eval", str(tiny_run), "--k", "1000000", "--images", "8", "--ais", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dlcli", *words, "--ais-chains", "10000", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "%" not in process.stderr.readline():  # the first line of progress
        assert process.poll() is None
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert json.loads(out)["partial"] is True


def test_question_8_is_a_number_with_an_interval(tiny_run: Path) -> None:
    words = ["vae", "gradients", "--run", str(tiny_run), "--images", "4", "--samples", "40"]
    found = dl_json(*words)
    for target in ("outputs", "parameters"):
        contrast = found[target]["against_score"]
        low, high = contrast["ratio_ci95"]
        assert 1 < low < contrast["ratio"] < high
        assert contrast["ratio"] > found[target]["against_baseline"]["ratio"]
    assert (found["images"], found["samples"], found["seed"]) == (4, 40, 0)
    for part in ("data:glyphs:40", "estimator:pathwise,score-function", "samples:40"):
        assert part in found["signature"].split("|")
    done = dl(*words)
    for word in ("encoder parameters", "pathwise", "best baseline", "version:"):
        assert word in done.stdout
    done = dl(*words[:-1], "5", "--json")
    assert done.exit_code == 2
    assert "pairs" in error_of(done)["message"]


IWAE = ["--objective", "iwae", "--k", "2"]
FLOW = ["--prior", "flow", "--flow-layers", "3", "--flow-hidden", "4"]


@pytest.fixture(scope="module")
def _flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    dl_json(*TRAIN, *IWAE, *FLOW, "--binarize", "dynamic", "--out", str(folder / "a"))
    dl_json("runs", "export", str(folder / "a"), "--out", str(folder / "b"), "--whole")
    return folder


@pytest.fixture
def flow(_flow: Path) -> None:
    """A run with a learned prior in `runs/a`, and what was exported of it in `runs/b`."""
    shutil.copytree(_flow, "runs")


@pytest.mark.usefixtures("flow")
def test_every_command_takes_a_run_with_a_learned_prior() -> None:
    record = json.loads(Path("runs/a/run.json").read_text())
    assert "prior:flow-3-4" in record["signature"]
    shown = evaluate("runs/a", "--k", "20", "--images", "4", "--ais")
    assert shown.exit_code == 0
    assert "KL per dimension" not in shown.stdout
    found = dl_json("vae", "eval", "runs/a", "--k", "20", "--images", "4")
    assert found["kl_per_dim"] == []
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"], rel=1e-5)
    dl_json("mc-estimate", "--run", "runs/a", "--images", "1", "--samples", "20")
    dl_json("vae", "traverse", "--run", "runs/a", "--steps", "3")
    dl_json("vae", "interpolate", "--run", "runs/a", "--image", "0", "1", "--steps", "3")
    dl_json("sample", "--run", "runs/a", "--n", "2")
    dl_json("vae", "gradients", "--run", "runs/a", "--images", "2", "--samples", "4")
    label = dl_json("vae", "reconstruct", "--run", "runs/a", "--n", "2")["label"]
    assert label.endswith("the encoder's mean")


@pytest.mark.usefixtures("flow")
def test_an_exported_run_draws_the_same_pictures() -> None:
    for run in ("a", "b"):
        dl_json("vae", "generate", "--run", f"runs/{run}", "--n", "3", "--out", f"{run}.npz")
    drawn = dl_json("vae", "traverse", "--run", "runs/b", "--steps", "3")["files"]
    assert [Path(file).name for file in drawn] == ["traverse-b.png"]
    with np.load("a.npz") as one, np.load("b.npz") as two:
        assert all(np.array_equal(one[name], two[name]) for name in one.files)


@pytest.mark.usefixtures("flow")
def test_an_exported_model_is_not_written_into_by_a_training() -> None:
    before = contents(Path("runs/b"))
    done = dl("vae", "train", "--resume", "runs/b", "--epochs", "9")
    assert done.exit_code == 2
    assert "--init-from" in done.output
    assert contents(Path("runs/b")) == before


def test_a_stopped_training_goes_on_to_the_same_bits() -> None:
    words = [*TRAIN, "--objective", "iwae", "--k", "4", "--backward-samples", "2", *FLOW]
    dl_json(*words, "--out", "runs/whole")
    stopped = dl_json(*words, "--max-minutes", "1e-6", "--out", "runs/stopped")
    assert stopped["reason"] == "max-minutes"
    dl_json("vae", "train", "--resume", "runs/stopped", "--max-minutes", "0")
    assert same(weights_of(Path("runs/stopped")), weights_of(Path("runs/whole")))


def test_what_a_flow_cannot_be_is_said_before_anything_is_made() -> None:
    for words, said in (
        (["--prior", "flow"], "--objective iwae"),
        (["--flow-layers", "3"], "--prior flow"),
        ([*IWAE, "--prior", "flow", "--latent-dim", "1"], "--latent-dim 2 or more"),
    ):
        done = dl(*TRAIN, *words, "--out", "runs/none")
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
    assert not Path("runs").exists()
