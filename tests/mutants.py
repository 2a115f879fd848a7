"""Faults made on purpose in numerical code: `python -m tests.mutants` says which go unnoticed.

No file is touched: a child process, forked after the slow imports, is given the module with the
fault in it and runs that module's tests, which have to fail.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evidence import faults as evidence
from tests.fault import Fault
from tests.nmt import faults as alignment
from tests.vae import faults as images

IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
"""The plugins of pytest are there before it."""
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutant:
    """A fault, and the room that its module is of."""

    room: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.room}/{self.fault.module}.py: {self.fault.old} -> {self.fault.new}"


MUTANTS = (
    *(Mutant("nmt", fault) for fault in alignment.FAULTS),
    *(Mutant("evidence", fault) for fault in evidence.FAULTS),
    *(Mutant("vae", fault) for fault in images.FAULTS),
)

TESTS = {"nmt": alignment.TESTS, "evidence": evidence.TESTS, "vae": images.TESTS}


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module before anyone else does, with a fault in it."""

    def __init__(self, mutant: Mutant) -> None:
        room, fault = mutant.room, mutant.fault
        self.name = f"dlcli.{room}.{fault.module}"
        self.path = ROOT / "dlcli" / room / f"{fault.module}.py"
        text = self.path.read_text(encoding="utf-8")
        assert text.count(fault.old) == 1, f"{self.path} has not once: {fault.old}"
        self.text = text.replace(fault.old, fault.new)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for that one module."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the changed text."""
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def tests_of(mutants: Sequence[Mutant]) -> list[str]:
    """Return the files of tests that have to notice faults."""
    return sorted(
        {
            str(ROOT / "tests" / mutant.room / name)
            for mutant in mutants
            for name in TESTS[mutant.room][mutant.fault.module]
        }
    )


def passes(tests: Sequence[str], mutant: Mutant | None = None) -> bool:
    """Say whether some test files pass, in a process of their own."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if mutant is not None:
            sys.meta_path.insert(0, Changed(mutant))
        options = ["-x", "-q", "-p", "no:cacheprovider", "-W", IMPORTED]
        os._exit(int(pytest.main([*options, *tests])))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    return code == pytest.ExitCode.OK


def survivors(mutants: Sequence[Mutant] = MUTANTS) -> list[str]:
    """Return the faults that no test notices; without faults all tests must pass."""
    assert passes(tests_of(mutants)), "the tests fail without a fault"
    return [str(mutant) for mutant in mutants if passes(tests_of([mutant]), mutant)]


def main() -> None:
    """Import what is slow, then try all faults and print the outcome as JSON."""
    import hypothesis
    import numpy
    import sentencepiece
    import torch

    del hypothesis, numpy, sentencepiece, torch
    for mutant in MUTANTS:
        Changed(mutant)  # every piece of text must be there before the first test runs
    rooms = sys.argv[1:] or ["nmt", "evidence", "vae"]
    chosen = [mutant for mutant in MUTANTS if mutant.room in rooms]
    print(json.dumps({"mutants": len(chosen), "survivors": survivors(chosen)}, indent=2))


if __name__ == "__main__":
    main()
