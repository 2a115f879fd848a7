"""Training speed beside other programs that use a core each, as a share of the speed alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from tests.benchmarks.table import Comparison, Options, Side
from tests.benchmarks.vae import ONE_EPOCH

PROGRAM = """
import sys
from tests.cli.tiny import dl_json
print(dl_json(*sys.argv[1:])["images_per_s"])
"""


def mlp(options: Options) -> Iterator[Comparison]:
    """Train the MLP VAE alone, and beside one and two busy programs."""
    yield beside("mlp", 64 if options.quick else 12_800, options=options)


def conv(options: Options) -> Iterator[Comparison]:
    """Train the convolutional VAE alone, and beside one and two busy programs."""
    yield beside("conv", 64 if options.quick else 1_600, options=options)


def beside(arch: str, images: int, *, options: Options) -> Comparison:
    """Return a comparison of `dl vae train` with itself where nothing else runs."""
    words = ["vae", "train", "--arch", arch, "--precision", "fp32", *ONE_EPOCH]
    words += ["--data", "glyphs:64" if options.quick else "mnist", "--train-images", str(images)]
    run = partial(speed, [*words, "--out", str(options.folder / "busy")])
    return Comparison(
        work=f"training beside busy programs, {arch} VAE",
        unit="images/s",
        peer=Side(name="alone", run=partial(run, 0)),
        sides=[Side(name=f"dl vae train, {n} busy", run=partial(run, n)) for n in (1, 2)],
    )


def speed(words: Sequence[str], busy: int) -> float:
    """Train in a program of its own, beside `busy` others; return images/s."""
    with ExitStack() as stack:
        for _ in range(busy):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(other.wait)
            stack.callback(other.kill)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            check=True, capture_output=True, text=True, env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip
    return float(done.stdout)


BENCHMARKS = {"busy-mlp": mlp, "busy-conv": conv}
