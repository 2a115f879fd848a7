"""Device, precision and threads: what there is, what was asked for, what is refused."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dlcli.engine.device import (
    Compute,
    available_devices,
    bf16_is_native,
    choose_device,
    choose_precision,
    cpu_flags,
    prepare,
)
from dlcli.engine.settings import ComputeConfig
from dlcli.errors import UsageFault

CPU = torch.device("cpu")


def _machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def _cpuinfo(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def read(_self: Path, **_how: str) -> str:
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.parametrize(
    ("gpus", "mps", "expected"),
    [
        (0, False, ["cpu"]),
        (0, True, ["mps", "cpu"]),
        (2, False, ["cuda:0", "cuda:1", "cpu"]),
        (1, True, ["cuda:0", "mps", "cpu"]),
    ],
)
def test_auto_takes_the_best_there_is(
    gpus: int, mps: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, gpus=gpus, mps=mps)
    assert available_devices() == expected
    assert choose_device("auto") == torch.device(expected[0])


def test_a_device_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=2)
    assert choose_device("cpu") == CPU
    assert choose_device("cuda") == torch.device("cuda", 0)
    assert choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_a_device_that_is_not_here_is_an_error_that_lists_what_is(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch)
    with pytest.raises(UsageFault, match=f"This machine has no device '{wanted}'") as failure:
        choose_device(wanted)
    assert failure.value.hint == "Choose --device auto or one of: cpu."


@pytest.mark.parametrize("wanted", ["gpu", "", "CPU", "cuda:", "cuda:x", "cuda:-1", "meta", "1"])
def test_a_word_that_names_no_device_is_an_error(wanted: str) -> None:
    with pytest.raises(UsageFault, match=f"There is no device '{wanted}'"):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model\t: x\nflags\t\t: fpu amx_tile amx_bf16 avx512_bf16\n", {"amx_bf16", "avx512_bf16"}),
        ("flags : fpu avx2 amx_tile amx_int8", set()),
        ("Features : asimd bf16", set()),
        ("", set()),
        (None, set()),
    ],
)
def test_the_processor_says_what_it_can(
    text: str | None, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _cpuinfo(monkeypatch, text)
    assert cpu_flags() == expected
    assert bf16_is_native(CPU) == bool(expected)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("pays", [True, False])
def test_auto_precision_is_bf16_only_where_it_is_native_and_pays(
    native: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cpuinfo(monkeypatch, "flags : amx_bf16" if native else "flags : fpu")
    found = choose_precision("auto", device=CPU, bf16_pays=pays)
    assert found == ("bf16" if native and pays else "fp32")


def test_a_precision_asked_for_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _cpuinfo(monkeypatch, "flags : amx_bf16")
    assert choose_precision("bf16", device=CPU, bf16_pays=False) == "bf16"
    _cpuinfo(monkeypatch, "flags : avx2")
    with pytest.raises(UsageFault, match="10 to 30 times slower") as failure:
        choose_precision("bf16", device=CPU, bf16_pays=True)
    assert "--precision fp32" in failure.value.hint
    assert choose_precision("fp32", device=CPU, bf16_pays=True) == "fp32"
    with pytest.raises(UsageFault, match="bf16 is not available on mps"):
        choose_precision("bf16", device=torch.device("mps"), bf16_pays=True)
    assert choose_precision("auto", device=torch.device("mps"), bf16_pays=True) == "fp32"


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_threads_are_set_or_left_alone(threads: int) -> None:
    assert prepare(ComputeConfig(device="cpu")).threads == threads
    assert prepare(ComputeConfig(device="cpu", threads=threads + 1)).threads == threads + 1
    assert torch.get_num_threads() == threads + 1


def test_processes_of_a_host_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _device: None)
    config = ComputeConfig(precision="fp32")
    found = [prepare(config, local_rank=rank).device.index for rank in range(3)]
    assert found == [0, 1, 0]
    named = ComputeConfig(device="cuda:1", precision="fp32")
    assert prepare(named, local_rank=0).device.index == 1


def test_autocast_covers_products_and_nothing_outside() -> None:
    x = torch.ones(3, 3)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        compute = Compute(device=CPU, precision=precision, threads=1)  # type: ignore[arg-type]
        with compute.autocast():
            assert (x @ x).dtype == dtype
        assert (x @ x).dtype == torch.float32


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("threads")
def test_a_forked_process_computes_where_its_parent_had_threads() -> None:
    torch.set_num_threads(2)
    _much_work()
    child = multiprocessing.get_context("fork").Process(target=_much_work)
    child.start()
    child.join(timeout=30)
    ended = child.exitcode
    child.kill()
    assert ended == 0


def _much_work() -> None:
    numbers = torch.ones(1 << 20).exp()
    (numbers.view(1024, 1024) @ numbers.view(1024, 1024)).sum().item()
