"""A week of use: the same day again and again, after which nothing has grown.

`DL_WEEK_ROUNDS=500 python -m pytest -m slow tests/test_week.py` takes about an hour; a day is some
thirty commands of small models in one process, and a pipeline of processes through jq.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.tiny import TRAIN, dl, dl_json, nmt_train, same, weights_of
from tests.nmt.toy import pairs
from tests.processes import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts handles in /proc"),
]
ROUNDS = int(os.environ.get("DL_WEEK_ROUNDS", "12"))
SETTLED = 4
"""Rounds after which caches are full and libraries loaded."""
MOST_MORE_MIB = 48
"""By which memory may differ between then and the end: allocators keep what they were given."""


@dataclass(frozen=True)
class Held:
    """What this process and its folders hold on to."""

    resident_mib: float
    handles: int
    threads: int
    temporary: tuple[str, ...]
    files: tuple[str, ...]
    """In the working folder."""


def _held() -> Held:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(
        resident_mib=pages * resource.getpagesize() / 2**20,
        handles=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        temporary=tuple(sorted(os.listdir(tempfile.gettempdir()))),
        files=tuple(sorted(path.name for path in Path().iterdir())),
    )


def _images() -> None:
    """Train, stop, resume, look, measure, compare, hand on, clear up."""
    done = dl(*TRAIN, "--max-minutes", "1e-6", "--out", "runs/stopped", "--json")
    assert json.loads(done.stdout)["reason"] == "max-minutes"
    dl_json("vae", "train", "--resume", "runs/stopped", "--max-minutes", "0")
    dl_json(*TRAIN, "--out", "runs/whole")
    assert same(weights_of(Path("runs/stopped")), weights_of(Path("runs/whole")))
    dl_json("vae", "generate", "--run", "runs/whole", "--n", "4")
    dl_json("sample", "--run", "runs/whole", "--n", "2")
    dl_json("vae", "reconstruct", "--run", "runs/whole", "--n", "2")
    dl_json("vae", "interpolate", "--run", "runs/whole", "--seeds", "1", "2", "--steps", "3")
    dl_json("vae", "eval", "runs/whole", "--k", "4", "--images", "4")
    dl_json("runs", "compare", "runs/stopped", "runs/whole", "--plot", "runs/compared.png")
    dl_json("runs", "export", "runs/whole", "--out", "runs/handed-on")
    dl_json("vae", "generate", "--run", "runs/handed-on", "--n", "1", "--out", "runs/one.png")
    dl_json("runs", "list")
    dl_json("runs", "prune", "--keep", "1", "--yes")
    refused = dl("vae", "generate", "--run", "runs/none", "--json")
    assert refused.exit_code == 2


def _sentences() -> None:
    """Train a translator, go on with it, translate, look and align."""
    words = nmt_train()
    dl_json(*words, "--out", "runs/fr")
    dl_json("nmt", "train", "--resume", "runs/fr", "--epochs", "3")
    few = pairs(0, 3)
    Path("toy.en").write_text("\n".join(few.source))
    Path("toy.fr").write_text("\n".join(few.target))
    small = ["--run", "runs/fr", "--device", "cpu"]
    done = dl("nmt", "translate", *small, "--max-length", "9", "--input", "toy.en", "--json")
    assert len(done.stdout.splitlines()) == 3
    dl_json("nmt", "attend", *small, few.source[0], "--target", few.target[0])
    dl_json("nmt", "align", *small, "--source", "toy.en", "--target", "toy.fr")
    dl_json("runs", "export", "runs/fr", "--out", "runs/fr-on")
    dl_json("data", "show", "toy.tsv", "--n", "2")


def _numbers() -> None:
    """Print numbers with error bars, and fail in the ways that people fail."""
    dl_json("kl", "--samples", "100")
    dl_json("mc-estimate", "--dims", "2", "--samples", "50", "--estimators", "importance")
    for words in (["vae", "train", "--lrr", "1"], ["runs", "show", "none"], ["nmt", "trian"]):
        assert dl(*words, "--json").exit_code == 2


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_pipelines_with_jq() -> None:
    dl_json(*TRAIN, "--out", "runs/a")
    program = f"{sys.executable} -m dlcli"
    for line, expected in (
        (f"{program} runs list --json | jq -r '.runs[0].name'", "a"),
        (f"{program} runs show runs/a --json | jq -r .status", "done"),
        (f"{program} data show glyphs:40 --json | jq -r 'type'", "object"),
        (f"{program} nmt trian --json | jq -r .error.kind", "usage"),
    ):
        done = subprocess.run(
            ["bash", "-c", line],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == expected, (line, done)


def test_nothing_has_grown_after_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    days: list[Held] = []
    for _ in range(max(ROUNDS, SETTLED + 2)):
        _images()
        _sentences()
        _numbers()
        shutil.rmtree("runs")
        days.append(_held())
    settled, end = days[SETTLED], days[-1]
    print(f"{len(days)} rounds: {settled} -> {end}")
    assert end.temporary == ()
    assert end.files == settled.files
    assert end.handles <= settled.handles
    assert end.threads <= settled.threads
    assert end.resident_mib <= settled.resident_mib + MOST_MORE_MIB
