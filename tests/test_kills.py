"""Trainings that are killed, stopped and interrupted, and end with the bits of one left alone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.runs import RunFolder
from tests.cli.tiny import CONV, NMT_SIZES, SIZES, TRAIN, dl, dl_json, error_of
from tests.engine.toy import TIMINGS, differences
from tests.nmt.toy import write_tsv
from tests.processes import (
    PATIENCE_S,
    PAUSE_S,
    TRACE,
    Child,
    Launcher,
    kill_all,
    needs_proc,
    read_trace,
    torchrun,
    workers,
)

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)
LONG_RUN = pytest.mark.timeout(3600)

INTERVAL_S = 0.05
UPDATES = 22
"""Of an epoch: 88 images in batches of 4."""
OFTEN = [
    *["--set", f"loop.checkpoint_minutes={INTERVAL_S / 60:.6f}"],
    *["--threads", "1", "--device", "cpu", "--precision", "fp32"],
]
LONG = [
    *["vae", "train", "--data", "glyphs:96", "--validation", "8", "--batch-size", "4"],
    *["--snapshots", "0", "2", *OFTEN],
]
TRAININGS = {
    "mlp": [*LONG, *SIZES, "--epochs", "8"],
    "conv": [*LONG, *SIZES, *CONV, "--epochs", "3", "--schedule", "cosine", "--clip-norm", "9"],
    "translator": [
        *["nmt", "train", "--data", "toy.tsv", "--validation", "4", *NMT_SIZES, *OFTEN],
        *["--batch-unit", "sentences", "--batch-size", "4", "--epochs", "4", "--average", "2"],
        *["--teacher-forcing", "1", "--teacher-forcing-end", "0.5"],
    ],
}
RESULTS = ("test", "valid", "checkpoint", "epochs", "signature")


def outcome(path: Path) -> dict[str, Any]:
    """Return what a run left behind but for its timings: checkpoints, metrics, result, pictures."""
    run = RunFolder(path)
    found: dict[str, Any] = {}
    for file in sorted(run.checkpoints.iterdir()):
        state = load_checkpoint(file, kind=run.record()["kind"])
        if "position" in state:  # an average has none
            state["position"].pop("train_s")
            state.pop("metrics_bytes")  # timings have more or fewer digits
        found[file.name] = state
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
    result = run.record()["result"]
    found["result"] = {k: result[k] for k in RESULTS if k in result}
    found["vocabulary"] = [file.read_bytes() for file in run.path.glob("tokenizer.*")]
    found["pictures"] = {p.name: p.read_bytes() for p in run.figures.glob("epoch-*.png")}
    return found


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    folder = tmp_path_factory.mktemp("kills")
    write_tsv(folder / "toy.tsv", count=60)
    return Launcher(folder)


@pytest.fixture(scope="module")
def whole(launcher: Launcher) -> Callable[[str], dict[str, Any]]:
    """Return what a training comes to when nobody disturbs it."""
    made: dict[str, dict[str, Any]] = {}

    def train(arch: str) -> dict[str, Any]:
        if arch not in made:
            folder = launcher.folder / f"whole {arch}"
            done = launcher.run([*TRAININGS[arch], "--out", str(folder), "--json"])
            assert done.code == 0, done.stderr
            made[arch] = outcome(folder)
        return made[arch]

    return train


def _going_on(arch: str, folder: Path) -> list[str]:
    """Return the words that go on with a run, or start it where there is none yet."""
    if (folder / "config.yaml").exists():
        return [*TRAININGS[arch], "--resume", "--out", str(folder), "--json"]
    return [*TRAININGS[arch], "--out", str(folder), "--json"]


def _assert_little_was_redone(killed: Child, resumed: Child) -> None:
    """Hold the updates that were taken twice against the interval between checkpoints.

    All but the last of them began within an interval of the first: had it been over, a checkpoint
    would have been taken before the next began.
    """
    if not resumed.updates:
        return
    first = resumed.updates[0][0]
    redone = [when for step, when in killed.updates if step >= first]
    if len(redone) > 1:
        assert redone[-2] - redone[0] <= INTERVAL_S


def _kill_and_resume(
    launcher: Launcher, arch: str, folder: Path, *, kills: int, rng: random.Random
) -> int:
    """Kill a training so many times, each after a random number of updates and a random moment.

    Returns:
        How often it was still running.
    """
    killed: Child | None = None
    caught = 0
    for _ in range(kills):
        child = launcher.start(_going_on(arch, folder))
        if rng.random() < 0.8:
            child.wait_for_updates(1 + int(rng.expovariate(1 / 15)))
        time.sleep(rng.random() * 0.1)
        child.signal(signal.SIGKILL)
        done = child.wait()
        assert done.code in (-signal.SIGKILL, 0)
        caught += done.code == -signal.SIGKILL
        if killed is not None:
            _assert_little_was_redone(killed, child)
        if child.updates:
            killed = child
    last = launcher.start(_going_on(arch, folder))
    done = last.wait()
    assert done.code == 0, done.stderr
    if killed is not None:
        _assert_little_was_redone(killed, last)
    return caught


@pytest.mark.parametrize("arch", TRAININGS)
@pytest.mark.parametrize(
    ("kills", "seed"),
    [
        (4, 0),
        *(pytest.param(20, seed, marks=[pytest.mark.slow, LONG_RUN]) for seed in range(3)),
    ],
)
def test_killed_at_random_and_resumed_it_ends_with_the_same_bits(
    kills: int, seed: int, arch: str, launcher: Launcher, whole: Callable[[str], dict[str, Any]]
) -> None:
    folder = launcher.folder / f"{arch} killed {kills} times, {seed}"
    rng = random.Random(f"{arch} {seed}")
    caught = _kill_and_resume(launcher, arch, folder, kills=kills, rng=rng)
    print(f"{caught} kills of a running training, {arch} {seed}")
    assert not differences(outcome(folder), whole(arch))
    assert not list(folder.rglob("*.tmp"))


@needs_proc
@pytest.mark.slow
@LONG_RUN
@pytest.mark.parametrize("arch", ["mlp", "translator"])
def test_two_processes_killed_at_random_end_with_the_bits_of_two_left_alone(
    arch: str, tmp_path: Path
) -> None:
    write_tsv(Path("toy.tsv"), count=60)
    noise, caught = random.Random(arch), 0
    for kill in range(6):
        trace = tmp_path / f"{kill}.trace"
        process = torchrun(_going_on(arch, Path("killed")), **{TRACE: str(trace)})
        caught += _kill_one_or_all(process, trace, noise)
    print(f"{caught} kills of a running training, {arch}")
    for folder in ("killed", "whole"):
        process = torchrun(_going_on(arch, Path(folder)), module="dlcli")
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        assert json.loads(out)["run"] == str(tmp_path / folder)
    assert not differences(outcome(tmp_path / "killed"), outcome(tmp_path / "whole"))
    assert not list(Path("killed").rglob("*.tmp"))


def _kill_one_or_all(process: subprocess.Popen[str], trace: Path, noise: random.Random) -> bool:
    """Kill one worker or all, after a random number of updates.

    Returns:
        Whether it had not yet ended well.
    """
    wanted, until = 1 + int(noise.expovariate(1 / 5)), time.monotonic() + PATIENCE_S
    while len(read_trace(trace)) < wanted and process.poll() is None:
        assert time.monotonic() < until, process.communicate()
        time.sleep(0.005)
    found = workers(process.pid) if process.poll() is None else {}
    if noise.random() < 0.5 and found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(noise.choice(sorted(found.values())), signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
    else:
        kill_all(process)
    return process.returncode != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_leaves_with_130(
    number: signal.Signals, launcher: Launcher, whole: Callable[[str], dict[str, Any]]
) -> None:
    folder = launcher.folder / f"stopped by {number.name}"
    child = launcher.start(_going_on("mlp", folder), env={PAUSE_S: "0.1"})
    child.wait_for_updates(7)
    child.signal(number)
    done = child.wait()
    assert done.code == 130
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "interrupted"
    assert str(folder) in error["hint"]
    assert "Traceback" not in done.stderr
    assert RunFolder(folder).status == "interrupted"
    taken = child.updates[-1][0] + 1
    state = load_checkpoint(RunFolder(folder).checkpoint(), kind="vae")
    evaluating = state["position"]["step"] % UPDATES == 0  # a signal then loses nothing either
    assert state["position"]["step"] == taken or evaluating
    resumed = launcher.start(_going_on("mlp", folder))
    assert resumed.wait().code == 0
    assert resumed.updates[0][0] == state["position"]["step"]
    assert not differences(outcome(folder), whole("mlp"))


def _interrupted_at(name: str, *, call: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Send SIGINT to this process when a function is called for the `call`-th time."""

    def arm(patch: pytest.MonkeyPatch) -> None:
        module, _, attribute = name.partition(":")
        holder: Any = __import__(module, fromlist=["x"])
        *path, last = attribute.split(".")
        for part in path:
            holder = getattr(holder, part)
        real, calls = getattr(holder, last), 0

        def interrupt(*args: Any, **given: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGINT)
            return real(*args, **given)

        patch.setattr(holder, last, interrupt)

    return arm


PHASES = {
    "data loading": _interrupted_at("dlcli.vae.training:load_splits", call=1),
    "making the folder": _interrupted_at("dlcli.engine.session:create_run", call=1),
    "writing the settings": _interrupted_at("dlcli.engine.session:write_whole", call=1),
    "recording the start": _interrupted_at("dlcli.engine.session:_record_start", call=1),
    "an evaluation": _interrupted_at("dlcli.vae.training:VaeLearner.evaluate", call=1),
    "a save": _interrupted_at("dlcli.engine.checkpoint:write_whole", call=2),
    "the middle of a save": _interrupted_at("torch:save", call=2),
    "writing a metrics line": _interrupted_at("dlcli.engine.session:_append", call=1),
    "a picture": _interrupted_at("dlcli.display.runs:save_png", call=1),
    "the curves": _interrupted_at("dlcli.display.runs:draw_curves", call=1),
    "the test set": _interrupted_at("dlcli.vae.training:evaluate", call=1),
    "the outcome": _interrupted_at("dlcli.vae.training:describe", call=1),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a tiny training comes to when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    dl_json(*TRAIN, "--device", "cpu", "--out", str(folder))
    return outcome(folder)


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_in_any_phase_leaves_a_run_that_goes_on(
    phase: str, undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TRAIN, "--device", "cpu"]
    for name in ("draw_curves", "draw_snapshots"):
        monkeypatch.setattr(f"dlcli.display.runs.{name}", lambda *_a, **_k: None)
    with monkeypatch.context() as patch:
        PHASES[phase](patch)
        done = dl(*words, "--out", "run", "--json")
    assert done.exit_code == 130, done.output
    assert error_of(done)["kind"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run = RunFolder(tmp_path / "run")
    again = "again" in error_of(done)["hint"]
    assert again or run.status == "interrupted"
    assert not list(tmp_path.rglob("*.tmp"))
    dl_json(*words, "--out", "run", *([] if again else ["--resume"]))
    assert not differences(outcome(run.path), undisturbed)
