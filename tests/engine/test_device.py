"""Device, precision and threads: what there is, what was asked for, what is refused."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
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
    free_cores,
    prepare,
)
from dlcli.engine.runs import RunFolder
from dlcli.engine.settings import ComputeConfig
from dlcli.errors import UsageFault
from tests.cli.tiny import dl_json

CPU = torch.device("cpu")
Cores = Callable[..., None]


def _machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def _processor_has(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: dict.fromkeys(names, True))


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
    ("names", "expected"),
    [
        (["amx_tile", "amx_bf16", "avx512_bf16"], {"amx_bf16", "avx512_bf16"}),
        (["avx2", "amx_tile", "amx_int8"], set()),
        (["sve", "bf16"], set()),
        ([], set()),
    ],
)
def test_the_processor_says_what_it_can(
    names: list[str], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _processor_has(monkeypatch, *names)
    assert cpu_flags() == expected
    assert bf16_is_native(CPU) == bool(expected)


def test_torch_knows_the_names_that_are_looked_for() -> None:
    known = torch.cpu.get_capabilities()
    if known.get("architecture") == "x86_64":
        assert {"amx_bf16", "avx512_bf16"} <= set(known)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("pays", [True, False])
def test_auto_precision_is_bf16_only_where_it_is_native_and_pays(
    native: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _processor_has(monkeypatch, "amx_bf16" if native else "sse")
    found = choose_precision("auto", device=CPU, bf16_pays=pays)
    assert found == ("bf16" if native and pays else "fp32")


def test_a_precision_asked_for_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _processor_has(monkeypatch, "amx_bf16")
    assert choose_precision("bf16", device=CPU, bf16_pays=False) == "bf16"
    _processor_has(monkeypatch, "avx2")
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


@pytest.fixture
def watched_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cores]:
    """Replace the cores of this machine, as the system describes them."""
    read, clock = Path.read_text, [0.0]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda s: clock.__setitem__(0, clock[0] + s))

    def watch(*, count: int, busy: float = 0, nice: float = 0) -> None:
        def stat(self: Path, **how: str) -> str:
            if self != Path("/proc/stat"):
                return read(self, **how)
            ticks = clock[0] * os.sysconf("SC_CLK_TCK")
            shares = [busy, nice, 0, count - busy - nice, 0, 0, 0]
            times = " ".join(str(100 + round(ticks * share)) for share in shares)
            return f"cpu  {times}\ncpu0 {times}\ncpu9 7 7 7 7 7 7 7\nintr 5 7\n"

        monkeypatch.setattr(Path, "read_text", stat)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
        free_cores.cache_clear()

    yield watch
    free_cores.cache_clear()


def test_threads_are_set_or_left_alone(threads: int) -> None:
    assert prepare(ComputeConfig(device="cpu")).threads == threads
    assert prepare(ComputeConfig(device="cpu", threads=threads + 1)).threads == threads + 1
    assert torch.get_num_threads() == threads + 1


@pytest.mark.parametrize(
    ("busy", "nice", "expected"), [(0, 0, 3), (1, 0, 2), (1.2, 0, 2), (3, 0, 1), (0, 3, 3)]
)
@pytest.mark.usefixtures("threads")
def test_a_training_takes_one_thread_a_free_core(
    busy: float, nice: float, expected: int, watched_cores: Cores
) -> None:
    watched_cores(count=3, busy=busy, nice=nice)
    torch.set_num_threads(5)
    assert prepare(ComputeConfig(device="cpu")).threads == expected
    assert prepare(ComputeConfig(device="cpu", threads=4)).threads == 4
    torch.set_num_threads(1)
    assert prepare(ComputeConfig(device="cpu")).threads == 1


@pytest.mark.usefixtures("threads")
def test_a_number_of_the_users_is_taken_on_a_busy_machine(
    watched_cores: Cores, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched_cores(count=3, busy=3)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    assert prepare(ComputeConfig(device="cpu")).threads == 2


@pytest.mark.parametrize(
    "text", [None, "cpu  0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0\n", "cpu8 1 1 1 1 1\n"]
)
@pytest.mark.usefixtures("threads")
def test_where_the_use_of_the_cores_is_not_known_torch_chooses(
    text: str | None, monkeypatch: pytest.MonkeyPatch, watched_cores: Cores
) -> None:
    watched_cores(count=3)

    def read(_self: Path, **_how: str) -> str:
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", read)
    torch.set_num_threads(2)
    assert prepare(ComputeConfig(device="cpu", precision="fp32")).threads == 2


@pytest.mark.usefixtures("threads")
def test_a_resumed_run_has_as_many_threads_as_before(watched_cores: Cores, tmp_path: Path) -> None:
    words = ["vae", "train", "--data", "glyphs:64", "--validation", "0", "--snapshots", "0"]
    counts = []
    for busy, more in (
        (2, ["--epochs", "1", "--out", "run"]),
        (0, ["--epochs", "2", "--resume", "run"]),
    ):
        watched_cores(count=3, busy=busy)
        torch.set_num_threads(3)
        dl_json(*words, *more)
        counts.append(RunFolder(tmp_path / "run").record()["threads"])
    assert counts == [1, 1]


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
