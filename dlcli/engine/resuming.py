"""Going on with a run: what must be as it was, and what may be chosen anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from dlcli.engine.config import DataclassType, flags_of_difference, keys, load_yaml, to_dict
from dlcli.engine.device import Compute
from dlcli.engine.runs import RunFolder
from dlcli.errors import ConfigError

MAY_CHANGE = (
    "loop.epochs",
    "loop.max_minutes",
    "loop.checkpoint_minutes",
    "loop.patience",
    "compute.device",
    "compute.threads",
    "data.offline",
    "snapshots",
)
"""Settings that a resumed run may take anew; any other must be as it was."""


def check_unchanged(config: DataclassType, folder: RunFolder) -> None:
    """Refuse to go on with a run under other settings than its own.

    Raises:
        ConfigError: names the first setting that differs and may not.
    """
    saved, given = load_yaml(folder.config_file), to_dict(config)
    for key in keys(type(config)):
        if key.path in MAY_CHANGE:
            continue
        old, new = _leaf(saved, key.path), _leaf(given, key.path)
        if key.path == "compute.precision" and new == folder.record().get("precision"):
            continue  # what "auto" meant
        if old is not _MISSING and old != new:
            raise ConfigError(
                f"The run {folder.path} was trained with {key.path} = {old}, not {new}.",
                hint="Resume it without changing that, or start another run with --init-from.",
            )


def check_precision(where: Compute, folder: RunFolder) -> None:
    """Refuse to go on in another precision because "auto" means another one on this machine."""
    before = folder.record().get("precision", where.precision)
    if before != where.precision:
        raise ConfigError(
            f"The run {folder.path} was trained in {before}, and compute.precision = auto means "
            f"{where.precision} here.",
            hint=f"Add --precision {before}.",
        )


def refuse_other_network(
    model: DataclassType | None, saved: Mapping[str, Any], *, run: RunFolder
) -> None:
    """Say with which flags a run's weights would fit, where its settings tell.

    Args:
        model: what the network that they do not fit was built from.
        saved: all settings of the run.
        run: it.

    Raises:
        ConfigError: they tell.
    """
    theirs = saved.get("model")
    if model is None or not isinstance(theirs, Mapping):
        return
    if flags := flags_of_difference(model, theirs):
        raise ConfigError(
            f"The weights of {run.path} are those of another network.", hint=f"Add {flags}."
        )


class Result(Protocol):
    """What a training leaves in run.json, as far as resuming looks at it."""

    @property
    def epochs(self) -> int:
        """Epochs trained."""

    @property
    def reason(self) -> str:
        """Why it ended: `done`, `early-stop`, …"""


R = TypeVar("R", bound=Result)


def recorded_result(
    config: DataclassType, folder: RunFolder, *, read: Callable[[Mapping[str, Any]], R]
) -> R | None:
    """Return the recorded result of a run with nothing left to do, else None.

    Args:
        config: with `loop.epochs` and `loop.patience`, as it is to be resumed.
        folder: the run.
        read: makes a result of its fields.

    Raises:
        ConfigError: see `check_unchanged`.
    """
    record = folder.record()
    if record.get("status") != "done":
        return None
    check_unchanged(config, folder)
    try:
        result = read(record["result"])
    except (KeyError, TypeError):
        return None
    loop = to_dict(config)["loop"]
    same_patience = load_yaml(folder.config_file)["loop"].get("patience") == loop["patience"]
    ended = result.reason == "early-stop" and same_patience
    return result if ended or result.epochs >= loop["epochs"] else None


_MISSING = object()


def _leaf(data: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(data, Mapping) or part not in data:
            return _MISSING
        data = data[part]
    return data
