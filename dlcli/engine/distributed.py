"""Several processes, one training: what PyTorch's own launcher gives us, and nothing of our own.

Under `torchrun` each process drives one device. Gradients travel by DistributedDataParallel; the
few words that processes must agree on (stop now, save now) travel as one tiny all-reduce a step.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from dlcli.engine.launcher import number, process_count, rank, restarts
from dlcli.errors import RunFailed

T = TypeVar("T")


class PeerLost(RunFailed):
    """Another process of the same training has gone, and nothing can be done together any more."""


@dataclass(frozen=True, kw_only=True)
class World:
    """This process's place among the processes of one training."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """True for the one process that writes and prints."""
        return self.rank == 0

    def agree(self, flags: Sequence[bool], *, device: torch.device) -> list[bool]:
        """Return, for each flag, whether any process raised it."""
        if self.size == 1:
            return list(flags)
        votes = torch.tensor([float(flag) for flag in flags], device=device)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Stack a tensor (K,) of every process into (size, K), the same everywhere."""
        if self.size == 1:
            return values[None].clone()
        rows = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(rows, values)
        return torch.stack(rows)

    def share(self, value: Any) -> Any:
        """Give every process what the main process holds."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def from_main(self, make: Callable[[], T]) -> T:
        """Give every process what the main process makes, or raise everywhere what it raises."""
        made: T | None = None
        failure: Exception | None = None
        if self.is_main:
            try:
                made = make()
            except Exception as error:
                failure = error
        made, failure = self.share((made, failure))
        if failure is not None:
            raise failure
        return cast("T", made)

    def wrap(self, network: nn.Module, *, device: torch.device) -> nn.Module:
        """Return the network as the training step calls it.

        Batch statistics stay with each process (buffers agree only at the start); the main
        process's are the ones that are saved.
        """
        if self.size == 1:
            return network
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(
            network, device_ids=ids, forward_sync_buffers=False, gradient_as_bucket_view=True
        )


def launched_world() -> World:
    """Read this process's place from the environment that `torchrun` sets."""
    size = process_count()
    return World(rank=rank(), size=size, local_rank=number("LOCAL_RANK")) if size > 1 else World()


def join_processes(world: World, *, device: torch.device) -> None:
    """Join the other processes (NCCL between GPUs, gloo between CPUs), once and for good.

    Trainings that follow each other (`--seeds 3`) share the group: the addresses of a first one
    stay in the launcher's store, and joining anew would wait for ever at those. For the same
    reason each restart by the launcher meets under a name of its own.

    Default arguments of one of torch's modules keep whatever group there is when it is imported,
    and DistributedDataParallel imports it: brought in before there is one, it keeps none.
    """
    if world.size == 1 or dist.is_initialized():
        return
    importlib.import_module("torch.distributed.nn.functional")
    backend = "nccl" if device.type == "cuda" else "gloo"
    patience = timedelta(minutes=30)
    store, _rank, _size = next(rendezvous("env://", timeout=patience))
    dist.init_process_group(
        backend,
        store=PrefixStore(f"attempt-{restarts()}", store),
        rank=world.rank,
        world_size=world.size,
        timeout=patience,
    )
    atexit.register(_leave)


def abandon_processes() -> None:
    """Leave without the others, having failed: to part from NCCL's group takes all of them.

    Where they wait for this one in turn, neither would end (torchtitan, pull request 1342). From
    gloo's group each parts alone.
    """
    if dist.is_initialized() and dist.get_backend() == "nccl":
        atexit.unregister(_leave)


def _leave() -> None:
    """Give the group back while Python still runs, and end its threads with it.

    A thread of gloo that lets go of a tensor after that asks for Python's lock, which is no longer
    given, and aborts a process whose work is done. The threads end with the last holder of the
    group. That has to be torch's own, which gives the lock up while it waits for them: a network
    of a training that has failed, kept by its traceback or in a cycle, goes first.
    """
    for name in ("last_exc", "last_value", "last_traceback"):  # of `--debug`
        setattr(sys, name, None)
    gc.collect()
    dist.destroy_process_group()
