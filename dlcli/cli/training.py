"""What every `train` command shares: where a run goes, going on with one, who listens."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from dlcli.engine.config import load_yaml
from dlcli.engine.stopping import StopFlag
from dlcli.errors import Interrupted, UsageFault

if TYPE_CHECKING:
    from dlcli.display.console import Consoles
    from dlcli.engine.events import Event
    from dlcli.engine.session import RunLocation

ResumeFlag = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="[RUN]",
        help="Go on with a run: --resume RUN, or --resume --out RUN.",
    ),
]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace an existing run folder.")]
InitFlag = Annotated[
    str | None,
    typer.Option("--init-from", metavar="RUN", help="Start from a run's weights only."),
]
SeedsFlag = Annotated[
    int, typer.Option("--seeds", min=1, help="Train this many seeds and report mean ± std.")
]


def resumed_folder(resume: str | None, out: Path | None) -> Path | None:
    """Return the folder that `--resume [RUN]` and `--out RUN` name together, or None.

    After an elastic restart by `torchrun`, a run that was started with `--out` is gone on with.
    """
    if resume is None:
        restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
        exists = out is not None and (out / "config.yaml").is_file()
        return out if restarted and exists else None
    if resume:
        named = Path(resume)
        if named.is_dir():
            return named
        from dlcli.engine.runs import find_run

        return find_run(resume).path
    if out is None:
        raise UsageFault(
            "--resume does not say which run.", hint="Write --resume RUN, or add --out RUN."
        )
    return out


def run_location(
    consoles: Consoles, *, out: Path | None, resume: str | None, force: bool, several: bool = False
) -> RunLocation:
    """Return where the training goes.

    Args:
        consoles: told where a run that never got to its settings is started over.
        out: `--out`.
        resume: `--resume`, with or without a name.
        force: `--force`.
        several: whether the folder is to hold several runs: seeds, or a grid.

    Raises:
        UsageFault: nothing can be gone on with there.
    """
    from dlcli.engine.runs import is_blank
    from dlcli.engine.session import RunLocation

    folder = resumed_folder(resume, out)
    if folder is None:
        return RunLocation(out=out, force=force)
    if is_blank(folder):
        if is_main_process():
            words = f"{folder} holds no settings yet: starting over with those given now."
            consoles.notice(words)
        return RunLocation(out=folder)
    cells = [] if several or (folder / "config.yaml").is_file() else _cells_in(folder)
    if cells:
        hint = f"Name one of them, such as --resume {cells[0].parent}, or add --seeds N for all."
        raise UsageFault(f"{folder} holds several runs.", hint=hint)
    return RunLocation(resume=folder)


def saved_config(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the saved configuration of the run to go on with, if there is one.

    For several runs in one folder it is that of the first: seeds are counted on from its seed, and
    the settings of a grid are given anew.
    """
    folder = resumed_folder(given["resume"], given["out"])
    if folder is None:
        return None
    whole = folder / "config.yaml"
    if whole.is_file():
        return load_yaml(whole)
    cells = [load_yaml(file) for file in _cells_in(folder)]
    return min(cells, key=lambda cell: int(cell["compute"]["seed"])) if cells else None


def _cells_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/config.yaml"))


def is_main_process() -> bool:
    """Say whether this is the one process under `torchrun` that prints."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def training_listeners(consoles: Consoles) -> Iterator[list[Callable[[Event], None]]]:
    """Attach the progress display and the figures of a run; nothing on other processes.

    Signals are watched from here on, so that one that comes before the first update ends the
    program in the same way as one that comes later.
    """
    with StopFlag().watching():
        if not is_main_process():
            with _following_the_main_process():
                yield []
            return
        from dlcli.display.progress import TrainingProgress
        from dlcli.display.runs import RunFigures

        with TrainingProgress(consoles) as progress:
            yield [_while_read(progress), _while_read(RunFigures(consoles))]


@contextmanager
def _following_the_main_process() -> Iterator[None]:
    """Leave without a word where the main process says why."""
    try:
        yield
    except Interrupted as stop:
        sys.exit(stop.exit_code)


def _while_read(listener: Callable[[Event], None]) -> Callable[[Event], None]:
    """Let a training go on when whoever read its progress has left (`… 2>&1 | head -1`)."""

    def tell(event: Event) -> None:
        try:
            listener(event)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    return tell


# -- Measurements that grow: run to the end or to Ctrl-C, and show what there is either way


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


def leave_if_partial(result: Growing, consoles: Consoles, *, during: str = "") -> None:
    """End with the exit code of an interruption where a result is not complete.

    Args:
        result: already shown.
        consoles: takes the warning.
        during: what was being done.

    Raises:
        typer.Exit: the result is partial.
    """
    if result.complete:
        return
    where = f" during {during}" if during else ""
    consoles.warning(f"Interrupted{where}: this result is partial.")
    raise typer.Exit(Interrupted.exit_code)
