"""A learner small enough to train in milliseconds: noisy regression with odd sizes.

Everything it draws is named by (seed, epoch, batch), as the engine's contract asks of a learner.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.config import STRICT, setting
from dlcli.engine.device import Compute
from dlcli.engine.distributed import World
from dlcli.engine.events import Event, Finished
from dlcli.engine.loop import Batch, Plan, Training
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.engine.session import cut_metrics, record, resume_state
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig
from dlcli.engine.stopping import StopFlag

ITEMS, FEATURES, HIDDEN = 23, 3, 5
CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)
TIMINGS = ("rate", "train_s")

OnBatch = Callable[[int], None]


class ToyNetwork(nn.Module):
    """(B, 3), (B, 1), (B, 3) → the sums of the squared error and of one part of it."""

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN) if dropout else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor, y: Tensor, noise: Tensor) -> dict[str, Tensor]:
        h = torch.tanh(self.norm(self.hidden(x + 0.1 * noise)))
        error = (self.out(self.dropout(h)) - y).pow(2)
        return {"loss": error.sum(), "half": error.detach().sum() / 2}


@dataclass
class Toy:
    """A `Learner`: 23 items in batches of 6, the last of 5."""

    batch_size: int = 6
    dropout: float = 0.0
    seed: int = 3
    validation: Callable[[int], float] | None = None
    """Validation loss by epoch; None measures the network."""
    on_batch: OnBatch | None = None
    """Told the number of every batch drawn (over all epochs), before the update it belongs to."""
    on_evaluate: Callable[[int], None] | None = None
    unit: str = "items"
    evaluations: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        stream = generator(self.seed, "data")
        self.x = torch.randn(ITEMS, FEATURES, generator=stream)
        self.y = self.x.sum(1, keepdim=True) + 0.1 * torch.randn(ITEMS, 1, generator=stream)
        self.network: nn.Module = ToyNetwork(dropout=self.dropout)

    def steps_per_epoch(self) -> int:
        return -(-ITEMS // self.batch_size)

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        order = torch.randperm(ITEMS, generator=generator(self.seed, "order", epoch))
        for number in range(start, self.steps_per_epoch()):
            if self.on_batch is not None:
                self.on_batch(epoch * self.steps_per_epoch() + number)
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            noise = torch.randn(
                len(rows), FEATURES, generator=generator(self.seed, "noise", epoch, number)
            )
            mine = slice(rank, None, world)
            yield Batch(
                payload=(self.x[rows[mine]], self.y[rows[mine]], noise[mine]),
                items=len(rows[mine]),
                weight=float(len(rows)),
            )

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        self.evaluations.append(epoch)
        if self.on_evaluate is not None:
            self.on_evaluate(epoch)
        if self.validation is not None:
            return {"valid_loss": self.validation(epoch)}
        with torch.no_grad():
            sums = self.network(self.x, self.y, torch.zeros_like(self.x))
        return {"valid_loss": float(sums["loss"]) / ITEMS}


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """The settings of a toy run, as a domain's train command has them."""

    __pydantic_config__ = STRICT

    size: int = setting(3, flag="--size", help="a setting of the model")
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=0.01))
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=3))
    compute: ComputeConfig = field(
        default_factory=lambda: ComputeConfig(device="cpu", precision="fp32", seed=3)
    )


def make_plan(
    *,
    optim: OptimConfig | None = None,
    loop: LoopConfig | None = None,
    seed: int = 3,
    world: World | None = None,
    keep_epochs: tuple[int, ...] = (),
) -> Plan:
    return Plan(
        optim=optim or OptimConfig(lr=0.01),
        loop=loop or LoopConfig(epochs=3),
        compute=CPU,
        seed=seed,
        world=world or World(),
        keep_epochs=keep_epochs,
    )


def make_run(path: Path) -> RunFolder:
    """Make a folder as `create_run` does, without its checks."""
    (path / "checkpoints").mkdir(parents=True)
    return RunFolder(path)


def session(
    run: RunFolder, learner: Toy, *, plan: Plan, stop: StopFlag | None = None, **training: Any
) -> Iterator[Event]:
    """Train from the run's last checkpoint, recording, as an open session does."""
    stop = stop or StopFlag()
    state = resume_state(run, kind="toy")
    begun = Training(learner, plan=plan, stop=stop, state=state, **training)
    cut_metrics(run, state)
    return record(begun.events(), run=run, kind="toy", config={}, stop=stop)


def follow(events: Iterable[Event], *listeners: Callable[[Event], None]) -> Finished:
    """Pass every event to every listener; return the last."""
    event: Event | None = None
    for event in events:
        for listener in listeners:
            listener(event)
    assert isinstance(event, Finished)
    return event


def outcome(run: RunFolder) -> dict[str, Any]:
    """Return all that a run left behind but for its timings, each checkpoint included."""
    found: dict[str, Any] = {}
    for path in sorted(run.checkpoints.iterdir()):
        state = load_checkpoint(path, kind="toy")
        state["position"].pop("train_s")
        state.pop("metrics_bytes")  # timings have more or fewer digits
        state.pop("config")
        found[path.name] = state
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
    return found


def differences(one: Any, other: Any, *, at: str = "") -> list[str]:
    """Compare nested values, tensors by their bits; return where they differ."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [at]
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return [f"{at}: {sorted(map(str, one.keys() ^ other.keys()))}"]
        return [place for k in one for place in differences(one[k], other[k], at=f"{at}/{k}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [f"{at}: {len(one)} against {len(other)}"]
        pairs = enumerate(zip(one, other, strict=True))
        return [place for i, (a, b) in pairs for place in differences(a, b, at=f"{at}/{i}")]
    return [] if one == other else [f"{at}: {one} against {other}"]
