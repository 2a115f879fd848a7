"""Results on one stream, everything else on the other, readable whatever the stream is."""

from __future__ import annotations

import json

import pytest
from rich.text import Text

from dlcli.display.console import Consoles, is_live, say, spell
from dlcli.errors import ConfigError
from tests.report.terminals import AsciiPipe, Terminal, on_pipes, on_terminal


def test_results_go_to_stdout_and_the_rest_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, err = on_pipes(monkeypatch)
    consoles.result({"a": 1}, "a is 1", Text("and more"))
    consoles.notice("noted")
    consoles.warning("careful")
    assert out.getvalue() == "a is 1\nand more\n"
    assert err.getvalue() == "noted\nwarning: careful\n"


def test_quiet_keeps_warnings_errors_and_results(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, err = on_pipes(monkeypatch, quiet=True)
    consoles.result({}, "result")
    consoles.notice("noted")
    consoles.warning("careful")
    consoles.failure(ConfigError("wrong.", hint="do this."))
    assert out.getvalue() == "result\n"
    assert err.getvalue() == "warning: careful\nerror: wrong.\ndo this.\n"


def test_json_puts_one_object_on_stdout_for_results_and_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, out, _ = on_pipes(monkeypatch, json=True)
    consoles.result({"a": float("nan")}, "not shown")
    consoles.failure(ConfigError("wrong.", hint="do this."))
    first, second = out.getvalue().splitlines()
    assert json.loads(first) == {"a": None}
    assert json.loads(second)["error"] == {
        "kind": "config", "message": "wrong.", "hint": "do this.",
    }  # fmt: skip


def test_long_lines_and_square_brackets_come_out_as_they_went_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, out, _ = on_pipes(monkeypatch)
    message = "[bold]/a/path/[x]/" + "long " * 60 + ":smile:"
    consoles.result({}, message)
    assert out.getvalue() == message + "\n"


def test_a_pipe_gets_no_colour_and_a_terminal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    consoles.warning("careful")
    assert "\x1b" not in err.getvalue()
    consoles, _, err = on_terminal(monkeypatch)
    consoles.warning("careful")
    assert "\x1b[33m" in err.getvalue()


def test_no_color_and_dumb_terminals_get_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch, no_color=True)
    consoles.warning("careful")
    assert "\x1b[3" not in err.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("NO_COLOR")
    dumb = Consoles()
    assert not is_live(dumb.err)
    dumb.warning("careful")
    assert err.getvalue().endswith("warning: careful\n")


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_columns_sets_the_width_on_any_terminal(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "47")
    assert Consoles().out.width == 47


def test_a_bar_may_be_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_live(on_terminal(monkeypatch)[0].err)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not is_live(on_pipes(monkeypatch)[0].err)


def test_a_stream_that_cannot_take_more_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = AsciiPipe()
    monkeypatch.setattr("sys.stderr", stream)
    Consoles().notice("épreuve: 1.0 ± 0.1, 3 × 4 → 汉")
    assert stream.text() == "epreuve: 1.0 +/- 0.1, 3 x 4 -> ?\n"


def test_spelling_leaves_alone_what_the_encoding_has() -> None:
    assert spell("é ± …", encoding="latin-1") == "é ± ..."


def test_a_closed_pipe_is_the_callers_to_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):
        say(Consoles().out, "anyone there?")


def test_streams_that_are_exchanged_later_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, _ = on_pipes(monkeypatch)
    later = Terminal()
    monkeypatch.setattr("sys.stdout", later)
    consoles.result({}, "late")
    assert "late" in later.getvalue()
