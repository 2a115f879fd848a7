from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.errors import RunFailed
from dlcli.nmt.model import NmtNetwork
from dlcli.nmt.training import explain_memory, fitting_batch_size, is_out_of_memory
from tests.nmt.runs import make_config, make_learner, run_training, toy_file

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you"


def _small_memory(monkeypatch: pytest.MonkeyPatch, *, cells: int) -> None:
    """Let the network run out of memory on targets of more than so many padded tokens."""
    real = NmtNetwork.forward

    def forward(self: NmtNetwork, *payload: Any) -> dict[str, torch.Tensor]:
        if payload[0].target_out.numel() > cells:
            raise RuntimeError(CPU_WORDS)
        return real(self, *payload)

    monkeypatch.setattr(NmtNetwork, "forward", forward)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError(CPU_WORDS), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_knows_an_exhausted_memory(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


@pytest.mark.parametrize("unit", ["sentences", "tokens"])
def test_says_which_batch_size_fits(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 16 if unit == "sentences" else 400
    _small_memory(monkeypatch, cells=140)
    loop = {"batch_unit": unit, "batch_size": size}
    config = make_config(data={"name": toy_file(tmp_path)}, loop=loop)
    with pytest.raises(RunFailed, match=f"A batch of {size} {unit} does not fit") as caught:
        run_training(config, out=tmp_path / "run")
    fits = int(caught.value.hint.split()[1])
    assert fits < size
    again = make_config(data={"name": toy_file(tmp_path)}, loop={**loop, "batch_size": fits})
    result, _ = run_training(again, out=tmp_path / "again")
    assert result is not None


def test_nothing_fits() -> None:
    learner = make_learner()
    with pytest.MonkeyPatch.context() as patch:
        _small_memory(patch, cells=1)
        assert fitting_batch_size(learner) is None
        with (
            pytest.raises(RunFailed, match="does not fit") as caught,
            explain_memory(learner),
        ):
            raise RuntimeError(CPU_WORDS)
    assert "Not even one sentence" in caught.value.hint


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_memory(make_learner()):
        raise RuntimeError("shapes do not match")
