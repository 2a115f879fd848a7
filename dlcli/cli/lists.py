"""Lists on the command line: `--dims 2 20 200`, `--dims 2,20,200`, `--dims 2 --dims 20`.

All three mean the same. A list given with spaces ends at the first word that is not one of its
items. Also `--resume [RUN]`, an option whose value may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
import typer.core

from dlcli.engine.config import choices_of

ItemTest = Callable[[str], bool]


def is_int(word: str) -> bool:
    """Say whether a word is an integer."""
    return _reads(int, word)


def is_float(word: str) -> bool:
    """Say whether a word is a number."""
    return _reads(float, word)


def is_one_of(choices: Sequence[str]) -> ItemTest:
    """Return a test for membership in `choices`."""
    return lambda word: word in choices


def is_assignment(word: str) -> bool:
    """Say whether a word looks like `key.path=value`."""
    return "=" in word and not word.startswith("-")


def item_test(item: Any) -> ItemTest:
    """Return the test for items of a type: int, float, a `Literal`, or any word."""
    if item in (int, float):
        return is_int if item is int else is_float
    words = choices_of(item)
    return is_one_of(words) if words else lambda word: not word.startswith("-")


def gather(
    args: Sequence[str], *, lists: Mapping[str, ItemTest], optional: frozenset[str]
) -> list[str]:
    """Rewrite every form of a list into one `--flag=a,b,c`, and a bare `--resume` into `--resume=`.

    Args:
        args: the words after the command.
        lists: list flag → test for one item.
        optional: flags whose value may be left out.

    Raises:
        typer.BadParameter: a list flag is followed by no item; an empty list is `--flag=`.
    """
    out: list[str] = []
    found: dict[str, list[str]] = {}
    places: dict[int, str] = {}
    words = list(args)
    while words:
        word = words.pop(0)
        if word == "--":
            out += [word, *words]
            break
        flag, given, value = word.partition("=")
        if flag in lists:
            items = [value] if given else _take(words, lists[flag])
            if not items:
                raise typer.BadParameter(f"{flag} needs at least one value.")
            if flag not in found:
                places[len(out)] = flag
                out.append(flag)
            found.setdefault(flag, []).extend(items)
        elif word in optional:
            has_value = bool(words) and not words[0].startswith("-")
            out.append(f"{word}={words.pop(0) if has_value else ''}")
        else:
            out.append(word)
    for place, flag in places.items():
        out[place] = f"{flag}={_join(found[flag])}"
    return out


SEPARATOR = "\x1f"
"""Between the items of a list of assignments, which may contain commas themselves."""


def _join(items: Sequence[str]) -> str:
    if any("=" in item for item in items):
        return SEPARATOR.join(items)
    return ",".join(items)


def _take(words: list[str], test: ItemTest) -> list[str]:
    """Remove and return the items at the front of `words`; the first is taken whatever it is."""
    taken: list[str] = []
    while words:
        parts = [part for part in words[0].split(",") if part]
        fits = test(words[0]) or (bool(parts) and all(test(part) for part in parts))
        if not fits and (taken or words[0].startswith("-")):
            break
        taken.append(words.pop(0))
    return taken


def split(text: str) -> list[str]:
    """Split what `gather` joined into its items."""
    separator = SEPARATOR if SEPARATOR in text or "=" in text else ","
    return [item for item in text.split(separator) if item]


def _reads(kind: Callable[[str], object], word: str) -> bool:
    try:
        kind(word)
    except ValueError:
        return False
    return True


def command_class(
    *, lists: Mapping[str, ItemTest], optional: frozenset[str] = frozenset()
) -> type[typer.core.TyperCommand]:
    """Return a command class that understands list flags before anything is parsed."""

    class ListCommand(typer.core.TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            try:
                args = gather(args, lists=lists, optional=optional)
            except typer.BadParameter as error:
                error.ctx = ctx
                if not ctx.resilient_parsing:  # while a shell completes, a word may be missing
                    raise
            return super().parse_args(ctx, args)

    return ListCommand
