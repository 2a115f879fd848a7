"""How long `dl --help` takes, against a bare Typer app of two commands.

python -m tests.benchmarks.startup
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from functools import partial

from tests.benchmarks.alternating import compare

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
SIDES = {
    "bare Typer app": ["-c", BARE, "--help"],
    "dl --help": ["-m", "dlcli", "--help"],
    "dl vae train --help": ["-m", "dlcli", "vae", "train", "--help"],
}


def seconds(words: list[str]) -> float:
    """Run Python to its end and return how long that took."""
    began = time.perf_counter()
    environment = {**os.environ, "TERM": "dumb"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    return time.perf_counter() - began


def main() -> None:
    """Read the command line and print the comparison."""
    parser = argparse.ArgumentParser(description="How long `dl --help` takes.")
    parser.add_argument("--runs", type=int, default=11, help="alternating runs (11)")
    args = parser.parse_args()
    sides = {name: partial(seconds, words) for name, words in SIDES.items()}
    compare(sides, runs=args.runs, unit="s", against="bare Typer app")


if __name__ == "__main__":
    main()
