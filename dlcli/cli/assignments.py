"""What `--set` says: one assignment or a grid of them, as nested settings."""

from __future__ import annotations

import itertools
import re
from typing import Any

from dlcli.cli import lists
from dlcli.engine.config import MAX_SHOWN, merge, nest
from dlcli.engine.config_file import parse_yaml
from dlcli.errors import ConfigError


def parse_assignments(text: str | None) -> dict[str, Any]:
    """Read `--set a.b=1 c=x` into nested settings; values are YAML."""
    import yaml

    merged: dict[str, Any] = {}
    for item in lists.split(text or ""):
        path, equals, value = item.partition("=")
        if not equals or not path:
            raise ConfigError(
                f"--set cannot read '{item}'.",
                hint="Write --set KEY=VALUE, such as optim.lr=1.0e-4.",
            )
        try:
            merged = merge(merged, nest(path, parse_yaml(value)[0]))
        except (yaml.YAMLError, ValueError, RecursionError):
            shown = item if len(item) <= MAX_SHOWN else item[:MAX_SHOWN] + "…"
            raise ConfigError(
                f"--set cannot read the value of '{shown}'.",
                hint="Quote it, or write a plain number or word.",
            ) from None
    return merged


def grid_of(text: str | None) -> dict[str, dict[str, Any]]:
    """Read `a.b=1,2 c=x,y` into every combination: label → nested settings."""
    axes: list[list[str]] = []
    for item in lists.split(text or ""):
        path, equals, values = item.partition("=")
        axes.append([path + equals + value for value in _commas_outside_brackets(values)])
    cells = itertools.product(*axes)
    return {" ".join(cell): parse_assignments(lists.SEPARATOR.join(cell)) for cell in cells}


def _commas_outside_brackets(text: str) -> list[str]:
    return re.findall(r"(?:\[[^\]]*\]|[^,\[])+", text) or [text]
