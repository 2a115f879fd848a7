"""Results on one stream, everything else on the other; JSON that a strict parser reads; files."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from dlcli.display.console import Consoles, emit, is_live, say, to_json, write_file
from dlcli.errors import ConfigError, DlError
from tests.display.terminals import AsciiPipe, Terminal, on_pipes, on_terminal


@pytest.mark.parametrize("quiet", [False, True])
def test_results_go_to_stdout_and_the_rest_to_stderr(
    monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    consoles, out, err = on_pipes(monkeypatch, quiet=quiet)
    consoles.result({"a": 1}, "a is 1", Text("and more"))
    consoles.notice("noted")
    consoles.warning("careful")
    consoles.failure(ConfigError("wrong.", hint="do this."))
    assert out.getvalue() == "a is 1\nand more\n"
    noted = "" if quiet else "noted\n"
    assert err.getvalue() == f"{noted}warning: careful\nerror: wrong.\ndo this.\n"


def test_json_is_one_object_for_a_result_or_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_pipes(monkeypatch, json=True)
    consoles.result({"a": float("nan")}, "not shown")
    consoles.failure(ConfigError("wrong.", hint="do this."))
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first == {"a": None}
    assert second == {"error": {"kind": "config", "message": "wrong.", "hint": "do this."}}


def test_long_lines_and_square_brackets_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_pipes(monkeypatch)
    message = "[bold]/a/path/[x]/" + "long " * 60 + ":smile:"
    consoles.result({}, message)
    assert out.getvalue() == message + "\n"


def test_a_terminal_gets_lines_that_end_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_terminal(monkeypatch, columns=20)
    consoles.result({}, "  one two three four five", "a" * 30 + " b", "tab\t" + "c" * 30)
    lines = ["  one two three four", "  five", "a" * 30, "b", "tab\t" + "c" * 30]
    assert out.getvalue().splitlines() == lines


def test_only_terminals_that_want_it_get_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    for (consoles, _, err), has_colour in (
        (on_pipes(monkeypatch), False),
        (on_terminal(monkeypatch), True),
        (on_terminal(monkeypatch, no_color=True), False),
    ):
        consoles.warning("careful")
        assert ("\x1b[33m" in err.getvalue()) == has_colour


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_columns_sets_the_width_of_any_terminal(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    on_terminal(monkeypatch, columns=47)
    monkeypatch.setenv("TERM", term)
    assert Consoles().out.width == 47


def test_bars_are_for_terminals_that_can_redraw(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_live(on_terminal(monkeypatch)[0].err)
    monkeypatch.setenv("FORCE_COLOR", "1")
    consoles, _, err = on_pipes(monkeypatch)
    assert not is_live(consoles.err)
    err.close()
    assert not is_live(consoles.err)
    on_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert not is_live(Consoles().err)


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


def test_a_file_is_written_whole_and_its_folder_made(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(Path("a folder/é/x.bin"), b"old")
    assert path == Path.cwd() / "a folder/é/x.bin"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DlError, match="No space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [child.name for child in path.parent.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("place", ["file/x.png", "folder"])
def test_a_place_that_cannot_be_written_is_named(place: str) -> None:
    Path("file").write_text("in the way")
    Path("folder").mkdir()
    with pytest.raises(DlError) as caught:
        write_file(Path(place), b"data")
    assert str(Path.cwd() / place.split("/")[0]) in caught.value.message
    assert caught.value.hint


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def with_nulls(value: Any) -> Any:
    """Return what `value` should read back as."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [with_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: with_nulls(item) for key, item in value.items()}
    return value


@given(VALUES, st.booleans())
def test_any_value_is_one_line_of_strict_json(value: Any, ascii_only: bool) -> None:
    line = to_json(value, ascii_only=ascii_only)
    assert len(line.splitlines()) == 1
    line.encode("ascii" if ascii_only else "utf-8")
    assert json.loads(line) == with_nulls(value)


@dataclass(frozen=True)
class Inner:
    path: Path
    value: float


class Verdict(Enum):
    PASS = "pass"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array([0.5, math.nan, -math.inf], dtype=np.float32), "[0.5, null, null]"),
        (torch.tensor([[1.5]], dtype=torch.bfloat16, requires_grad=True), "[[1.5]]"),
        ({"x": torch.tensor(2), "y": torch.tensor(math.nan)}, '{"x": 2, "y": null}'),
        ([np.int64(3), np.bool_(True), np.longdouble(0.5), np.uint8(7)], "[3, true, 0.5, 7]"),
        ({"a": Verdict.PASS, "b": {"z", "y"}}, '{"a": "pass", "b": ["y", "z"]}'),
        (Inner(Path("/x/../y"), math.nan), '{"path": "/y", "value": null}'),
        ({3: "a", None: "b", True: 0, 2.5: 1}, '{"3": "a", "null": "b", "true": 0, "2.5": 1}'),
        ("a\u2028b\x85c\nd\ud800", '"a\\u2028b\\u0085c\\nd\ufffd"'),
    ],
)
def test_arrays_tensors_and_other_objects_have_a_json_form(value: object, text: str) -> None:
    assert to_json(value) == text


@pytest.mark.parametrize("value", [b"bytes", object(), {(1, 2): 3}, {1: 1, "1": 2}, iter([1])])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_json(value)


def test_json_loses_nothing_on_an_ascii_stream() -> None:
    stream, plain = AsciiPipe(), io.StringIO()
    emit({"translation": "été — œuvre"}, file=stream)
    assert json.loads(stream.text()) == {"translation": "été — œuvre"}
    emit({"translation": "été"}, file=plain)
    assert plain.getvalue() == '{"translation": "été"}\n'
