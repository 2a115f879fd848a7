"""Measurements that grow: run to the end or to Ctrl-C, and show what there is either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

import typer

from dlcli.engine.stopping import StopFlag
from dlcli.errors import Interrupted

if TYPE_CHECKING:
    from dlcli.cli.options import Show


class Growing(Protocol):
    """A result of which more complete ones follow."""

    @property
    def complete(self) -> bool:
        """Whether everything asked for is there."""


ResultType = TypeVar("ResultType", bound=Growing)


def measured(results: Iterable[ResultType], *, told: Callable[[ResultType], object]) -> ResultType:
    """Run a measurement to the end or to Ctrl-C, and return the last result there was.

    Args:
        results: ever more complete; at least one if it is not interrupted.
        told: hears of each, to show how far it is.

    Raises:
        Interrupted: before there was any.
    """
    latest: ResultType | None = None
    try:
        with StopFlag().watching():
            for latest in results:
                told(latest)
    except KeyboardInterrupt:
        if latest is None:
            raise Interrupted(
                "Interrupted before anything was measured.",
                hint="Fewer samples, images or temperatures take less time.",
            ) from None
    assert latest is not None, "a measurement yields at least one result"
    return latest


def leave_if_partial(result: Growing, show: Show, *, during: str = "") -> None:
    """End with the exit code of an interruption where a result is not complete.

    Args:
        result: already shown.
        show: takes the warning.
        during: what was being done.

    Raises:
        typer.Exit: the result is partial.
    """
    if result.complete:
        return
    where = f" during {during}" if during else ""
    show.consoles.warning(f"Interrupted{where}: this result is partial.")
    raise typer.Exit(Interrupted.exit_code)
