"""Randomness by name: one seed reaches everything, and nothing depends on what was drawn before.

Instead of one long stream whose position must be saved, every draw of a training step comes from a
generator seeded by a hash of (seed, purpose, step). A run that is stopped anywhere and resumed
therefore draws exactly what it would have drawn, and processes agree where they use the same names.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.engine.distributed import World
from dlcli.errors import CheckpointError


def derive(seed: int, *names: object) -> int:
    """Hash a seed and any names into a new seed in [0, 2**63)."""
    text = "\x1f".join([str(seed), *map(str, names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *names: object, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a fresh generator for one named purpose, such as `generator(0, "noise", step)`."""
    stream = torch.Generator(device=device)
    stream.manual_seed(derive(seed, *names))
    return stream


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (every device) with one number."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def reseed(seed: int, *, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of one device, within a few microseconds.

    `torch.manual_seed` visits every kind of device and, for those not yet in use, formats a stack
    trace each time: 0.3 ms, too much for every update.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """Capture the global random states, as values that `torch.save` keeps without pickled code."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, gauss_next = random.getstate()
    states: dict[str, Any] = {
        "python": [version, torch.tensor(words), gauss_next],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` captured (CUDA states only where the devices match)."""
    version, words, gauss_next = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss_next))
    kind, keys, position, has_gauss, gauss = states["numpy"]
    words32 = keys.numpy().astype(np.uint32)
    np.random.set_state((kind, words32, position, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    cuda = states.get("cuda")
    if cuda is not None and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


# -- Where a training stands: everything a checkpoint holds beside its configuration


@dataclass(kw_only=True)
class Position:
    """Progress of one training."""

    epoch: int = 0
    """Epochs that are done, their evaluation included."""
    batch: int = 0
    """Batches of the current epoch that are done; all of them: its evaluation is pending."""
    step: int = 0
    """Updates of the whole run."""
    train_s: float = 0.0
    """Seconds of training alone, over all sessions of the run."""
    best: float | None = None
    """Best value of what the best checkpoint is chosen by."""
    stale: int = 0
    """Evaluations since the best one."""
    evaluated: int = -1
    """Updates there were at the last evaluation."""
    names: list[str] = field(default_factory=list)
    """What `sums` holds after the weight."""
    sums: Tensor | None = None
    """Sums of this process since the last evaluation: the weight, then each loss part."""

    def state(
        self, *, network: nn.Module, optimizer: torch.optim.Optimizer, world: World
    ) -> dict[str, Any]:
        """Return a checkpoint's content; with several processes all must call it."""
        sums = None if self.sums is None else world.gather(self.sums).cpu()
        return {
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "position": {
                "epoch": self.epoch,
                "batch": self.batch,
                "step": self.step,
                "train_s": self.train_s,
                "best": self.best,
                "stale": self.stale,
                "evaluated": self.evaluated,
                "names": list(self.names),
                "sums": sums,
            },
            "random": random_states(),
        }

    @classmethod
    def restore(
        cls,
        state: Mapping[str, Any],
        *,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        world: World,
    ) -> Position:
        """Load a checkpoint's content into a network and an optimiser and return the position.

        Raises:
            CheckpointError: the content fits another network, or parts of it are missing.
        """
        try:
            network.load_state_dict(state["model"])
            _restore_optimizer(optimizer, state["optimizer"])
            restore_random_states(state["random"])
            at = cls(**state["position"])
            at.check()
            if at.sums is not None:
                at.sums = _own_sums(at.sums, world=world, device=next(network.parameters()).device)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError):
            raise CheckpointError(
                "The checkpoint does not fit this run's network and optimiser.",
                hint="Resume with the configuration it was trained with, or use --init-from.",
            ) from None
        return at

    def check(self) -> None:
        """Make sure that this is a place where a training can stand.

        Raises:
            TypeError: something is of another kind than it must be.
            ValueError: a number is negative, or the sums are not those of the names.
        """
        counts = (self.epoch, self.batch, self.step, self.stale, self.evaluated + 1)
        whole = all(isinstance(count, int) for count in counts)
        timed = isinstance(self.train_s, int | float) and isinstance(self.best, float | int | None)
        named = isinstance(self.names, list) and all(isinstance(n, str) for n in self.names)
        if not (whole and timed and named and isinstance(self.sums, Tensor | None)):
            raise TypeError("the position holds something else than numbers")
        columns = [None, len(self.names) + 1]
        if (self.sums.shape[-1] if self.sums is not None else None) not in columns:
            raise ValueError("the sums are not those of the names")
        if min(*counts, self.train_s) < 0:
            raise ValueError("the position lies before the beginning")


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take over an optimiser's running means; but for the rate, its settings stay the config's.

    Raises:
        ValueError: the means are not those of these weights.
    """
    settings = [
        {name: value for name, value in group.items() if name not in ("params", "lr")}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(dict(state))
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own, lr=float(group["lr"]))
    kept = [(weight, found) for weight, found in optimizer.state.items() if found]
    for weight, found in kept:
        shapes = {tuple(v.shape) for v in found.values() if v is not None}
        if found.keys() != kept[0][1].keys() or not shapes <= {tuple(weight.shape), ()}:
            raise ValueError("the means of another optimiser")


def _own_sums(rows: Tensor, *, world: World, device: torch.device) -> Tensor:
    """Give this process its row, or spread the total where the number of processes changed."""
    mine = rows[world.rank] if rows.shape[0] == world.size else rows.sum(0) / world.size
    return mine.to(device, torch.float32 if device.type == "mps" else mine.dtype)
