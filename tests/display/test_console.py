"""Results on one stream, everything else on the other, readable whatever the stream is."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from dlcli.display.console import (
    Consoles,
    emit,
    error_object,
    is_live,
    say,
    to_json,
    to_plain,
    write_file,
)
from dlcli.errors import ConfigError, DataError, DlError
from tests.display.terminals import AsciiPipe, Terminal, on_pipes, on_terminal


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


def test_what_a_stream_cannot_encode_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = AsciiPipe()
    monkeypatch.setattr("sys.stderr", stream)
    Consoles().notice("épreuve: 1.0 ± 0.1, 3 × 4 → 汉")
    assert stream.text() == "?preuve: 1.0 ? 0.1, 3 ? 4 ? ?\n"


def test_a_closed_pipe_is_the_callers_to_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):
        say(Consoles().out, "anyone there?")


# -- Files are whole or not there


def test_the_folder_is_made_and_the_path_is_absolute() -> None:
    path = write_file(Path("a folder/é/x.bin"), b"data")
    assert path == Path.cwd() / "a folder/é/x.bin"
    assert path.read_bytes() == b"data"
    assert [child.name for child in path.parent.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("place", ["file/x.png", "folder"])
def test_a_place_that_cannot_be_written_is_named(place: str) -> None:
    Path("file").write_text("in the way")
    Path("folder").mkdir()
    with pytest.raises(DlError) as caught:
        write_file(Path(place), b"data")
    assert str(Path.cwd() / place.split("/")[0]) in caught.value.message
    assert caught.value.hint


def test_what_was_there_stays_when_writing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(Path("x.png"), b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DlError, match="No space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [child.name for child in path.parent.iterdir()] == ["x.png"]


# -- Whatever goes in, what comes out is one line that a strict parser reads

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def strict(line: str) -> Any:
    """Parse like a parser that knows no NaN and no repeated keys."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    return json.loads(line, parse_constant=refuse, object_pairs_hook=once)


def with_nulls(value: Any) -> Any:
    """Say independently what `value` should read as."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [with_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: with_nulls(item) for key, item in value.items()}
    return value


@given(VALUES, st.booleans())
def test_any_value_is_one_line_of_strict_json_that_reads_back(value: Any, ascii_only: bool) -> None:
    line = to_json(value, ascii_only=ascii_only)
    assert len(line.splitlines()) == 1
    line.encode("ascii" if ascii_only else "utf-8")
    assert strict(line) == with_nulls(value)


@given(st.lists(st.floats(width=32), min_size=1, max_size=6))
def test_tensors_and_arrays_become_lists_with_nulls(values: list[float]) -> None:
    expected = with_nulls(values)
    assert strict(to_json(np.array(values, dtype=np.float32))) == expected
    assert strict(to_json(torch.tensor(values))) == expected
    assert strict(to_json({"x": torch.tensor(values)[0], "y": np.float32(values[0])})) == {
        "x": expected[0],
        "y": expected[0],
    }


def test_scalars_of_every_kind_become_plain_numbers() -> None:
    values = [np.int64(3), np.bool_(True), np.longdouble(0.5), torch.tensor(2), np.uint8(7)]
    assert to_plain(values) == [3, True, 0.5, 2, 7]
    assert all(type(item) in (int, bool, float) for item in to_plain(values))  # type: ignore[attr-defined]
    assert to_plain(torch.tensor([1.5], dtype=torch.bfloat16, requires_grad=True)) == [1.5]


def test_dataclasses_enums_paths_and_sets() -> None:
    @dataclasses.dataclass(frozen=True)
    class Inner:
        path: Path
        value: float

    class Verdict(Enum):
        PASS = "pass"

    found = to_plain({"a": Inner(Path("x/../y"), math.nan), "b": Verdict.PASS, "c": {"z", "y"}})
    assert found == {
        "a": {"path": str(Path.cwd() / "y"), "value": None},
        "b": "pass",
        "c": ["y", "z"],
    }


def test_keys_that_are_no_text_are_written_as_json_would() -> None:
    assert to_plain({3: "a", None: "b", True: "c", 2.5: "d"}) == {
        "3": "a", "null": "b", "true": "c", "2.5": "d",
    }  # fmt: skip


@pytest.mark.parametrize("value", [b"bytes", object(), {(1, 2): 3}, {1: 1, "1": 2}, iter([1])])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_json(value)


def test_line_ends_and_lone_surrogates_inside_strings_stay_inside() -> None:
    line = to_json({"s": "a\u2028b\x85c\nd\ud800"})
    assert len(line.splitlines()) == 1
    assert strict(line) == {"s": "a\u2028b\x85c\nd\ufffd"}


def test_emit_writes_one_line_and_loses_nothing_on_an_ascii_stream() -> None:
    stream = AsciiPipe()
    emit({"translation": "été — œuvre"}, file=stream)
    assert strict(stream.text()) == {"translation": "été — œuvre"}
    plain = io.StringIO()
    emit({"translation": "été"}, file=plain)
    assert plain.getvalue() == '{"translation": "été"}\n'


def test_an_error_is_an_object_with_kind_message_and_hint() -> None:
    error = DataError("MNIST is not here.", hint="Fetch it.")
    assert error_object(error) == {
        "error": {"kind": "data", "message": "MNIST is not here.", "hint": "Fetch it."}
    }
