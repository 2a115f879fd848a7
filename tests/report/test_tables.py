"""Tables: ruled on a terminal, whole lines elsewhere."""

from __future__ import annotations

import math
import re

import pytest
from rich.cells import cell_len

from dlcli.display.tables import ResultTable, facts, with_error
from tests.report.terminals import on_pipes, on_terminal

ESCAPES = re.compile(r"\x1b\[[\d;]*m")
TABLE = ResultTable(
    ["run", "test −ELBO (nats)", "epochs", "verdict"],
    [
        ["2026-11-23_vae-conv", with_error(96.123, 0.05), 80, "pass"],
        ["[b]x[/b] " + "y" * 130, with_error(101.5, 0.12), None, "fail"],
    ],
    title="Results",
    signatures="data:mnist|split:test|version:dlcli-0.1.0|" + "z" * 90,
)


def test_without_a_terminal_lines_are_whole_and_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_pipes(monkeypatch)
    consoles.result({}, TABLE)
    title, header, first, second, signature = out.getvalue().splitlines()
    assert title == "Results"
    assert header.split() == ["run", "test", "−ELBO", "(nats)", "epochs", "verdict"]
    assert second.startswith("[b]x[/b] " + "y" * 130)
    assert signature == f"signature {TABLE.signatures}"
    assert not set(out.getvalue()) & set("│─━┃|┏") - {"|"}
    assert "\x1b" not in out.getvalue()
    at = header.index("test")
    width = cell_len("test −ELBO (nats)")
    assert first[at : at + width] == "96.12 ± 0.05".rjust(width)
    assert second[at : at + width] == "101.50 ± 0.12".rjust(width)


def test_a_terminal_gets_a_rule_and_folded_names(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_terminal(monkeypatch, columns=80, no_color=True)
    consoles.result({}, TABLE)
    lines = out.getvalue().splitlines()
    ruled = [ESCAPES.sub("", line) for line in lines[1:-1]]
    assert "───" in ruled[1]
    assert all(cell_len(line) <= 80 for line in ruled)
    assert sum(line.count("y") for line in ruled) == 130
    assert "[b]x[/b]" in out.getvalue()
    assert ESCAPES.sub("", lines[-1]) == f"signature {TABLE.signatures}"


def test_a_terminal_too_narrow_for_the_numbers_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, out, _ = on_terminal(monkeypatch, columns=30, no_color=True)
    consoles.result({}, TABLE)
    assert out.getvalue().splitlines()[1] == TABLE.lines()[0]


def test_names_that_begin_with_a_digit_are_no_numbers() -> None:
    table = ResultTable(["run", "n"], [["2026-11-23_x", 1], ["7", 1234]])
    assert table.lines() == ["run              n", "2026-11-23_x     1", "7             1234"]


def test_missing_and_odd_values() -> None:
    table = ResultTable(["a", "b"], [[None, math.nan], [True, math.inf], ["two\nlines", 0.5]])
    assert table.lines() == [
        "a               b",
        "-               -",
        "yes           inf",
        "two lines  0.5000",
    ]


def test_facts_are_names_and_values() -> None:
    made = facts({"run": "/x", "test −ELBO": "96.1 ± 0.5 nats"}, signatures={"a": "s", "": "t"})
    assert made.lines() == ["run         /x", "test −ELBO  96.1 ± 0.5 nats"]


def test_an_empty_table_has_its_header() -> None:
    assert ResultTable(["a", "bc"], []).lines() == ["a  bc"]
    assert facts({}).lines() == []


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        ResultTable(["a", "b"], [[1]])
