"""The room's public names load on demand, and each is what it says."""

from __future__ import annotations

import subprocess
import sys

import dlcli.vae


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_every_public_name_is_a_documented_class_or_function() -> None:
    code = """
import types, dlcli.vae as room
for name in room.__all__:
    found = getattr(room, name)
    assert not isinstance(found, types.ModuleType), name
    assert found.__name__ == name and found.__doc__, name
print(len(room.__all__))
"""
    assert int(python(code)) == len(dlcli.vae.__all__)


def test_opening_the_room_imports_neither_torch_nor_pydantic() -> None:
    code = "import sys, dlcli.vae; print(sorted({'torch', 'pydantic'} & set(sys.modules)))"
    assert python(code) == "[]"
