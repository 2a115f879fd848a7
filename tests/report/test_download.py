"""A download in words, on a terminal and elsewhere."""

from __future__ import annotations

import pytest

from dlcli.display.progress import DownloadProgress
from tests.report.terminals import on_pipes, on_terminal


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, err = on_pipes(monkeypatch)
    now = 0.0
    with DownloadProgress(consoles, label="mnist", clock=lambda: now) as show:
        for second in range(26):
            now = float(second)
            show(second * 400_000, 10_000_000)
    assert err.getvalue().splitlines() == [
        "mnist: 0 B of 10.0 MB",
        "mnist: 4.0 MB of 10.0 MB",
        "mnist: 8.0 MB of 10.0 MB",
        "mnist: 10.0 MB in 25 s",
    ]
    assert out.getvalue() == ""


def test_an_unknown_total_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    with DownloadProgress(consoles, label="mnist", clock=lambda: 0.0) as show:
        show(1500)
    assert err.getvalue().splitlines()[0] == "mnist: 1.5 kB"


def test_on_a_terminal_a_bar_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    now = 0.0
    with DownloadProgress(consoles, label="mnist", clock=lambda: now) as show:
        for second in range(5):
            now = float(second)
            show(second * 2_500_000, 10_000_000)
    text = err.getvalue()
    assert "2.5 MB/s" in text
    assert "2.0 s left" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.endswith("mnist: 10.0 MB in 4.0 s\n")


def test_nothing_is_claimed_after_a_failure_or_without_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    with DownloadProgress(consoles, label="mnist"):
        pass

    def fail() -> None:
        with DownloadProgress(consoles, label="mnist") as show:
            show(5, 10)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    assert err.getvalue() == "mnist: 5 B of 10 B\n"


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch, quiet=True)
    with DownloadProgress(consoles, label="mnist") as show:
        show(10, 10)
    assert err.getvalue() == ""
