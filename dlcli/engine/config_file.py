"""Configuration as YAML: written with what each key means, read back without surprises."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcli.errors import ConfigError

if TYPE_CHECKING:
    from dlcli.engine.config import DataclassType


MOST_VALUES = 100_000
"""Of a file of settings, its aliases written out."""


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
    text = yaml.safe_dump(
        plain, default_flow_style=True, default_style=style, allow_unicode=True, width=10**6
    )
    return text.removesuffix("...\n").strip()


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
        data, twice = parse_yaml(text)
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


def parse_yaml(text: str) -> tuple[Any, str]:
    """Return what YAML says, and a key that one of its mappings has twice, or an empty string.

    Raises:
        yaml.YAMLError: it is none.
        ValueError: it is far longer than it looks: a few lines of anchors and aliases can stand for
            more values than fit into any memory.
        RecursionError: its brackets are nested beyond reason.
    """
    import yaml

    node = yaml.compose(text, yaml.SafeLoader)
    if _values(node, counted={}) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    return yaml.safe_load(text), _key_twice(node)


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
