"""How long `dl --help` takes, against a bare Typer app, and commands, against `import torch` alone.

python -m tests.benchmarks.startup
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial

from tests.benchmarks.alternating import compare, run_program

BARE = """
import typer
app = typer.Typer()
@app.command()
def first(count: int = 1) -> None:
    "Do the first thing."
@app.command()
def second(count: int = 1) -> None:
    "Do the second thing."
app()
"""
HELP = {
    "bare Typer app": ["-c", BARE, "--help"],
    "dl --help": ["-m", "dlcli", "--help"],
    "dl vae train --help": ["-m", "dlcli", "vae", "train", "--help"],
}
WORK = {
    "import torch": ["-c", "import torch"],
    "dl kl": ["-m", "dlcli", "kl", "--mu-p", "3"],
    "dl vae generate": ["-m", "dlcli", "vae", "generate", "--n", "4", "--out", "{folder}/a.png"],
    "dl nmt translate": ["-m", "dlcli", "nmt", "translate", "Good morning."],
}
"""The goals are 1.1, 1.25 and 1.4 times `import torch`."""


def seconds(words: list[str]) -> float:
    """Run Python to its end and return how long that took."""
    began = time.perf_counter()
    environment = {**os.environ, "TERM": "dumb"}
    run_program([sys.executable, *words], env=environment)
    return time.perf_counter() - began


def main() -> None:
    """Read the command line and print the comparisons."""
    parser = argparse.ArgumentParser(description="How long `dl` takes to start.")
    parser.add_argument("--runs", type=int, default=5, help="alternating runs (5)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for sides in (HELP, WORK):
            timed = {
                name: partial(seconds, [word.replace("{folder}", folder) for word in words])
                for name, words in sides.items()
            }
            compare(timed, runs=args.runs, unit="s", against=next(iter(sides)))


if __name__ == "__main__":
    main()
