"""Faults made on purpose in numerical code: `python -m tests.mutants` says which go unnoticed.

No file is touched: a child process, forked after the slow imports, is given the module with the
fault in it and runs that module's tests, which have to fail. `python -m tests.mutants vae` tries
the faults of one chapter.
"""

from __future__ import annotations

import argparse
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
from tests.nmt import faults as nmt
from tests.vae import faults as vae

IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
"""The plugins of pytest are there before it."""
ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = {"nmt": nmt, "evidence": evidence, "vae": vae}


def main() -> None:
    """Import what is slow, then try all faults and print the outcome as JSON."""
    parser = argparse.ArgumentParser(description="Faults made on purpose in numerical code.")
    parser.add_argument("chapters", nargs="*", help=f"of {', '.join(CHAPTERS)} (all)")
    chapters = parser.parse_args().chapters or list(CHAPTERS)
    if unknown := set(chapters) - set(CHAPTERS):
        parser.error(f"no faults are made in {', '.join(sorted(unknown))}")
    import hypothesis
    import numpy
    import sentencepiece
    import torch

    del hypothesis, numpy, sentencepiece, torch
    chosen = [mutant for mutant in MUTANTS if mutant.chapter in chapters]
    assert all(mutant.text for mutant in chosen), "pieces of text are looked for before any test"
    print(json.dumps({"mutants": len(chosen), "survivors": survivors(chosen)}, indent=2))


@dataclass(frozen=True)
class Mutant:
    """A module of a chapter, a piece of its text that is there once, and what stands instead."""

    chapter: str
    module: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.chapter}/{self.module}.py: {self.old} -> {self.new}"

    @property
    def path(self) -> Path:
        return ROOT / "dlcli" / self.chapter / f"{self.module}.py"

    @property
    def text(self) -> str:
        """The module with the fault in it."""
        text = self.path.read_text(encoding="utf-8")
        assert text.count(self.old) == 1, f"{self.path} has not once: {self.old}"
        return text.replace(self.old, self.new)

    @property
    def test(self) -> str:
        """The file of tests that has to notice the fault."""
        return str(ROOT / "tests" / self.chapter / f"test_{self.module}.py")


MUTANTS = tuple(
    Mutant(name, *fault) for name, chapter in CHAPTERS.items() for fault in chapter.FAULTS
)


def survivors(mutants: Sequence[Mutant]) -> list[str]:
    """Return the faults that no test notices; without faults all tests must pass."""
    assert passes({mutant.test for mutant in mutants}), "fails without a fault"
    return [str(mutant) for mutant in mutants if passes({mutant.test}, mutant)]


def passes(tests: set[str], mutant: Mutant | None = None) -> bool:
    """Say whether some test files pass, in a process of their own."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if mutant is not None:
            sys.meta_path.insert(0, Changed(mutant))
        options = ["-x", "-q", "-p", "no:cacheprovider", "-W", IMPORTED]
        os._exit(int(pytest.main([*options, *sorted(tests)])))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    return code == pytest.ExitCode.OK


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module before anyone else does, with a fault in it."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.name = mutant, f"dlcli.{mutant.chapter}.{mutant.module}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for that one module."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.mutant.path, loader=self)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the changed text."""
        exec(compile(self.mutant.text, str(self.mutant.path), "exec"), module.__dict__)


if __name__ == "__main__":
    main()
