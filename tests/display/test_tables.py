"""A number shows what is known of it; tables are ruled on a terminal and whole lines elsewhere."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from dlcli.display.tables import (
    ResultTable,
    count,
    duration,
    facts,
    interval,
    number,
    size,
    with_error,
)
from tests.display.terminals import on_pipes, on_terminal


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (101.2345, 0.0512, "101.23 ± 0.05"),
        (101.2345, 0.0149, "101.234 ± 0.015"),
        (101.2345, 0.0096, "101.23 ± 0.01"),
        (12345.6, 120.0, "12350 ± 120"),
        (-0.5123, 0.2, "-0.5 ± 0.2"),
        (1.234e-9, 5.1e-11, "(1.23 ± 0.05)e-09"),
        (2.5e12, 1.3e10, "(2.500 ± 0.013)e+12"),
        (101.5, 0.0, "101.500 ± 0"),
        (101.5, None, "101.5"),
        (math.nan, 0.1, "-"),
        (3.0, math.inf, "3.000"),
    ],
)
def test_value_and_error_end_at_the_same_place(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
@example(112_155.0, 9.5)  # the error is written as 10, and the value to tens
def test_what_is_written_is_within_half_the_error_beside_it(value: float, error: float) -> None:
    shown, _, shown_error = with_error(value, error).partition(" ± ")
    assert abs(float(shown) - value) <= 0.5 * float(shown_error) + 1e-9
    assert float(shown_error) == pytest.approx(error, rel=0.34)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (101.04, "101.0"), (0.0123456, "0.01235"), (99.996, "100.0"), (1e-7, "1.000e-07"),
        (12, "12"), (True, "yes"), (None, "-"), (math.nan, "-"), (-math.inf, "-inf"), (0.0, "0"),
        (123456.7, "123500"), (1e30, "1.000e+30"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_intervals_counts_times_and_sizes() -> None:
    assert interval(-0.51, 0.06, digits=2) == "[-0.51, 0.060]"
    assert [*map(count, (37012.3, 12.34, 7))] == ["37,012", "12.3", "7"]
    times = ["0.4 s", "1 min 00 s", "3 min 23 s", "2 h 05 min", "-"]
    assert [*map(duration, (0.44, 59.7, 203, 7500, math.nan))] == times
    sizes = ["512 B", "9.9 MB", "1.2 GB", "1.0 MB"]
    assert [*map(size, (512, 9_912_422, 1.2e9, 999_600))] == sizes


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
    assert second.startswith("[b]x[/b] " + "y" * 130)
    assert signature == f"signature {TABLE.signatures}"
    assert not set(out.getvalue()) & set("│─━┃┏\x1b")
    at, width = header.index("test"), cell_len("test −ELBO (nats)")
    assert first[at : at + width] == "96.12 ± 0.05".rjust(width)
    assert second[at : at + width] == "101.50 ± 0.12".rjust(width)


def on_screen(table: ResultTable, monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    """Return the lines of a table on a terminal of so many columns."""
    consoles, out, _ = on_terminal(monkeypatch, columns=columns, no_color=True)
    consoles.result({}, table)
    return ESCAPES.sub("", out.getvalue()).splitlines()


RUNS = ResultTable(
    ["run", "what it is", "bleu"],
    [["mlp", "a small network", 1.5], ["conv", "another, with convolutions", 30.25]],
    signatures="data:mnist|split:test|seed:0",
    spare=["bleu"],
)
SIGNATURE = ["signature", "data:mnist|", "split:test|seed:0"]


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            80,
            [
                "run   what it is                   bleu",
                "───────────────────────────────────────",
                "mlp   a small network             1.500",
                "conv  another, with convolutions  30.25",
                "signature data:mnist|split:test|seed:0",
            ],
        ),
        (
            37,
            [
                "run   what it is",
                "────────────────────────────────",
                "mlp   a small network",
                "conv  another, with convolutions",
                "no room for: bleu (--json has all)",
                "signature data:mnist|split:test|",
                "seed:0",
            ],
        ),
        (
            20,
            [
                "run   what it is",
                "───────────────────",
                "mlp   a small",
                "      network",
                "conv  another, with",
                "      convolutions",
                "no room for: bleu",
                "(--json has all)",
                *SIGNATURE,
            ],
        ),
    ],
)
def test_a_terminal_gets_the_form_of_a_table_that_fits(
    columns: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_screen(RUNS, monkeypatch, columns)[: len(lines)] == lines


def test_rows_and_columns_change_places_where_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"setting{n}" for n in range(9)]
    table = ResultTable(["run", *many], [["a", *range(9)], ["b", *range(10, 19)]])
    shown = on_screen(table, monkeypatch, 40)
    assert shown[0].split() == ["run", "a", "b"]
    assert shown[-1].split() == ["setting8", "8", "18"]


def test_each_row_is_a_list_where_nothing_else_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ResultTable(["D", "estimator", "samples"], [[2, "prior", 10], [2, "ais", 128]])
    shown = on_screen(table, monkeypatch, 17)
    assert shown[:3] == ["D          2", "estimator  prior", "samples    10"]
    assert shown[3:5] == ["", "D          2"]


def test_a_word_longer_than_the_terminal_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = on_screen(TABLE, monkeypatch, 60)
    assert any("y" * 130 in line for line in lines)
    assert any("[b]x[/b]" in line for line in lines)


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        (
            ResultTable(["run", "n"], [["2026-11-23_x", 1], ["7", 1234]]),
            ["run              n", "2026-11-23_x     1", "7             1234"],
        ),
        (
            ResultTable(["a", "b"], [[None, math.nan], [True, math.inf], ["two\nlines", 0.5]]),
            ["a               b", "-               -", "yes           inf", "two lines  0.5000"],
        ),
        (
            facts({"run": "/x", "test −ELBO": "96.1 ± 0.5 nats"}, signatures={"a": "s", "": "t"}),
            ["run         /x", "test −ELBO  96.1 ± 0.5 nats"],
        ),
        (ResultTable(["a", "bc"], []), ["a  bc"]),
        (facts({}), []),
    ],
    ids=["names with digits", "missing values", "facts", "only a header", "no facts"],
)
def test_plain_lines(table: ResultTable, lines: list[str]) -> None:
    assert table.lines() == lines


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        ResultTable(["a", "b"], [[1]])
