"""The compiled code on a processor of another kind, which an emulator stands in for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dlcli.nmt.fast.compiling import FLAGS, available_forms, find_library, target_flags

PROGRAM = Path(__file__).with_name("portable.cpp")


def printed(compiler: str, form: str, program: Path, *, under: tuple[str, ...] = ()) -> list[str]:
    """Compile the program for a form and return the lines that it prints."""
    flags = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC")]
    made = [compiler, *flags, *target_flags(form), "-static", "-o", str(program), str(PROGRAM)]
    subprocess.run(made, check=True)
    done = subprocess.run([*under, str(program)], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_neon_computes_what_this_processor_computes(tmp_path: Path) -> None:
    """Debian's packages: g++-aarch64-linux-gnu and qemu-user."""
    cross, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    here = shutil.which("g++")
    if not (cross and emulator and here and available_forms() and find_library()[0]):
        pytest.skip("this machine has no compiler and emulator for ARM")
    neon = printed(cross, "neon", tmp_path / "neon", under=(emulator,))
    for form in available_forms():
        ours = printed(here, form, tmp_path / form)
        for one, other in zip(ours, neon, strict=True):
            kind, name, *found = one.split()
            near = 0 if name == "tokens" else 1e-5 if kind == "float" else 1e-2
            wanted = [float(number) for number in other.split()[2:]]
            assert [*map(float, found)] == pytest.approx(wanted, rel=near, abs=near), name
