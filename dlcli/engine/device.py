"""Device, precision and threads: what there is, what was asked for, what is worth using."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch

from dlcli.engine.settings import ComputeConfig
from dlcli.errors import UsageFault

if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads, and OpenMP would wait for them for ever.
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


SAMPLE_S = 0.1
"""For how long the use of the cores is watched; the system counts in hundredths of a second."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A resolved place to compute: device, precision and number of CPU threads."""

    device: torch.device
    precision: Literal["fp32", "bf16"]
    threads: int

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Run products in bfloat16 where the precision is bf16; weights and sums stay float32."""
        if self.precision == "bf16":
            with torch.autocast(self.device.type, torch.bfloat16):
                yield
        else:
            yield


def available_devices() -> list[str]:
    """List the devices torch can use here, best first."""
    found = (
        [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device that exists.

    Raises:
        UsageFault: the word is none of these, or this machine has no such device.
    """
    devices = available_devices()
    if wanted == "auto":
        return torch.device(devices[0])
    number = wanted.removeprefix("cuda:")
    known = wanted in ("cpu", "mps", "cuda") or (number != wanted and number.isdecimal())
    exists = wanted in devices or (wanted == "cuda" and "cuda:0" in devices)
    if known and exists:
        return torch.device("cuda:0" if wanted == "cuda" else wanted)
    problem = (
        f"This machine has no device '{wanted}'." if known else f"There is no device '{wanted}'."
    )
    raise UsageFault(problem, hint=f"Choose --device auto or one of: {', '.join(devices)}.")


def cpu_flags() -> frozenset[str]:
    """Return which bf16 instructions the processor has: `amx_bf16`, `avx512_bf16`, or none."""
    has = torch.cpu.get_capabilities()
    return frozenset(name for name in ("amx_bf16", "avx512_bf16") if has.get(name))


def bf16_is_native(device: torch.device) -> bool:
    """Say whether the device multiplies bfloat16 in hardware, as it reports itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(cpu_flags())


def choose_precision(
    wanted: str, *, device: torch.device, bf16_pays: bool
) -> Literal["fp32", "bf16"]:
    """Resolve `auto`, and refuse what the device cannot do.

    Args:
        wanted: `auto`, `fp32` or `bf16`.
        device: where the work will run.
        bf16_pays: whether bf16 was measured to be faster for this model without hurting its loss.
    """
    if wanted == "auto":
        return "bf16" if bf16_pays and bf16_is_native(device) else "fp32"
    if wanted == "bf16" and device.type == "mps":
        raise UsageFault("bf16 is not available on mps.", hint="Use --precision fp32 or auto.")
    if wanted == "bf16" and device.type == "cpu" and not bf16_is_native(device):
        raise UsageFault(
            "This processor does not multiply bfloat16: --precision bf16 would be 10 to 30 times "
            "slower than fp32.",
            hint="Use --precision fp32 or auto.",
        )
    return "bf16" if wanted == "bf16" else "fp32"


def prepare(
    config: ComputeConfig, *, bf16_pays: bool = False, local_rank: int | None = None
) -> Compute:
    """Resolve the settings and set torch's thread count.

    Args:
        config: what was asked for.
        bf16_pays: see `choose_precision`.
        local_rank: this process's number on its host under `torchrun`, which picks its GPU.
    """
    device = choose_device(config.device)
    if local_rank is not None and device.type == "cuda" and config.device in ("auto", "cuda"):
        device = torch.device("cuda", local_rank % torch.cuda.device_count())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    use_threads(config.threads)
    precision = choose_precision(config.precision, device=device, bf16_pays=bf16_pays)
    return Compute(device=device, precision=precision, threads=torch.get_num_threads())


def use_threads(count: int) -> None:
    """Set torch's number of CPU threads; 0 takes one for each free core."""
    torch.set_num_threads(count or threads_worth_using())


def threads_worth_using() -> int:
    """Return as many threads as cores are free, and no more than torch is set to.

    Threads that share a product wait for the slowest. One that shares its core with another program
    is late at every product, and two threads are then slower than one. Where the user has chosen
    (`OMP_NUM_THREADS`, `MKL_NUM_THREADS`), or the system does not say what is free, it is torch's
    number.
    """
    count = torch.get_num_threads()
    chosen = os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS")
    free = None if chosen or count == 1 else free_cores()
    return count if free is None else max(1, min(count, free))


@cache
def free_cores() -> int | None:
    """Measure how many of this process's cores no other program uses; None where it is not known.

    It is measured once, so that all trainings of a process have as many threads;
    `free_cores.cache_clear()` has it measured again.
    """
    try:
        before, began = _free_seconds(), time.perf_counter()
        time.sleep(SAMPLE_S)
        return round((_free_seconds() - before) / (time.perf_counter() - began))
    except (OSError, KeyError):  # not Linux, or a container that does not show it
        return None


def _free_seconds() -> float:
    """Return how long this process's cores have been idle, or at work that gives way (`nice`)."""
    text = Path("/proc/stat").read_text(encoding="ascii")
    found = {name: times for name, *times in map(str.split, text.splitlines())}
    cores = [found[f"cpu{number}"] for number in os.sched_getaffinity(0)]
    ticks = sum(int(nice) + int(idle) + int(io) for _, nice, _, idle, io, *_ in cores)
    if not ticks:
        raise OSError("the system counts nothing")
    return ticks / os.sysconf("SC_CLK_TCK")


def describe_machine() -> dict[str, object]:
    """Report versions, devices and precision support, for `dl env` and `run.json`."""
    from dlcli import __version__

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "dlcli": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "devices": available_devices(),
        "gpu_names": names,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_bf16": sorted(cpu_flags()),
        "bf16_native": {name: bf16_is_native(torch.device(name)) for name in available_devices()},
    }
