"""How long `dl --help` takes, against a bare Typer app of two commands.

python -m tests.benchmarks.startup
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.benchmarks.alternating import alternate, report

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


def seconds(command: list[str]) -> float:
    """Run a command to its end and return how long that took."""
    began = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"}
    )
    return time.perf_counter() - began


def main() -> None:
    """Read the command line and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=11, help="alternating runs (11)")
    args = parser.parse_args()
    dl = str(Path(sys.executable).parent / "dl")
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        sides = {
            "bare Typer app": partial(seconds, [sys.executable, str(bare), "--help"]),
            "dl --help": partial(seconds, [dl, "--help"]),
            "dl vae train --help": partial(seconds, [dl, "vae", "train", "--help"]),
        }
        report(alternate(sides, runs=args.runs), unit="s", against="bare Typer app", faster=False)


if __name__ == "__main__":
    main()
