"""Tidying: what people type becomes a line like any other."""

from __future__ import annotations

import pytest

from dlcli.nmt.text import one_line, tidy


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("  The  cat\tsleeps. ", "The cat sleeps."),
        ("a\x00b\rc", "a b c"),
        ("\ufeffThe cat", "The cat"),
        ("e\u0301te\u0301", "été"),
        ("\ud800lone", "lone"),
        ("\n \x85", ""),
        ("שלום 🙂 ...", "שלום 🙂 ..."),
    ],
)
def test_lines_become_plain(line: str, wanted: str) -> None:
    assert tidy(line) == wanted
    assert tidy(wanted) == wanted


def test_what_a_model_writes_stays_on_one_line() -> None:
    assert one_line("a\nb\r\n\u2028c ") == "a b c"
