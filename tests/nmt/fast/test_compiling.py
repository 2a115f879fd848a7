"""Compiling where there is a compiler, and doing without where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dlcli.nmt.fast import compiling as module
from dlcli.nmt.fast.compiling import FUNCTIONS, load_library, reason
from dlcli.nmt.fast.kernels import native


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test look for a compiler anew."""
    monkeypatch.delenv("DL_COMPILE", raising=False)
    load_library.cache_clear()
    yield
    load_library.cache_clear()


def test_the_library_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if load_library("elementwise") is None:
        pytest.skip("this machine has no C++ compiler")
    load_library.cache_clear()
    monkeypatch.setattr(module.subprocess, "run", None)
    assert load_library("elementwise") is not None


def test_a_shared_header_is_part_of_what_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "one.cpp").write_text('#include "two.h"\nextern "C" int dl_one() { return TWO; }')
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setitem(FUNCTIONS, "one", {})
    monkeypatch.setattr(module.platformdirs, "user_cache_dir", lambda *_, **__: tmp_path / "cache")
    found = []
    for number in (2, 3):
        (tmp_path / "two.h").write_text(f"#define TWO {number}\n")
        load_library.cache_clear()
        library = load_library("one")
        if library is None:
            pytest.skip("this machine has no C++ compiler")
        found.append(library.functions.dl_one())
    assert found == [2, 3]


def test_without_a_compiler_there_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert load_library("elementwise") is None
    assert reason("elementwise") == "There is no C++ compiler."
    assert native(torch.zeros(1), low=torch.float32) is None


def test_a_compiler_that_fails_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elementwise.cpp").write_text("this is not C++")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    assert load_library("elementwise") is None
    assert reason("elementwise")


def test_a_library_that_lacks_a_function_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUNCTIONS["elementwise"], "dl_no_such_function", "n")
    assert load_library("elementwise") is None


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DL_COMPILE", "0")
    assert load_library("elementwise") is None
    assert reason("elementwise") == "DL_COMPILE=0 is set."
