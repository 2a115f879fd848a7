"""Configuration: frozen dataclasses in, one validated object out.

A concept's settings live in a dataclass beside the code they configure, and each default stands
there once. Layers of plain dictionaries (a data set's advice, a YAML file, `--set`, flags) are
merged over the defaults and validated by pydantic in strict mode. Reading the fields, as `--help`
does, needs neither pydantic nor torch.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from dlcli import __version__
from dlcli.errors import ConfigError, in_words, nearest

MOST_VALUES = 100_000
"""Of a file of settings, its aliases written out."""
STRICT: Any = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
"""Class attribute `__pydantic_config__` of every config dataclass."""
UNKNOWN, NO_GROUP = MISPLACED = ("unexpected_keyword_argument", "dataclass_type")
"""Pydantic's words for a key that no class has, and for a value in the place of a whole group."""
MAX_SHOWN = 80
"""Characters of a wrong value that an error repeats."""


class DataclassType(Protocol):
    """Any dataclass instance."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


C = TypeVar("C", bound=DataclassType)


def setting(
    default: Any,
    *,
    help: str,
    flag: str | None = None,
    source: str = "",
    signature: str | None = "",
) -> Any:
    """Declare a config field: its default, what it means, its unit, and its flag if it has one.

    Args:
        default: the one place where this default is written.
        help: meaning and unit, one line, without the default (it is added where shown).
        flag: a command-line flag such as `--latent-dim`, or None for `--set` only.
        source: where the default comes from, for the comments of `configs/*.yaml`.
        signature: the part of a signature that shows it, always; "" shows it under its own name
            where it is not the default, and None never (see `settings_signature`).
    """
    metadata = {"help": help, "flag": flag, "source": source, "signature": signature}
    return dataclasses.field(default=default, metadata=metadata)


def setting_like(cls: type[DataclassType], name: str, **changes: Any) -> Any:
    """Declare a field like one of another config class, with some of its properties changed."""
    found = cls.__dataclass_fields__[name]
    return setting(**{"default": found.default, **found.metadata, **changes})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """One leaf of a config: where it is, its bare type, and what `setting` said of it."""

    path: str
    type: Any
    default: Any
    help: str
    flag: str | None
    source: str
    signature: str | None

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words, for a field typed as a `Literal`."""
        return choices_of(self.type)


def flags_of_difference(config: DataclassType, saved: Mapping[str, Any]) -> str:
    """Write the flags that turn these settings into saved ones, as one types them.

    Args:
        config: settings.
        saved: those of the same class in another run, as plain values; what is missing is usual.
    """
    words = []
    for key in keys(type(config)):
        value, now = saved.get(key.path, key.default), getattr(config, key.path)
        value = tuple(value) if isinstance(value, list) else value
        if key.flag is None or value == now:
            continue
        on, _, off = key.flag.partition("/")
        if isinstance(value, bool):
            words.append(on if value else off)
        else:
            each = value if isinstance(value, tuple) else (value,)
            words.append(" ".join([on, *map(str, each)]))
    return " ".join(words)


def keys(cls: type[DataclassType], *, prefix: str = "") -> Iterator[Key]:
    """Yield every leaf of a config class, depth first, as dotted paths."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        path, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from keys(typing.cast("type[DataclassType]", hint), prefix=path + ".")
            continue
        meta = field.metadata
        yield Key(
            path=path,
            type=hint,
            default=field.default,
            help=str(meta.get("help", "")),
            flag=meta.get("flag"),
            source=str(meta.get("source", "")),
            signature=meta.get("signature", ""),
        )


def bare(hint: Any) -> Any:
    """Strip `Optional` and `Annotated` from a type: `int | None` → `int`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return bare(rest[0]) if len(rest) == 1 else hint
    if typing.get_origin(hint) is typing.Annotated:
        return bare(typing.get_args(hint)[0])
    return hint


def choices_of(hint: Any) -> tuple[str, ...]:
    """Return the words of a `Literal` type (optional or not), or nothing."""
    inner = bare(hint)
    return tuple(typing.get_args(inner)) if typing.get_origin(inner) is Literal else ()


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dictionaries, later ones winning key by key."""
    out: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = out.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            out[key] = merge(typing.cast("Mapping[str, Any]", old), value) if both else value
    return out


def nest(path: str, value: Any) -> dict[str, Any]:
    """Turn `a.b.c` and a value into `{"a": {"b": {"c": value}}}`."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return typing.cast("dict[str, Any]", value)


def resolve(cls: type[C], layers: Sequence[Mapping[str, Any]] = (), *, source: str = "") -> C:
    """Merge `layers` over the defaults of `cls` and validate the outcome.

    Args:
        cls: a config dataclass whose `__pydantic_config__` is `STRICT`.
        layers: nested dictionaries, the weakest first.
        source: the file or flag to name in an error.

    Raises:
        ConfigError: an unknown key, a wrong type or a value out of range, named with its path.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_json(json.dumps(merge(*layers), default=str))
    except ValidationError as error:
        raise _explain(error, cls=cls, source=source) from None
    except (ValueError, TypeError, RecursionError):  # JSON cannot say it: a list that holds itself
        raise _unsayable(source) from None


def to_dict(config: DataclassType) -> dict[str, Any]:
    """Return a config as nested dictionaries of plain values (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _closest(path: str, known: Sequence[str]) -> str:
    """Suggest the setting of the same name elsewhere, or the one spelt most alike."""
    group, _, name = path.rpartition(".")
    same = (full for full in known if full.rpartition(".")[2] == name)
    if found := next((f"Did you mean '{full}'?" for full in same), ""):
        return found
    inside = [full for full in known if group and full.rpartition(".")[0] == group]
    if not inside:
        return _sentence(nearest(path, known))
    # The group's name, which all share, must not make strangers look alike.
    if nearest(name, [full.rpartition(".")[2] for full in inside]):
        return _sentence(nearest(path, inside))
    return f"There are {', '.join(inside)}."


def _explain(error: Any, *, cls: type[DataclassType], source: str) -> ConfigError:
    """Say the first thing that is wrong, keys before values, and what would be right."""
    errors = error.errors()
    first = next((each for each in errors if each["type"] in MISPLACED), errors[0])
    path = ".".join(part for part in first["loc"] if isinstance(part, str))
    given, rule, problem = first.get("input"), in_words(str(first["msg"])), first["type"]
    if problem == "json_invalid":
        return _unsayable(source)
    paths = [key.path for key in keys(cls)]
    where = f" in {source}" if source else ""
    if problem == UNKNOWN:
        groups = dict.fromkeys(name.rpartition(".")[0] for name in paths if "." in name)
        return ConfigError(
            f"There is no setting '{path}'{where}.",
            hint=_closest(path, [*paths, *groups]) or "See --print-config for all settings.",
        )
    if problem == NO_GROUP:
        inside = next(name for name in paths if name.startswith(f"{path}."))
        return ConfigError(
            f"The setting '{path}'{where} is a group, not a value.",
            hint=f"Set one of its keys, like {inside}.",
        )
    flag = next((f" ({key.flag})" for key in keys(cls) if key.path == path and key.flag), "")
    where = where or flag
    hint = _sentence(rule)
    allowed = first.get("ctx", {}).get("expected")
    if problem == "literal_error" and isinstance(given, str) and allowed:
        words = [word.strip(" '") for word in allowed.replace(" or ", ", ").split(",")]
        near = nearest(given, words)
        hint = f"Choose one of {', '.join(words)}{f'; {near}' if near else '.'}"
    elif isinstance(given, bool) and problem in ("literal_error", "string_type"):
        hint = "YAML reads no, off, yes and on as false or true: quote the word."
    elif isinstance(given, str) and problem in ("float_type", "int_type"):
        hint = "It was read as text; write a number such as 0.001, 1e-3 or 12."
    text = repr(given)
    shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return ConfigError(f"The setting '{path}'{where} cannot be {shown}.", hint=hint)


def _unsayable(source: str) -> ConfigError:
    where = f" in {source}" if source else ""
    return ConfigError(
        f"The settings{where} hold a value that is no plain number, word or list.",
        hint="Write plain values in UTF-8; --print-config shows them all.",
    )


def _sentence(text: str) -> str:
    end = "" if text.endswith((".", "?", "!")) else "."
    return text[:1].upper() + text[1:] + end if text else ""


def dump_yaml(config: DataclassType, *, comments: bool = True) -> str:
    """Write every value in force as YAML that `load_yaml` reads back.

    Args:
        config: the settings.
        comments: whether each key carries its meaning, its default where the value differs, and
            its source.
    """
    return "\n".join(_yaml_lines(config, comments=comments, indent=""))


def _yaml_lines(config: DataclassType, *, comments: bool, indent: str) -> Iterator[str]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield f"{indent}{field.name}:"
            section = typing.cast("DataclassType", value)
            yield from _yaml_lines(section, comments=comments, indent=indent + "  ")
        else:
            line = f"{indent}{field.name}: {_yaml_scalar(value)}"
            yield f"{line:<34}  # {_comment(field, value)}" if comments else line
    if not indent:
        yield ""


def _yaml_scalar(value: Any) -> str:
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    style = '"' if isinstance(value, str) and not value.isprintable() else None  # on one line
    text: str = yaml.dump(
        plain,
        Dumper=_with_exponents(yaml.SafeDumper),
        default_flow_style=True,
        default_style=style,
        allow_unicode=True,
        width=10**6,
    )
    return text.removesuffix("...\n").strip()


@functools.cache
def _with_exponents(cls: Any) -> Any:
    """Make a form of PyYAML's reader or writer to which `1e-3` is a number, not text."""
    found: Any = type(cls.__name__, (cls,), {})
    pattern = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
    found.add_implicit_resolver("tag:yaml.org,2002:float", pattern, list("-+0123456789"))
    return found


def _comment(field: dataclasses.Field[Any], value: Any) -> str:
    text = str(field.metadata.get("help", ""))
    if value != field.default:
        text += f" (default {_yaml_scalar(field.default)})"
    source = field.metadata.get("source")
    return f"{text} [{source}]" if source else text


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping of words to values.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"The config file {path} cannot be read: {reason}.",
            hint="Check the path given to --config.",
        ) from None
    try:
        data, twice = parse_yaml(text, source=str(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"The config file {path} is not valid YAML{where}.",
            hint="Compare it with configs/vae_mlp.yaml.",
        ) from None
    if twice:
        raise ConfigError(
            f"The key '{twice}' stands twice in one place of {path}.",
            hint="Keep one of them: YAML would silently forget the first.",
        )
    return _mapping(data if data is not None else {}, path=path)


def parse_yaml(text: str, *, source: str) -> tuple[Any, str]:
    """Return what YAML says, and a key that one of its mappings has twice, or an empty string.

    Raises:
        yaml.YAMLError: it is none.
        ValueError: it is far longer than it looks: a few lines of anchors and aliases can stand for
            more values than fit into any memory.
        RecursionError: its brackets are nested beyond reason.
        ConfigError: YAML reads a number in it as another one than it looks.
    """
    import yaml

    loader = _with_exponents(yaml.SafeLoader)(text)
    node = loader.get_single_node()
    if _values(node, counted={}) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    for token in yaml.scan(text, yaml.SafeLoader):
        if isinstance(token, yaml.ScalarToken) and token.plain and MISREAD.fullmatch(token.value):
            _refuse_misread(token.value, read=yaml.safe_load(token.value), source=source)
    return None if node is None else loader.construct_document(node), _key_twice(node)


MISREAD = re.compile(r"[-+]?(0[0-7_]+|\d[\d_]*(:[0-5]?\d)+(\.\d*)?)")
"""Numbers with base 8 or 60 in YAML 1.1."""


def _refuse_misread(text: str, *, read: object, source: str) -> None:
    if isinstance(read, int | float):  # 09 is a text
        raise ConfigError(
            f"'{text}' in {source} is not what it looks like: YAML reads it as {read:g}.",
            hint="Write the number without a leading zero or a colon, or quote it as text.",
        )


def _values(node: Any, *, counted: dict[int, int]) -> int:
    """Count the values below a node of a YAML document, each alias as all that it stands for."""
    if id(node) not in counted:
        counted[id(node)] = 0  # a list within itself is told apart later
        found = getattr(node, "value", None)
        pairs = found if isinstance(found, list) else []
        below = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
        counted[id(node)] = 1 + sum(_values(part, counted=counted) for part in below)
    return counted[id(node)]


def _key_twice(node: Any) -> str:
    """Return a key that one mapping of a YAML document has twice, or an empty string."""
    pairs = node.value if getattr(node, "id", "") == "mapping" else []
    names = [str(key.value) for key, _ in pairs]
    repeated = [name for name in names if names.count(name) > 1]
    return repeated[0] if repeated else next(filter(None, (_key_twice(v) for _, v in pairs)), "")


def _mapping(data: object, *, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ConfigError(
            f"The config file {path} holds {type(data).__name__}, not a mapping of keys to values.",
            hint="Write one `key: value` a line, as in configs/vae_mlp.yaml.",
        )
    for key, value in data.items():
        if not isinstance(key, str):
            raise ConfigError(
                f"The key {key!r} in {path} is not a word.",
                hint="YAML reads `no`, `yes`, `on` and `off` as true or false: quote the key.",
            )
        if isinstance(value, dict):
            _mapping(value, path=path)
    return data


def settings_signature(
    config: DataclassType,
    measured: Mapping[str, object],
    *,
    order: Sequence[str],
    composed: Mapping[str, object],
) -> str:
    """Write the signature of a number that these settings made.

    Every setting that can change the number shows in it, unless its `setting` says that it does
    not; nothing has to be listed for a new one.

    Args:
        config: the settings.
        measured: what only the measurement knows, such as `data` and `precision`; comes first.
        order: the names of parts, in their order; those it does not name come last.
        composed: parts that several settings make together, or that need other words.
    """
    parts = dict(composed)
    for key in keys(type(config)):
        name, value = key.signature, operator.attrgetter(key.path)(config)
        if name == "" and value != key.default:
            name = key.path.rpartition(".")[2]
        if name:
            parts.setdefault(name, value)
    known = [name for name in order if name in parts]
    return signature(**measured, **{name: parts[name] for name in [*known, *parts]})


def signature(**parts: object) -> str:
    """Join `parts` as `key:value|key:value|…|version:X`, in the order given.

    The idea is sacreBLEU's: two numbers with the same signature were measured in the same way.
    Parts that are None are left out; underscores in keys become hyphens; lists get commas.
    """
    fields = [
        f"{key.replace('_', '-')}:{_signature_text(value)}"
        for key, value in parts.items()
        if value is not None
    ]
    return "|".join([*fields, f"version:dlcli-{__version__}"])


def _signature_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_signature_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace("|", "/")
