"""Trainings of two processes: one training, one voice, also when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dlcli.engine.checkpoint import load_model
from dlcli.engine.runs import RunFolder
from tests.cli.tiny import CONV, SIZES, TRANSFORMER, dl_json, nmt_train, weights_of
from tests.processes import (
    FAILING,
    LEFT,
    PATIENCE_S,
    PAUSE_S,
    Done,
    Launcher,
    kill_all,
    needs_proc,
    torchrun,
    workers,
)

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)

# 41 images in batches of 13: the last has 2, and the shards of 13 are 6 and 7.
TRAIN = [
    *["vae", "train", "--data", "glyphs:41", "--batch-size", "13", "--snapshots", "99"],
    *[*SIZES, "--threads", "1", "--device", "cpu", "--precision", "fp32"],
]
ENDLESS = [*TRAIN, "--epochs", "100000"]


def _run(words: list[str]) -> Done:
    """Run a command in two forked processes, of which the second prints nothing on stdout."""
    children = Launcher(Path.cwd()).start_two([*words, "--json"])
    main, other = (child.wait() for child in children)
    assert other.stdout == ""
    assert main.stdout.count("\n") == 1, main.stderr
    return main


def _assert_same_steps(*, near: float) -> None:
    """Compare the metrics of the runs `one` and `two`."""
    rows = [RunFolder(Path(name)).metrics() for name in ("one", "two")]
    for a, b in zip(*rows, strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=near)
        assert b["step"] == a["step"]
    assert RunFolder(Path("two")).record()["processes"] == 2


def test_two_half_batches_take_the_steps_of_one_whole() -> None:
    words = [*TRAIN, "--epochs", "3"]
    done = _run([*words, "--out", "two"])
    two, one = json.loads(done.stdout), dl_json(*words, "--out", "one")
    rows = [line for line in done.stderr.splitlines() if line[:1] == " " and "--" not in line]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"], "one of the two speaks"
    ours, theirs = weights_of(Path("one")), weights_of(Path("two"))
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-4, atol=1e-5)
    assert two["test"]["elbo"] == pytest.approx(one["test"]["elbo"], abs=1e-3)
    _assert_same_steps(near=1e-5)


@pytest.mark.parametrize(
    ("network", "dropped"),
    [([], ("embedding", "context", "readout")), (TRANSFORMER, ("embedding", "residual"))],
    ids=["gru", "transformer"],
)
def test_two_half_batches_of_sentences_take_the_steps_of_one_whole(
    network: list[str], dropped: tuple[str, ...]
) -> None:
    """Without dropout, which each process draws for itself; uneven batches, some of one pair."""
    words = [*nmt_train(count=53), *network, "--epochs", "3", "--teacher-forcing", "0.8"]
    for name in dropped:
        words += [f"--dropout-{name}", "0"]
    two, one = json.loads(_run([*words, "--out", "two"]).stdout), dl_json(*words, "--out", "one")
    assert two["updates"] == one["updates"]
    ours, theirs = (
        load_model(RunFolder(Path(name)), kind="nmt", checkpoint="last").weights
        for name in ("one", "two")
    )
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-3, atol=1e-4)
    assert two["valid"]["nll_per_token"] == pytest.approx(one["valid"]["nll_per_token"], abs=1e-3)
    _assert_same_steps(near=1e-4)


def test_convolutions_keep_batch_statistics_per_process() -> None:
    words = [*TRAIN, *CONV, "--epochs", "2"]
    two, one = json.loads(_run([*words, "--out", "two"]).stdout), dl_json(*words, "--out", "one")
    assert two["test"]["elbo"] == pytest.approx(one["test"]["elbo"], rel=0.05)
    ours, theirs = weights_of(Path("one")), weights_of(Path("two"))
    means = [name for name in ours if name.endswith("running_mean")]
    assert means
    assert any(not torch.allclose(ours[name], theirs[name]) for name in means)


def test_seeds_a_refusal_and_a_finished_run_speak_once(tmp_path: Path) -> None:
    done = _run([*TRAIN, "--epochs", "1", "--seeds", "2", "--out", "s"])
    assert json.loads(done.stdout)["seeds"] == 2
    done = _run([*TRAIN, "--epochs", "1", "--out", "s/seed-0"])
    assert done.code == 2
    assert "exists already" in json.loads(done.stdout)["error"]["message"]
    done = _run(["vae", "train", "--resume", "s/seed-0"])
    assert json.loads(done.stdout)["run"] == str(tmp_path / "s/seed-0")
    done = _run([*TRAIN, "--lrr", "1"])
    assert done.code == 2
    assert json.loads(done.stdout)["error"]["kind"] == "usage"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test has started; what is left of them goes with it."""
    found: list[subprocess.Popen[str]] = []
    yield found
    for process in found:
        kill_all(process)


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.02)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_that_dies_ends_the_job_and_leaves_a_run_that_goes_on(
    rank: int, started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = torchrun([*ENDLESS, "--out", "run"], module="dlcli")
    started.append(process)
    run = RunFolder(tmp_path / "run")
    _wait_for(run.checkpoint(), process)
    os.kill(workers(process.pid)[rank], signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert out.count("\n") <= 1
    if rank == 1:
        assert json.loads(out)["error"]["kind"] in ("run", "interrupted")
        assert str(run.path) in json.loads(out)["error"]["hint"], err
    assert run.status in ("failed", "interrupted", "killed")
    rows = run.metrics()  # none where the worker died between the checkpoint and its evaluation
    epochs = (rows[-1]["epoch"] if rows else 0) + 2
    found = dl_json("vae", "train", "--resume", "run", "--epochs", str(epochs))
    assert found["epochs"] == epochs
    dl_json(*TRAIN, "--epochs", str(epochs), "--out", "whole")
    whole = weights_of(tmp_path / "whole")
    for name, weight in weights_of(tmp_path / "run").items():
        torch.testing.assert_close(weight, whole[name], rtol=1e-2, atol=1e-3)


@needs_proc
def test_a_restart_goes_on_after_a_worker_died_and_a_signal_saves(
    started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """No thread may be left: one that asks for Python's lock while Python ends would abort it."""
    run, left = RunFolder(tmp_path / "run"), tmp_path / "left"
    slow = {PAUSE_S: "0.2", LEFT: str(left)}
    process = torchrun([*ENDLESS, "--out", "run"], "--max-restarts", "1", **slow)
    started.append(process)
    _wait_for(run.checkpoint(), process)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    _wait_for(left, process)  # of the first attempt; the second is not slow
    before = len(run.metrics())
    while len(run.metrics()) < before + 9:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.terminate()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out.count("\n") == 1, "the first attempt leaves stdout to the second"
    assert json.loads(out)["error"]["kind"] == "interrupted"
    assert "going on from update" in err
    assert run.status == "interrupted"
    epochs = [row["epoch"] for row in run.metrics()]
    assert epochs == list(range(1, len(epochs) + 1))
    assert sorted(left.read_text().splitlines()) == [
        "rank 0, attempt 0: none",  # it lost the other one
        "rank 0, attempt 1: none",
        "rank 1, attempt 1: none",
    ]


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_no_thread_of_the_group_outlives_a_failure(debug: list[str], tmp_path: Path) -> None:
    """Here what the failed training held lies in a traceback."""
    left = tmp_path / "left"
    environment = {LEFT: str(left), FAILING: "0"}
    process = torchrun([*ENDLESS, "--out", "run", *debug], **environment)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert "this update fails" in err
    assert out.count("\n") == 1
    assert RunFolder(tmp_path / "run").status == "failed"
    assert sorted(left.read_text().splitlines()) == [f"rank {i}, attempt 0: none" for i in (0, 1)]
