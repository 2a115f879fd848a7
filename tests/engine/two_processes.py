"""What each of two processes does in `test_distributed.py`, and writes down of what it found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlcli.engine.events import Event
from dlcli.engine.session import RunLocation, Session, open_session
from dlcli.engine.settings import OptimConfig
from dlcli.errors import DlError
from tests.engine.toy import Toy, ToyConfig, follow

BATCH = 11
"""23 items are two batches of 11 and one of a single item, of which one process gets none."""
CONFIGS = {
    "plain": replace(ToyConfig(), optim=OptimConfig(lr=0.02)),
    "accumulated": replace(
        ToyConfig(), optim=OptimConfig(lr=0.02, accumulate=2, clip_norm=0.5, schedule="cosine")
    ),
}
Upset = Callable[[Session, Toy, int], None]


def nothing(_session: Session, _learner: Toy, _batch: int) -> None:
    """Let the training run."""


def stop_one(session: Session, _learner: Toy, batch: int) -> None:
    """Ask the second process alone to stop."""
    session.stop.requested |= session.world.rank == 1 and batch == 4


def poison_one(session: Session, learner: Toy, batch: int) -> None:
    """Make the loss of the second process alone infinite."""
    if session.world.rank == 1 and batch == 4:
        learner.y.fill_(float("inf"))


def train(location: RunLocation, *, config: ToyConfig, upset: Upset = nothing) -> dict[str, Any]:
    """Train as a domain does; return how it ended, and what this process heard and evaluated."""
    events: list[Event] = []
    session: Session
    with open_session(
        kind="toy",
        title="toy",
        config=config,
        location=location,
        bf16_pays=False,
    ) as session:
        learner = Toy(batch_size=BATCH)
        learner.on_batch = lambda batch: upset(session, learner, batch)
        end = follow(session.events(learner), events.append)
        session.finish(status="done")
    return {
        "reason": end.reason,
        "step": end.step,
        "heard": sorted({type(event).__name__ for event in events}),
        "evaluations": learner.evaluations,
        "weights": [value for p in learner.network.parameters() for value in p.flatten().tolist()],
    }


def refusal(location: RunLocation, *, upset: Upset = nothing) -> str:
    """Return the sentence that a training ends with in this process."""
    try:
        train(location, config=CONFIGS["plain"], upset=upset)
    except DlError as error:
        return error.message
    return ""


def main(folder: Path) -> dict[str, Any]:
    """Train whole, halted and resumed, and in three ways that cannot work."""
    found: dict[str, Any] = {}
    for name, config in CONFIGS.items():
        halted = folder / f"{name} halted"
        found[name] = train(RunLocation(out=folder / name), config=config)
        found[f"{name} halted"] = train(RunLocation(out=halted), config=config, upset=stop_one)
        found[f"{name} resumed"] = train(RunLocation(resume=halted), config=config)
    found["refusals"] = [
        refusal(RunLocation(out=folder / "plain")),
        refusal(RunLocation(resume=folder / "none")),
        refusal(RunLocation(out=folder / "poisoned"), upset=poison_one),
    ]
    return found


def run(folder: Path, environment: dict[str, str]) -> None:
    """Do that as one of the processes."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    (folder / f"rank {os.environ['RANK']}.json").write_text(json.dumps(main(folder)))
