"""Rooms that name their public functions without importing them (PEP 562).

`dl --help` must not wait for torch, yet `from dlcli.vae import train` must work: a room's
`__init__` lists where each name lives, and the module is imported at the first use of the name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def exports(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Build the `__getattr__`, `__dir__` and `__all__` of a package that loads names on demand.

    Args:
        package: the package's `__name__`.
        names: public name → dotted module that defines it.
    """
    public = sorted(names)

    def __getattr__(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(names[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return public

    return __getattr__, __dir__, public
