"""A learner small enough to train in milliseconds: noisy regression with odd sizes.

Everything it draws is named by (seed, epoch, batch), as the engine's contract asks of a learner.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcli.engine.checkpoint import FORMAT_VERSION, MAGIC, load_checkpoint
from dlcli.engine.config import STRICT, setting
from dlcli.engine.device import Compute, bf16_is_native
from dlcli.engine.distributed import World
from dlcli.engine.events import Event, Finished, NoticeCallback
from dlcli.engine.loop import Plan, Training
from dlcli.engine.results import Result
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.engine.session import Session, cut_metrics, record, resume_state
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig
from dlcli.engine.step import Batch
from dlcli.engine.stopping import StopFlag
from dlcli.engine.trainer import Task, items_per_s
from dlcli.errors import ConfigError

ITEMS, FEATURES, HIDDEN = 23, 3, 5
CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)
TIMINGS = ("rate", "train_s")
needs_bf16 = pytest.mark.skipif(
    not bf16_is_native(CPU.device), reason="this processor does not multiply bfloat16"
)

OnBatch = Callable[[int], None]


class ToyNetwork(nn.Module):
    """(B, 3), (B, 1), (B, 3) → the sums of the squared error and of one part of it."""

    def __init__(self, *, dropout: float = 0.0, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.hidden = nn.Linear(FEATURES, hidden)
        self.norm = nn.BatchNorm1d(hidden) if dropout else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, 1)

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
class ToyDataConfig:
    """Which data set: `auto` is `blots`."""

    __pydantic_config__ = STRICT

    name: str = setting("auto", flag="--data", help="data set")


@dataclass(frozen=True, kw_only=True)
class ToyModelConfig:
    """How large the network is."""

    __pydantic_config__ = STRICT

    hidden: int = setting(HIDDEN, flag="--hidden", help="units")


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """The settings of a toy run, as a chapter's train command has them."""

    __pydantic_config__ = STRICT

    data: ToyDataConfig = setting(ToyDataConfig(), help="data")
    model: ToyModelConfig = setting(ToyModelConfig(), help="network")
    optim: OptimConfig = setting(OptimConfig(lr=0.01), help="optimiser")
    loop: LoopConfig = setting(LoopConfig(epochs=3), help="length")
    compute: ComputeConfig = setting(
        ComputeConfig(device="cpu", precision="fp32", seed=3), help="device"
    )


@dataclass(frozen=True, kw_only=True)
class ToyData:
    """Nothing but a name."""

    name: str

    @property
    def sets(self) -> dict[str, str]:
        return {"training": f"{ITEMS} items"}


@dataclass(frozen=True, kw_only=True)
class ToyResult(Result):
    """What a toy training came to."""

    loss: float
    per_s: float

    @property
    def metrics(self) -> dict[str, object]:
        return {"loss": self.loss}

    @property
    def test(self) -> ToyResult:
        return self


class ToyTask(Task[ToyConfig, ToyData, Toy, ToyResult]):
    """How a toy is trained; `given` goes to its learner."""

    kind = "toy"
    weights_hint = "Use another toy."

    def __init__(self, **given: Any) -> None:
        self.given = given

    def title(self, config: ToyConfig) -> str:
        return "toy-net"

    def check(self, config: ToyConfig, *, untrained: bool) -> None:
        if config.model.hidden < 0:
            raise ConfigError(f"A size of {config.model.hidden}, untrained: {untrained}.")

    def load_data(self, config: ToyConfig, *, notice: NoticeCallback, **_runs: object) -> ToyData:
        name = config.data.name
        notice("These are toys.")
        return ToyData(name="blots" if name == "auto" else name)

    def build_network(self, config: ToyConfig, data: ToyData) -> nn.Module:
        return ToyNetwork(hidden=config.model.hidden)

    def build_learner(
        self, config: ToyConfig, data: ToyData, *, device: torch.device, processes: int
    ) -> Toy:
        learner = Toy(**self.given)
        learner.network = self.build_network(config, data)
        return learner

    def read_result(self, fields: Mapping[str, Any]) -> ToyResult:
        return ToyResult(**fields)

    def result(self, session: Session, learner: Toy, *, data: ToyData, end: Finished) -> ToyResult:
        return ToyResult(
            run=str(session.folder.path),
            data=data.name,
            epochs=end.epoch,
            train_s=end.train_s,
            reason=end.reason,
            signature=f"data:{data.name}|seed:{session.config.compute.seed}|version:x",
            loss=float(str(learner.evaluate(epoch=0)["valid_loss"])),
            per_s=items_per_s(session, learner, items=ITEMS, end=end),
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


def payload_of(checkpoint: Path) -> bytes:
    """Return what `torch.save` wrote of a checkpoint."""
    data = checkpoint.read_bytes()
    length = int.from_bytes(data[-len(MAGIC) - 4 : -len(MAGIC)], "little")
    return data[: -len(MAGIC) - 4 - length]


def seal(payload: bytes, **changed: object) -> bytes:
    """Write a trailer whose checksum agrees, as an attacker would."""
    fields = {
        "format": FORMAT_VERSION,
        "kind": "vae",
        "size": len(payload),
        "sha256": hashlib.sha256(payload).hexdigest(),
    }
    trailer = json.dumps(fields | changed).encode()
    return payload + trailer + len(trailer).to_bytes(4, "little") + MAGIC


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
