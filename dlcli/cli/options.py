"""How a function becomes a command: its flags, lists of values, and settings in layers.

`@plain` makes a command of `function(consoles, *, …)`. `@configured(VaeTrainConfig)` makes one of
`function(config, consoles, *, …)`: it adds a flag for each `setting(…, flag=…)`, and `--config`,
`--set` and `--print-config`, merges them with the stated precedence, and calls the function. Each
flag's type, default, unit and help stand in the dataclass and nowhere else. The help of the command
is the function's docstring, and the lines below its `Examples:` are shown as they are.

A parameter of type `tuple[int, ...]` is a list flag: `--dims 2 20 200`, `--dims 2,20,200` and
`--dims 2 --dims 20 --dims 200` mean the same, and a list given with spaces ends at the first word
that is none of its items. A flag whose metavar is in brackets, such as `--resume [RUN]`, may stand
without a value.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import re
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NewType

import typer
from typer.models import OptionInfo

from dlcli.display.console import Consoles, to_json
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
from dlcli.errors import ConfigError, UsageFault

UsageError: Any = typer.BadParameter.__base__
"""What Typer raises for words that it cannot read."""
Assignment = NewType("Assignment", str)
"""An item of `--set`: `key.path=value`."""


def complete_run(incomplete: str) -> list[str]:
    """Offer a shell the runs under runs/ and the packaged models."""
    from dlcli import pretrained
    from dlcli.engine.runs import RUNS, list_runs

    runs = [run.path.relative_to(RUNS.absolute()).as_posix() for run in list_runs()]
    return [name for name in ("latest", *runs, *pretrained.names()) if name.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """Offer a shell the data sets that have names."""
    from dlcli.data.catalogue import DATA_SETS

    return [one.name for one in DATA_SETS if one.name.startswith(incomplete)]


RunFlag = Annotated[
    str | None,
    typer.Option(
        "--run",
        autocompletion=complete_run,
        help="A run folder, a name in runs/, `latest`, or pretrained:NAME of `dl models`. "
        "(default: the newest)",
    ),
]
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="The same as --run.", autocompletion=complete_run),
]
CheckpointFlag = Annotated[
    str | None,
    typer.Option("--checkpoint", help="best, last or epoch-0010. (default: the run's result)"),
]
OutFlag = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write.")]
SeedFlag = Annotated[int, typer.Option("--seed", min=0, help="One number for every random choice.")]
ThreadsFlag = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        max=1024,
        help="CPU threads; 0 chooses (to train, one a free core).",
    ),
]
PageFlag = Annotated[Path, typer.Option("--out", "-o", help="The page, an .html file.")]
OpenFlag = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]
OfflineFlag = Annotated[bool, typer.Option("--offline", help="Never ask the network for data.")]

_ConfigFlag = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.")]
_SetFlag = Annotated[
    tuple[Assignment, ...] | None,
    typer.Option(
        "--set",
        help="Any setting by its path, such as --set optim.lr=1e-4. May be repeated.",
        metavar="KEY=VALUE…",
    ),
]
_PrintFlag = Annotated[
    bool, typer.Option("--print-config", help="Print every value in force as YAML and stop.")
]
_JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
_QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only warnings.")]
_DebugFlag = Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")]


@dataclass(frozen=True)
class Command:
    """A function that Typer can call, and what to do to the words before Typer reads them."""

    function: Callable[..., None]
    lists: Mapping[str, Any]
    """List flag → the type of its items."""
    optional: frozenset[str]
    """Flags that may stand without a value."""
    examples: tuple[str, ...]
    """Command lines to show below the help."""
    alone_is_help: bool = False
    """Whether the command without any word shows its help."""

    def add_to(self, app: typer.Typer, name: str) -> None:
        """Register the command in a program."""
        lists, optional = self.lists, self.optional

        class ListCommand(typer.core.TyperCommand):
            def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
                try:
                    if not ctx.resilient_parsing:  # while a shell completes, a word may be missing
                        args = gather(args, lists=lists, optional=optional)
                    if any(param.metavar == TEXT for param in self.params):
                        args = text_last(args, options=self.get_params(ctx))
                    return super().parse_args(ctx, args)
                except UsageError as error:
                    error.ctx = error.ctx or ctx  # whose help is meant
                    raise

        lines = "\n".join(f"  {example}" for example in self.examples)
        epilog = f"\b\nExamples:\n{lines}" if lines else None  # \b: keep the lines apart
        decorate = app.command(
            name, cls=ListCommand, epilog=epilog, no_args_is_help=self.alone_is_help
        )
        decorate(self.function)


def plain(function: Callable[..., None]) -> Command:
    """Make a command of `function(consoles, **own)`: its own flags and `--json`, `--quiet`."""
    own = _parameters_of(function)[1:]

    def call(*, json: bool, quiet: bool, debug: bool, **rest: Any) -> None:  # noqa: ARG001
        function(Consoles(json=json, quiet=quiet), **rest)

    return _command(call, like=function, own=own, common=_SHOWING)


def computing(function: Callable[..., None]) -> Command:
    """Make a command as `plain` does, with `--threads` too, which it need not look at."""
    own = _parameters_of(function)[1:]

    def call(*, threads: int, json: bool, quiet: bool, debug: bool, **rest: Any) -> None:  # noqa: ARG001
        if threads:
            from dlcli.engine.device import use_threads

            use_threads(threads)
        function(Consoles(json=json, quiet=quiet), **rest)

    common = [_keyword("threads", ThreadsFlag, 0), *_SHOWING]
    return _command(call, like=function, own=own, common=common)


Advice = Callable[[dict[str, Any]], Mapping[str, Any]]
Shorthand = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From the command's own parameters to the settings that they stand for."""
Settle = Callable[[Mapping[str, Any], Mapping[str, Any], Consoles], Mapping[str, Mapping[str, Any]]]
"""From configs by their labels, and the command's own parameters, to settings by label."""


def configured(
    cls: type[DataclassType],
    *,
    advice: Advice | None = None,
    settle: Settle | None = None,
    base: Callable[[dict[str, Any]], Mapping[str, Any] | None] | None = None,
    shorthand: Shorthand | None = None,
    grid: bool = False,
    alone_is_help: bool = False,
) -> Callable[[Callable[..., None]], Command]:
    """Make a command of `function(config, consoles, **own)`, with a flag for each setting of `cls`.

    Args:
        cls: the config dataclass.
        advice: settings recommended for what the user chose (a named data set, say); weaker than
            anything the user wrote.
        settle: settings that are found out once the others are valid and before the command runs
            (which data set can be had, say); not where there is a saved configuration.
        base: a saved configuration that replaces the defaults and the advice (a run to resume),
            from the command's own parameters.
        shorthand: settings that the command's own parameters stand for; as strong as flags.
        grid: let `--set key=a,b,c` mean every value in turn; the function then gets a dictionary
            of label → config, one for each combination.
        alone_is_help: let the command without any word show its help.
    """
    flagged = {_python_name(key): key for key in keys(cls) if key.flag}
    settings = [_parameter(name, key) for name, key in flagged.items()]

    def decorate(function: Callable[..., None]) -> Command:
        own = _parameters_of(function)[2:]

        def call(**given: Any) -> None:
            rest = {parameter.name: given.pop(parameter.name) for parameter in own}
            consoles = Consoles(json=given["json"], quiet=given["quiet"])
            flags = merge(
                *(nest(key.path, given[name]) for name, key in flagged.items()
                  if given[name] is not None),
                shorthand(rest) if shorthand is not None else {},
            )  # fmt: skip
            saved = base(rest) if base is not None else None
            cells = grid_of(given["set"]) if grid else {"": parse_assignments(given["set"])}

            def assemble(found: Mapping[str, Mapping[str, Any]]) -> dict[str, DataclassType]:
                layers = {label: merge(flags, found.get(label, {})) for label in cells}
                return {
                    label: _assemble(cls, given["config"], cell, layers[label], advice, saved)
                    for label, cell in cells.items()
                }

            configs = assemble({})
            if settle is not None and saved is None and not given["print_config"]:
                configs = assemble(settle(configs, rest, consoles))
            first = next(iter(configs.values()))
            if given["print_config"]:
                text = to_json(to_dict(first)) + "\n" if consoles.json else dump_yaml(first)
                typer.echo(text, nl=False)
            else:
                function(configs if grid else first, consoles, **rest)

        common = [*settings, *_CONFIGURING, *_SHOWING]
        command = _command(call, like=function, own=own, common=common)
        return replace(command, alone_is_help=alone_is_help)

    return decorate


def one_run(name: str | None, run: str | None) -> str | None:
    """Return the run that RUN or `--run` names.

    Raises:
        UsageFault: they name two.
    """
    if name is not None and run is not None and name != run:
        raise UsageFault(f"'{name}' and --run {run} are two runs.", hint="Name one of them.")
    return run or name


def _assemble(
    cls: type[DataclassType],
    file: Path | None,
    assignments: dict[str, Any],
    flags: dict[str, Any],
    advice: Advice | None,
    saved: Mapping[str, Any] | None,
) -> DataclassType:
    """Default < data set's advice (or the saved run) < --config < --set < explicit flag."""
    in_file = load_yaml(file) if file is not None else {}
    resolve(cls, [in_file], source=str(file))
    resolve(cls, [assignments], source="--set")
    layers = [in_file, assignments, flags]
    if saved is None and advice is not None:
        saved = advice(merge(*layers))
    return resolve(cls, [saved or {}, *layers])


def _command(
    call: Callable[..., None],
    *,
    like: Callable[..., None],
    own: list[inspect.Parameter],
    common: list[inspect.Parameter],
) -> Command:
    """Give Typer a function whose list flags are texts, and read these before `call`."""
    lists: dict[str, tuple[str, Any]] = {}
    optional: set[str] = set()
    shown = []
    for parameter in [*own, *common]:
        hint, option = typing.get_args(parameter.annotation)
        item = _item_type(hint)
        if item is not None:
            lists[parameter.name] = (option.default, item)
            parameter = _as_text(parameter, option, item)
        if isinstance(option, OptionInfo) and str(option.metavar).startswith("["):
            optional.add(str(option.default))
        shown.append(parameter)
    required = {parameter.name for parameter in own}

    def command(**given: Any) -> None:
        for name, (flag, item) in lists.items():
            if given[name] is not None:
                given[name] = read_items(given[name], item, flag=flag, required=name in required)
        call(**given)

    ordered = sorted(shown, key=lambda parameter: parameter.kind)
    command.__doc__, examples = _help_and_examples(like)
    command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return Command(command, dict(lists.values()), frozenset(optional), examples)


def _help_and_examples(function: Callable[..., None]) -> tuple[str, tuple[str, ...]]:
    """Take a docstring apart: its text, and the lines of its section `Examples:`."""
    text, _, section = (inspect.getdoc(function) or "").partition("\nExamples:\n")
    return text.strip(), tuple(line.strip() for line in section.splitlines())


def _parameters_of(function: Callable[..., None]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _item_type(hint: Any) -> Any:
    """Return the item type of a list setting, `tuple[int, ...]`, or None for a single value."""
    inner = bare(hint)
    return bare(typing.get_args(inner)[0]) if typing.get_origin(inner) is tuple else None


def _as_text(parameter: inspect.Parameter, option: Any, item: Any) -> inspect.Parameter:
    """Make of a list flag what Typer knows: text, shown as `<int>…`."""
    option = copy.copy(option)
    if option.metavar is None:
        names = {int: "int", float: "float"}
        option.metavar = f"<{'|'.join(choices_of(item)) or names.get(item, 'str')}>…"
    default = parameter.default
    if default is not None:
        default = ",".join(map(str, default))
    return parameter.replace(annotation=Annotated[str | None, option], default=default)


def _python_name(key: Key) -> str:
    return str(key.flag).split("/")[0].lstrip("-").replace("-", "_")


def _parameter(name: str, key: Key) -> inspect.Parameter:
    """Describe the flag of one setting; None means that the user did not give it."""
    group, dot, _ = key.path.partition(".")
    option = typer.Option(
        str(key.flag),
        help=f"{key.help} (default: {_default_text(key.default)})",
        rich_help_panel=group.capitalize() if dot else "Options",
        autocompletion=complete_data if key.flag == "--data" else None,
    )
    return _keyword(name, Annotated[bare(key.type) | None, option], None)


def _default_text(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(map(str, default)) or EMPTY
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "none" if default is None else str(default)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


_CONFIGURING = [
    _keyword("config", _ConfigFlag, None),
    _keyword("set", _SetFlag, None),
    _keyword("print_config", _PrintFlag, False),
]
_SHOWING = [
    _keyword("json", _JsonFlag, False),
    _keyword("quiet", _QuietFlag, False),
    _keyword("debug", _DebugFlag, False),
]

SEPARATOR = "\x1f"
"""Between the words of a list on their way through Typer; assignments have commas of their own."""
EMPTY = "none"
"""How an empty list is written and shown."""


def gather(args: Sequence[str], *, lists: Mapping[str, Any], optional: frozenset[str]) -> list[str]:
    """Rewrite every form of a list into one `--flag=…`, and a bare `--resume` into `--resume=`.

    Args:
        args: the words after the command.
        lists: list flag → the type of its items.
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
        out[place] = f"{flag}={SEPARATOR.join(found[flag])}"
    return out


def _take(words: list[str], item: Any) -> list[str]:
    """Remove and return the items at the front of `words`; the first is taken whatever it is."""
    taken: list[str] = []
    while words:
        parts = [part for part in words[0].split(",") if part]
        fits = _fits(words[0], item) or (parts and all(_fits(part, item) for part in parts))
        if not fits and (taken or words[0].startswith("-")):
            break
        taken.append(words.pop(0))
    return taken


def _fits(word: str, item: Any) -> bool:
    """Say whether a word is an item of a type: a number, a choice, an assignment, or any word."""
    if item in (int, float):
        try:
            item(word)
        except ValueError:
            return False
        return True
    if choices_of(item):
        return word in choices_of(item)
    return not word.startswith("-") and (item is not Assignment or "=" in word)


TEXT = "[TEXT]"
"""The metavar of an argument that takes any text, also one that begins with a dash."""


def text_last(args: Sequence[str], *, options: Iterable[Any]) -> list[str]:
    """Put words that begin with a dash and are text, such as `- I agree.`, behind a `--`.

    Text has a space in it, or is of no form that a flag has, or begins with a single dash and no
    known letter. `--beem` stays what it is: a flag that there is not.

    Args:
        args: the words after the command.
        options: of the command, as Typer holds them.
    """
    takes_value = {
        name: not option.is_flag
        for option in options
        if option.param_type_name == "option"
        for name in (*option.opts, *option.secondary_opts)
    }
    flags, texts, words = list[str](), list[str](), list(args)
    while words:
        word = words.pop(0)
        if word == "--":
            texts += words
            break
        if takes_value.get(word):
            flags += [word, *words[:1]]
            del words[:1]
        elif _is_text(word, known=takes_value):
            texts.append(word)
        else:
            flags.append(word)
    return [*flags, "--", *texts]


def _is_text(word: str, *, known: Collection[str]) -> bool:
    if not word.startswith("-") or word == "-" or word.partition("=")[0] in known:
        return False
    if any(character.isspace() for character in word):
        return True
    return word[:2] not in known and not re.fullmatch(r"--[A-Za-z][\w-]*(=.*)?", word)


def read_items(text: str, item: Any, *, flag: str, required: bool = False) -> tuple[Any, ...]:
    """Read what `gather` joined into values.

    Args:
        text: words apart by `SEPARATOR`, and by commas where these are no assignments.
        item: the type of the values.
        flag: what errors call it.
        required: refuse an empty list; otherwise `none` is one.

    Raises:
        UsageFault or ConfigError: a word is no number, or the list is empty.
    """
    example = {int: "2 12", float: "1 0.5"}.get(item, "VALUE")
    words = [word for word in text.split(SEPARATOR) if word]
    if item is not Assignment:
        words = [part for word in words for part in word.split(",") if part]
        if words == [EMPTY] and EMPTY not in choices_of(item) and not required:
            return ()
    if required and not words:
        raise UsageFault(f"{flag} needs at least one value.", hint=f"Write {flag} {example}.")
    if item not in (int, float):
        return tuple(words)
    for word in words:
        if not _fits(word, item):
            raise (UsageFault if required else ConfigError)(
                f"{flag} takes {'integers' if item is int else 'numbers'}, not '{word}'.",
                hint=f"Write {flag} {example}.",
            )
    return tuple(map(item, words))


def parse_assignments(items: Iterable[str] | None) -> dict[str, Any]:
    """Read `a.b=1`, `c=x` into nested settings; values are YAML."""
    import yaml

    merged: dict[str, Any] = {}
    for item in items or ():
        path, equals, value = item.partition("=")
        if not equals or not path:
            raise ConfigError(
                f"--set cannot read '{item}'.",
                hint="Write --set KEY=VALUE, such as optim.lr=1e-4.",
            )
        try:
            merged = merge(merged, nest(path, parse_yaml(value, source="--set")[0]))
        except (yaml.YAMLError, ValueError, RecursionError):
            shown = item if len(item) <= MAX_SHOWN else item[:MAX_SHOWN] + "…"
            raise ConfigError(
                f"--set cannot read the value of '{shown}'.",
                hint="Quote it, or write a plain number or word.",
            ) from None
    return merged


def grid_of(items: Iterable[str] | None) -> dict[str, dict[str, Any]]:
    """Read `a.b=1,2`, `c=x,y` into every combination: label → nested settings."""
    axes: list[list[str]] = []
    for item in items or ():
        path, equals, values = item.partition("=")
        parts = re.findall(r"(?:\[[^\]]*\]|[^,\[])+", values) or [values]  # commas in [ ] stay
        axes.append([path + equals + value for value in parts])
    return {" ".join(cell): parse_assignments(cell) for cell in itertools.product(*axes)}
