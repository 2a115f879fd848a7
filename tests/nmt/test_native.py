from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dlcli.nmt import native as module
from dlcli.nmt.native import load_library, native
from dlcli.nmt.softmax_loss import turn_to_grads


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Let each test look for a compiler anew."""
    load_library.cache_clear()
    yield
    load_library.cache_clear()


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
def test_the_compiled_softmax_is_the_plain_one(low: torch.dtype) -> None:
    torch.manual_seed(0)
    compiled = native(torch.zeros(1), low=low)
    if compiled is None:
        pytest.skip("this machine has no C++ compiler")
    logits, targets = (5 * torch.randn(7, 601)).to(low), torch.randint(601, (7,))
    plain, ours = logits.clone(), logits.clone()
    sums = compiled.softmax_grads(ours, targets=targets, smoothing=0.1)
    torch.testing.assert_close(sums, turn_to_grads(plain, targets=targets, smoothing=0.1))
    torch.testing.assert_close(ours, plain, rtol=1e-2 if low != torch.float32 else 1e-5, atol=1e-7)
    columns = torch.ones(601)
    compiled.add_columns(ours, columns)
    torch.testing.assert_close(columns, 1 + ours.sum(0, dtype=torch.float32))


def test_the_library_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if load_library() is None:
        pytest.skip("this machine has no C++ compiler")
    load_library.cache_clear()
    monkeypatch.setattr(module.subprocess, "run", None)
    assert load_library() is not None


def test_without_a_compiler_there_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert load_library() is None
    assert native(torch.zeros(1), low=torch.float32) is None


def test_a_compiler_that_fails_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "wrong.cpp"
    broken.write_text("this is not C++")
    monkeypatch.setattr(module, "SOURCE", broken)
    assert load_library() is None


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DL_COMPILE", "0")
    assert load_library() is None


def test_other_tensors_are_not_for_it() -> None:
    assert native(torch.zeros(1).double(), low=torch.float64) is None
    assert native(torch.zeros(1, device="meta"), low=torch.float32) is None
