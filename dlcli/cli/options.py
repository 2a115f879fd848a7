"""Flags: the common ones, defined once, and those that come from a command's config dataclass.

`configured(VaeTrainConfig)` turns a function of a finished config into a Typer command: it adds a
flag for each `setting(…, flag=…)`, `--config`, `--set` and `--print-config`, merges them with the
stated precedence, and calls the function. Each flag's type, default, unit and help stand in the
dataclass and nowhere else.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcli.engine.config import (
    MAX_SHOWN,
    DataclassType,
    Key,
    bare,
    choices_of,
    dump_yaml,
    keys,
    load_yaml,
    merge,
    nest,
    parse_yaml,
    resolve,
    to_dict,
)
from dlcli.errors import ConfigError

if TYPE_CHECKING:
    from dlcli.display.console import Consoles


# -- Lists on the command line: `--dims 2 20 200`, `--dims 2,20,200`, `--dims 2 --dims 20`
# All three mean the same. A list given with spaces ends at the first word that is not one of its
# items. Also `--resume [RUN]`, an option whose value may be left out.

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


# -- What `--set` says: one assignment or a grid of them, as nested settings


def parse_assignments(text: str | None) -> dict[str, Any]:
    """Read `--set a.b=1 c=x` into nested settings; values are YAML."""
    import yaml

    merged: dict[str, Any] = {}
    for item in split(text or ""):
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
    for item in split(text or ""):
        path, equals, values = item.partition("=")
        axes.append([path + equals + value for value in _commas_outside_brackets(values)])
    cells = itertools.product(*axes)
    return {" ".join(cell): parse_assignments(SEPARATOR.join(cell)) for cell in cells}


def _commas_outside_brackets(text: str) -> list[str]:
    return re.findall(r"(?:\[[^\]]*\]|[^,\[])+", text) or [text]


EMPTY = "none"
"""How an empty list is written and shown."""

Advice = Callable[[dict[str, Any]], Mapping[str, Any]]

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only warnings.")]
DebugFlag = Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")]
OutFlag = Annotated[
    Path | None, typer.Option("--out", "-o", help="Where to write.", show_default=False)
]
RunFlag = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="A run folder, a name in runs/, `latest`, or pretrained:NAME. (default: the newest)",
        show_default=False,
    ),
]
_ConfigFlag = Annotated[
    Path | None, typer.Option("--config", help="A YAML file of settings.", show_default=False)
]
_SetFlag = Annotated[
    str | None,
    typer.Option(
        "--set",
        help="Any setting by its path, such as --set optim.lr=1.0e-4. May be repeated.",
        metavar="KEY=VALUE…",
        show_default=False,
    ),
]
_PrintFlag = Annotated[
    bool, typer.Option("--print-config", help="Print every value in force as YAML and stop.")
]


@dataclass(frozen=True, kw_only=True)
class Show:
    """How a command is to speak."""

    json: bool = False
    quiet: bool = False

    @property
    def consoles(self) -> Consoles:
        """Return the consoles that speak so; brings Rich."""
        from dlcli.display.console import Consoles

        return Consoles(json=self.json, quiet=self.quiet)


def plain(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--json`, `--quiet` and `--debug` to a command whose first parameter is `show: Show`."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    @functools.wraps(function)
    def command(*, json: bool, quiet: bool, debug: bool, **rest: Any) -> None:  # noqa: ARG001
        function(Show(json=json, quiet=quiet), **rest)

    _give_signature(command, [*own, *_SPEAKING])
    return command


def _print_config(config: DataclassType, *, as_json: bool) -> None:
    """Write settings to standard output."""
    from dlcli.display.console import to_json

    typer.echo(to_json(to_dict(config)) + "\n" if as_json else dump_yaml(config), nl=False)


def configured(
    cls: type[DataclassType],
    *,
    advice: Advice | None = None,
    base: Callable[[dict[str, Any]], Mapping[str, Any] | None] | None = None,
    grid: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn `function(config, show, **own)` into a command with a flag for each setting of `cls`.

    Args:
        cls: the config dataclass.
        advice: settings recommended for what the user chose (a named data set, say); weaker than
            anything the user wrote.
        base: a saved configuration that replaces the defaults and the advice (a run to resume),
            from the command's own parameters.
        grid: let `--set key=a,b,c` mean every value in turn; the function then gets a dictionary
            of label → config, one for each combination.
    """
    flagged = [key for key in keys(cls) if key.flag]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[2:]
        names = [parameter.name for parameter in own]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            rest = {name: given.pop(name) for name in names}
            show = Show(json=given.pop("json"), quiet=given.pop("quiet"))
            saved = base(rest) if base is not None else None
            cells = grid_of(given["set"]) if grid else {"": parse_assignments(given["set"])}
            configs = {
                label: _assemble(cls, given, cell, flagged=flagged, advice=advice, saved=saved)
                for label, cell in cells.items()
            }
            first = next(iter(configs.values()))
            if given["print_config"]:
                _print_config(first, as_json=show.json)
                return
            function(configs if grid else first, show, **rest)

        _give_signature(command, [*own, *map(_parameter, flagged), *_CONFIGURING, *_SPEAKING])
        return command

    return decorate


def list_flags(cls: type[DataclassType], **more: ItemTest) -> dict[str, ItemTest]:
    """Return the list flags of a config class with their item tests; `--set` is always one.

    Args:
        cls: the config dataclass.
        more: further list flags of the command itself, `dims=is_int` for `--dims`.
    """
    found: dict[str, ItemTest] = {"--set": is_assignment}
    for key in keys(cls):
        item = _item_type(key)
        if key.flag and item is not None:
            found[key.flag] = item_test(item)
    return found | {"--" + name.replace("_", "-"): test for name, test in more.items()}


def add_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., None],
    *,
    cls: type[DataclassType] | None = None,
    list_options: Mapping[str, ItemTest] | None = None,
    optional: frozenset[str] = frozenset(),
) -> None:
    """Register a command, with its list flags."""
    found = list_flags(cls) if cls is not None else {}
    found |= list_options or {}
    app.command(name, cls=command_class(lists=found, optional=optional))(function)


def _assemble(
    cls: type[DataclassType],
    given: Mapping[str, Any],
    assignments: dict[str, Any],
    *,
    flagged: list[Key],
    advice: Advice | None,
    saved: Mapping[str, Any] | None,
) -> DataclassType:
    """Default < data set's advice (or the saved run) < --config < --set < explicit flag."""
    file: Path | None = given["config"]
    layers = [load_yaml(file) if file is not None else {}]
    if file is not None:
        resolve(cls, layers, source=str(file))
    layers.append(assignments)
    resolve(cls, [layers[-1]], source="--set")
    layers.append(_flag_layer(given, flagged))
    if saved is not None:
        return resolve(cls, [saved, *layers])
    advised = advice(merge(*layers)) if advice is not None else {}
    return resolve(cls, [advised, *layers])


def _flag_layer(given: Mapping[str, Any], flagged: list[Key]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for key in flagged:
        value = given[_python_name(key)]
        if value is None:
            continue
        item = _item_type(key)
        if item is not None:
            empty = value == EMPTY and EMPTY not in choices_of(item)
            words = [] if empty else split(value)
            value = [_convert(word, item, flag=str(key.flag)) for word in words]
        layer = merge(layer, nest(key.path, value))
    return layer


def _convert(word: str, item: Any, *, flag: str) -> Any:
    if item not in (int, float):
        return word
    try:
        return item(word)
    except ValueError:
        kind = "integers" if item is int else "numbers"
        raise ConfigError(
            f"{flag} takes {kind}, not '{word}'.", hint=f"Write {flag} 2 20 200."
        ) from None


def _item_type(key: Key) -> Any:
    """Return the item type of a list setting, or None for a single value."""
    inner = bare(key.type)
    return bare(typing.get_args(inner)[0]) if typing.get_origin(inner) is tuple else None


def _python_name(key: Key) -> str:
    return str(key.flag).split("/")[0].lstrip("-").replace("-", "_")


def _parameter(key: Key) -> inspect.Parameter:
    """Describe the flag of one setting; None means that the user did not give it."""
    item = _item_type(key)
    inner = bare(key.type)
    choices = choices_of(item) if item is not None else ()
    annotation: Any = str if item is not None else inner
    metavar = None
    if item is not None:
        word = "|".join(choices) if choices else {int: "int", float: "float"}.get(item, "str")
        metavar = f"<{word}>…"
    text = f"{key.help} (default: {_default_text(key)})"
    option = typer.Option(
        str(key.flag), help=text, show_default=False, metavar=metavar, rich_help_panel=_panel(key)
    )
    return _keyword(_python_name(key), Annotated[annotation | None, option], None)


def _panel(key: Key) -> str:
    """Return the heading under which `--help` shows a setting: its group in the config."""
    group, dot, _ = key.path.partition(".")
    return group.capitalize() if dot else "Options"


def _default_text(key: Key) -> str:
    if isinstance(key.default, tuple):
        return " ".join(map(str, key.default)) or EMPTY
    if isinstance(key.default, bool):
        return "yes" if key.default else "no"
    return "none" if key.default is None else str(key.default)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


_CONFIGURING = [
    _keyword("config", _ConfigFlag, None),
    _keyword("set", _SetFlag, None),
    _keyword("print_config", _PrintFlag, False),
]
_SPEAKING = [
    _keyword("json", JsonFlag, False),
    _keyword("quiet", QuietFlag, False),
    _keyword("debug", DebugFlag, False),
]


def _give_signature(function: Any, parameters: list[inspect.Parameter]) -> None:
    """Make a function look, to Typer, as if it had been written with these parameters."""
    kinds = inspect.Parameter
    ordered = sorted(parameters, key=lambda p: p.kind is kinds.KEYWORD_ONLY)
    function.__signature__ = inspect.Signature(ordered)
    function.__annotations__ = {p.name: p.annotation for p in ordered}
    function.__wrapped__ = None
    del function.__wrapped__
