"""Compiling where there is a compiler, and doing without where there is none."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.errors import UsageFault
from dlcli.nmt.fast import compiling as module
from dlcli.nmt.fast.compiling import available_forms, find_library
from dlcli.nmt.fast.kernels import native


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test look for a compiler anew."""
    for name in ("DL_COMPILE", "DL_SIMD"):
        monkeypatch.delenv(name, raising=False)
    find_library.cache_clear()
    yield
    find_library.cache_clear()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Compile one small function into a folder of its own; it returns what `two.h` says."""
    (tmp_path / "one.cpp").write_text('#include "two.h"\nextern "C" void dl_one() { TWO; }')
    (tmp_path / "two.h").write_text("#define TWO 2\n")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "FUNCTIONS", {"dl_one": ""})
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    if find_library()[0] is None:
        pytest.skip("this machine has no C++ compiler")
    find_library.cache_clear()
    return tmp_path / "cache" / "compiled"


def made_anew(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Load the library; say whether it was compiled for that."""
    calls: list[Any] = []

    def run(*given: Any, **more: Any) -> Any:
        calls.append(given)
        return actual(*given, **more)

    actual = subprocess.run
    monkeypatch.setattr(module.subprocess, "run", run)
    assert find_library()[0] is not None
    monkeypatch.setattr(module.subprocess, "run", actual)
    find_library.cache_clear()
    return bool(calls)


def test_the_library_is_compiled_once_for_its_sources(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not made_anew(monkeypatch)
    (module.FOLDER / "two.h").write_text("#define TWO 3\n")
    assert made_anew(monkeypatch)
    assert not made_anew(monkeypatch)


def test_each_form_is_a_library_of_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in available_forms():
        monkeypatch.setenv("DL_SIMD", form)
        assert find_library()[0].form == form  # type: ignore[union-attr]
        find_library.cache_clear()
    assert {path.name.split("-")[0] for path in cache.iterdir()} == {*available_forms()}


@pytest.mark.parametrize("damage", [0, 1000, 5000])
def test_a_library_that_is_not_whole_is_made_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch, damage: int
) -> None:
    """It used to end every later call with SIGBUS."""
    (library,) = cache.iterdir()
    content = library.read_bytes()
    library.unlink()  # this process may have it open
    library.write_bytes(content[:damage])
    assert made_anew(monkeypatch)
    assert not made_anew(monkeypatch)


def test_a_library_that_lacks_a_function_is_made_anew_before_it_is_done_without(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (library,) = cache.iterdir()
    before = library.stat().st_mtime_ns
    monkeypatch.setattr(module, "FUNCTIONS", {"dl_one": "", "dl_two": ""})
    assert "dl_two" in find_library()[1]
    assert library.stat().st_mtime_ns > before
    find_library.cache_clear()
    (module.FOLDER / "two.h").write_text('#define TWO } extern "C" void dl_two() {\n')
    assert made_anew(monkeypatch)


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_each_compiler_makes_a_library_without_warnings(compiler: str, tmp_path: Path) -> None:
    found, forms = module.shutil.which(compiler), available_forms()
    if found is None or not forms:
        pytest.skip(f"this machine has no {compiler}")
    flags = [
        *module.FLAGS,
        *module.target_flags(forms[-1]),
        "-Wall",
        "-Wno-unknown-pragmas",
        "-Werror",
    ]
    sources = [str(path) for path in module.FOLDER.glob("*.cpp")]
    subprocess.run([found, *flags, "-o", str(tmp_path / "made.so"), *sources], check=True)
    library = module.Library(tmp_path / "made.so", form=forms[-1])
    rows = torch.ones(3, 2)
    sums = torch.zeros(2)
    library.call("dl_add_columns", 0, 1, 3, 2, rows, sums)
    assert sums.tolist() == [3.0, 3.0]


def test_without_a_compiler_there_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert find_library() == (None, "There is no C++ compiler.")
    assert native(torch.zeros(1), low=torch.float32) is None


def test_a_compiler_that_fails_is_done_without(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module.FOLDER / "two.h").write_text("this is not C++")
    assert find_library() == (None, "The C++ compiler failed.")


def test_a_processor_without_any_form_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.torch.cpu, "get_capabilities", lambda: {"sse2": True})
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    assert find_library() == (None, "This processor has neither AVX2 nor NEON.")
    monkeypatch.setattr(module.platform, "machine", lambda: "arm64")
    assert available_forms() == ["neon"]


@pytest.mark.parametrize("variable", ["DL_COMPILE=0", "DL_SIMD=none"])
def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert find_library() == (None, f"{variable} is set.")


@pytest.mark.parametrize(
    ("form", "problem"), [("avx3", "There is no form"), ("neon", "cannot run")]
)
def test_a_form_that_cannot_be_had_is_refused(
    monkeypatch: pytest.MonkeyPatch, form: str, problem: str
) -> None:
    if form in available_forms():
        pytest.skip("this processor can run it")
    monkeypatch.setenv("DL_SIMD", form)
    with pytest.raises(UsageFault, match=problem) as caught:
        find_library()
    assert "none" in caught.value.hint
