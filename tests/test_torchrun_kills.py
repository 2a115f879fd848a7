"""Trainings of two processes that are killed at random and end with the bits of two left alone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.engine.toy import differences
from tests.launcher import PATIENCE_S
from tests.nmt.sentences import write_tsv
from tests.test_kills import TRAININGS, outcome
from tests.torchrun import TRACE, kill_all, needs_proc, start, workers

KILLS = 6


def _updates(trace: Path) -> int:
    return trace.read_text().count("\n") if trace.exists() else 0


def _killed(process: subprocess.Popen[str], trace: Path, noise: random.Random) -> bool:
    """Kill one worker or all, after a random number of updates.

    Returns:
        Whether it had not yet ended well.
    """
    wanted, until = 1 + int(noise.expovariate(1 / 5)), time.monotonic() + PATIENCE_S
    while _updates(trace) < wanted and process.poll() is None:
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


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arch", ["mlp", "translator"])
def test_two_processes_killed_at_random_end_with_the_bits_of_two_left_alone(
    arch: str, tmp_path: Path
) -> None:
    write_tsv("toy.tsv", count=60)
    words, noise, caught = TRAININGS[arch], random.Random(arch), 0
    for kill in range(KILLS):
        again = ["--resume"] if Path("killed/config.yaml").exists() else []
        trace = tmp_path / f"{kill}.trace"
        process = start(
            [*words, *again, "--out", "killed"], module="tests.torchrun", **{TRACE: str(trace)}
        )
        caught += _killed(process, trace, noise)
    print(f"{caught} kills of a running training, {arch}")
    for folder in ("killed", "whole"):
        again = ["--resume"] if Path(folder).exists() else []
        process = start([*words, *again, "--out", folder])
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        assert json.loads(out)["run"] == str(tmp_path / folder)
    assert not differences(outcome(tmp_path / "killed"), outcome(tmp_path / "whole"))
    assert not list(Path("killed").rglob("*.tmp"))
