"""Whatever goes in, what comes out is one line that a strict parser reads."""

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

from dlcli.display.console import emit, error_object, to_json, to_plain
from dlcli.errors import DataError
from tests.report.terminals import AsciiPipe

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
