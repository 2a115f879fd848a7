"""One line that says everything that changes a number.

sacreBLEU's idea, applied to every figure this package prints: two numbers with the same signature
were measured in the same way.
"""

from __future__ import annotations

from dlcli import __version__


def signature(**parts: object) -> str:
    """Join `parts` as `key:value|key:value|…|version:X`, in the order given.

    Parts that are None are left out; underscores in keys become hyphens; lists get commas.
    """
    fields = [
        f"{key.replace('_', '-')}:{_text(value)}"
        for key, value in parts.items()
        if value is not None
    ]
    return "|".join([*fields, f"version:dlcli-{__version__}"])


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace("|", "/")
