"""How long programs take to start: `--help` against a bare Typer app, work against `import torch`.

The goals are 1.1, 1.25 and 1.4 times `import torch`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial

from tests.benchmarks.table import Comparison, Options, Side, run_program

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


def startup(options: Options) -> Iterator[Comparison]:
    """Start `dl` for its help, and for a small piece of work."""
    picture = str(options.folder / "a.png")

    def side(words: str, *more: str) -> Side:
        return Side(name=f"dl {words}", run=partial(seconds, "-m", "dlcli", *words.split(), *more))

    yield Comparison(
        work="showing help",
        unit="s",
        peer=Side(name="a bare Typer app", run=partial(seconds, "-c", BARE, "--help")),
        sides=[side("--help")] if options.quick else [side("--help"), side("vae train --help")],
    )
    if options.quick:
        return
    yield Comparison(
        work="starting and a little work",
        unit="s",
        peer=Side(name="import torch", run=partial(seconds, "-c", "import torch")),
        sides=[
            side("kl --mu-p 3"),
            side("vae generate --n 4", "--out", picture),
            side("nmt translate", "Good morning."),
        ],
    )


def seconds(*words: str) -> float:
    """Run Python to its end and return how long that took."""
    began = time.perf_counter()
    run_program([sys.executable, *words], env={**os.environ, "TERM": "dumb"})
    return time.perf_counter() - began


BENCHMARKS = {"startup": startup}
