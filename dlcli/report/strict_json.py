"""Results as strict JSON: one object a line, no NaN or Infinity, nothing that a parser may refuse.

Arrays and tensors are recognised by their `tolist`, so neither numpy nor torch is imported here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence, Set
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import IO, SupportsFloat, cast

from dlcli.errors import DlError

LONE_SURROGATES = re.compile("[\ud800-\udfff]")
# Legal inside JSON strings, yet line ends to Python's splitlines and to some editors.
LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def to_plain(value: object) -> object:
    """Turn `value` into None, bool, int, finite float, str, list and dict, all the way down.

    NaN and ±Infinity become None; arrays and tensors become (nested) lists, their scalars numbers;
    paths become absolute; dataclasses become dicts; sets become sorted lists.

    Raises:
        TypeError: something in `value` has no JSON form, or two keys read the same in JSON.
    """
    if isinstance(value, Enum):
        return to_plain(value.value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return LONE_SURROGATES.sub("\ufffd", value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return to_plain(os.path.abspath(value))
    if isinstance(value, date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: to_plain(getattr(value, item.name)) for item in dataclasses.fields(value)
        }
    return _collection(value)


def to_json(value: object, *, ascii_only: bool = False) -> str:
    """Write `value` as one line of strict JSON (RFC 8259); see `to_plain` for what becomes what."""
    line = json.dumps(to_plain(value), allow_nan=False, ensure_ascii=ascii_only)
    for character, escape in LINE_ENDS.items():
        line = line.replace(character, escape)
    return line


def emit(value: object, *, file: IO[str] | None = None) -> None:
    """Print `value` as one line of JSON on `file` (standard output) and flush it.

    The one object of `--json`, or one line of a JSON Lines stream: a reader at the other end of a
    pipe has it at once.
    """
    stream = file if file is not None else sys.stdout
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    stream.write(to_json(value, ascii_only=not encoding.startswith("utf")) + "\n")
    stream.flush()


def error_object(error: DlError) -> dict[str, dict[str, str]]:
    """Describe a failure the way `--json` prints it."""
    return {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}


def _collection(value: object) -> object:
    if isinstance(value, Mapping):
        plain = {_key(key): to_plain(item) for key, item in value.items()}
        if len(plain) != len(value):
            raise TypeError("two keys of a mapping read the same in JSON")
        return plain
    if isinstance(value, Set):
        return sorted((to_plain(item) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [to_plain(item) for item in value]
    tolist = getattr(value, "tolist", None)
    if tolist is None or isinstance(value, memoryview):
        raise TypeError(f"{type(value).__name__} has no JSON form")
    listed = tolist()
    if type(listed) is type(value):  # numpy's long double is its own Python scalar
        return to_plain(float(cast(SupportsFloat, listed)))
    return to_plain(listed)


def _key(key: object) -> str:
    plain = to_plain(key)
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain)
    raise TypeError(f"{type(key).__name__} cannot be a key in JSON")
