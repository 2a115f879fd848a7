"""Faults made on purpose in the alignment code: `python -m tests.mutants` says which go unnoticed.

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

IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
"""The plugins of pytest are there before it."""
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutant:
    """A module of `dlcli.nmt`, a piece of its text that is there once, and what stands instead."""

    module: str
    old: str
    new: str


MUTANTS = (
    Mutant("alignment", "int(match[1]) - index, int", "int(match[3]) - index, int"),
    Mutant("alignment", 'if match[2] == "-":', 'if match[2] == "p":'),
    Mutant("alignment", "if min(link) < 0:", "if max(link) < 0:"),
    Mutant(
        "alignment", 'f"{source + index}-{target + index}"', 'f"{target + index}-{source + index}"'
    ),
    Mutant("alignment", "0 <= j < target", "0 <= j <= target"),
    Mutant(
        "alignment",
        "frozenset((target, source) for source",
        "frozenset((source, target) for source",
    ),
    Mutant("alignment", "if mass > 0)", "if mass >= 0)"),
    Mutant("alignment", "matrix[shift : T + shift]", "matrix[:T]"),
    Mutant("alignment", "aer=1 - (in_sure + in_possible)", "aer=1 - (in_sure + in_sure)"),
    Mutant("alignment", "precision=in_possible / links", "precision=in_sure / links"),
    Mutant("alignment", "if links + sure else 0.0", "if links + sure else 1.0"),
    Mutant("alignment", "possible=possible | sure", "possible=possible & sure"),
    Mutant("symmetrize", "        return forward & backward", "        return forward | backward"),
    Mutant(
        "symmetrize",
        "if i not in sources and j not in targets",
        "if i not in sources or j not in targets",
    ),
    Mutant(
        "symmetrize",
        "new[0] in sources and new[1] in targets",
        "new[0] in sources or new[1] in targets",
    ),
    Mutant("symmetrize", ", (-1, -1), (-1, 1), (1, -1), (1, 1))", ")"),
    Mutant("symmetrize", "(forward + backward.T) / 2", "forward + backward.T"),
    Mutant("symmetrize", "else forward * backward.T", "else forward * forward"),
    Mutant("symmetrize", "for side in (forward, backward):", "for side in (forward,):"),
    Mutant("symmetrize", "other = swapped(token", "other = frozenset(token"),
    Mutant("token_links", "descending=True", "descending=False"),
    Mutant("token_links", "if float(row[place]) > 0)", "if float(row[place]) >= 0)"),
    Mutant("token_links", "return found + found[-1:] * (count - len(found))", "return found"),
    Mutant("token_links", "source[rank * k // m]", "source[0]"),
    Mutant(
        "token_links",
        "return [(token, target[0]) for token in source]",
        "return [(source[0], target[0])]",
    ),
    Mutant("token_attention", "(per_token.T / pieces[:, None])", "per_token.T"),
    Mutant("token_attention", "overlaps[:, distinct].sum(dim=1) if", "overlaps.sum(dim=1) if"),
    Mutant(
        "token_attention",
        "shifted_rows(found.rows, shift=shift)",
        "shifted_rows(found.rows, shift=0)",
    ),
    Mutant("merging", "            row[first] = 1", "            row[0] = 1"),
    Mutant("merging", "matrix.double() / weights.sum(dim=1, keepdim=True)", "matrix.double()"),
    Mutant("merging", "= shares, 1.0", "= shares, 0.0"),
    Mutant("merging", ".end <= piece.start", ".end < piece.start - 1"),
    Mutant(
        "forced_attention",
        "zip(order[start:stop].tolist(), matrices",
        "zip(range(start, stop), matrices",
    ),
    Mutant("forced_attention", "for text, _ in pairs]", "for _, text in pairs]"),
    Mutant("forced_attention", ", : len(source[place]) + 1]", "]"),
    Mutant("posterior", ".float().log() + likelihood", ".float() + likelihood"),
    Mutant("posterior", "chosen - scores.logsumexp(dim=2)", "chosen"),
    Mutant("posterior", "+ likelihood, dim=1)", "+ likelihood, dim=0)"),
    Mutant("posterior", "[reading.hidden, reading.embedded]", "[reading.embedded, reading.hidden]"),
    Mutant("posterior", "by_state, readout.linear.bias)", "by_state)"),
)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module before anyone else does, with a fault in it."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = f"dlcli.nmt.{mutant.module}"
        self.path = ROOT / "dlcli" / "nmt" / f"{mutant.module}.py"
        text = self.path.read_text(encoding="utf-8")
        assert text.count(mutant.old) == 1, f"{mutant.module}.py has not once: {mutant.old}"
        self.text = text.replace(mutant.old, mutant.new)

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


def passes(modules: Sequence[str], mutant: Mutant | None = None) -> bool:
    """Say whether the tests of some modules pass, in a process of their own."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if mutant is not None:
            sys.meta_path.insert(0, Changed(mutant))
        tests = [str(ROOT / "tests" / "nmt" / f"test_{module}.py") for module in modules]
        options = ["-x", "-q", "-p", "no:cacheprovider", "-W", IMPORTED]
        os._exit(int(pytest.main([*options, *tests])))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    return code == pytest.ExitCode.OK


def survivors() -> list[str]:
    """Return the faults that no test notices; without faults all tests must pass."""
    assert passes(sorted({mutant.module for mutant in MUTANTS})), "the tests fail without a fault"
    alive = [mutant for mutant in MUTANTS if passes([mutant.module], mutant)]
    return [f"{mutant.module}.py: {mutant.old} -> {mutant.new}" for mutant in alive]


def main() -> None:
    """Import what is slow, then try all faults and print the outcome as JSON."""
    import hypothesis
    import numpy
    import sentencepiece
    import torch

    del hypothesis, numpy, sentencepiece, torch
    for mutant in MUTANTS:
        Changed(mutant)  # every piece of text must be there before the first test runs
    print(json.dumps({"mutants": len(MUTANTS), "survivors": survivors()}, indent=2))


if __name__ == "__main__":
    main()
