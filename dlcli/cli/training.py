"""What commands that take long share.

`run_trainings` is behind every `train` command: where a run goes, which one is resumed, and what
shows its progress. `measured` runs a measurement to its end or to Ctrl-C, and there is a result
either way.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

import typer

from dlcli.cli.options import complete_run
from dlcli.engine.config import load_yaml
from dlcli.engine.launcher import process_count, rank, restarts
from dlcli.engine.stopping import StopFlag
from dlcli.errors import Interrupted, UsageFault

if TYPE_CHECKING:
    from dlcli.display.console import Consoles
    from dlcli.engine.events import Event
    from dlcli.engine.session import RunLocation
    from dlcli.engine.settings import RunConfig

ResumeFlag = Annotated[
    str | None,
    typer.Option(
        "--resume",
        autocompletion=complete_run,
        metavar="[RUN]",
        help="Go on with a run: --resume RUN, or --resume --out RUN.",
    ),
]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace an existing run folder.")]
TensorBoardFlag = Annotated[
    bool, typer.Option("--tensorboard", help="Write events for TensorBoard into the run folder.")
]
InitFlag = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="RUN",
        help="Start from a run's weights only.",
        autocompletion=complete_run,
    ),
]
SeedsFlag = Annotated[
    int, typer.Option("--seeds", min=1, help="Train this many seeds and report mean ± std.")
]


def run_trainings(
    consoles: Consoles,
    cells: Mapping[str, Any],
    *,
    chapter: str,
    title: str,
    tolerant: bool = False,
    out: Path | None,
    resume: str | None,
    force: bool,
    init_from: str | None = None,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train with one configuration, or with each of several into a folder of its own.

    Args:
        consoles: shows how far it is.
        cells: label → settings.
        chapter: `vae` or `nmt`.
        title: see `dlcli.engine.trainer.train_all`.
        tolerant: see there.
        out: `--out`.
        resume: `--resume`, with or without a name.
        force: `--force`.
        init_from: `--init-from`.
        tensorboard: `--tensorboard`.

    Returns:
        Label → result; nothing on processes other than the main one.
    """
    several = len(cells) > 1
    with training_listeners(consoles, tensorboard=tensorboard) as listeners:
        from dlcli.engine.trainer import train_all, train_once

        train = importlib.import_module(f"dlcli.{chapter}.training").train
        location = run_location(
            consoles, kind=chapter, out=out, resume=resume, force=force, several=several
        )
        if several:
            results = train_all(
                cells,
                train=train,
                location=location,
                title=title,
                tolerant=tolerant,
                init_from=init_from,
                listeners=listeners,
            )
        else:
            ((label, config),) = cells.items()
            result = train_once(
                config, train=train, location=location, init_from=init_from, listeners=listeners
            )
            results = {label: result}
    return results if is_main_process() else {}


def resumed_folder(resume: str | None, out: Path | None, *, kind: str) -> Path | None:
    """Return the folder that `--resume [RUN]` and `--out RUN` name together, or None.

    `latest` is the newest run of a kind, `vae` or `nmt`.

    After an elastic restart by `torchrun`, a run that was started with `--out` is resumed.
    """
    if resume is None:
        exists = out is not None and (out / "config.yaml").is_file()
        return out if restarts() > 0 and exists else None
    if resume:
        named = Path(resume)
        if named.is_dir():
            return named
        from dlcli.engine.runs import find_run

        return find_run(resume, kind=kind if resume == "latest" else None).path
    if out is None:
        raise UsageFault(
            "--resume does not say which run.", hint="Write --resume RUN, or add --out RUN."
        )
    return out


def run_location(
    consoles: Consoles,
    *,
    kind: str,
    out: Path | None,
    resume: str | None,
    force: bool,
    several: bool = False,
) -> RunLocation:
    """Return where the training goes.

    Args:
        consoles: takes a notice where a run that never got to its settings is started over, and
            where the latest run is finished and another is not.
        kind: `vae` or `nmt`.
        out: `--out`.
        resume: `--resume`, with or without a name.
        force: `--force`.
        several: whether the folder is to hold several runs: seeds, or a grid.

    Raises:
        UsageFault: nothing can be resumed there.
    """
    from dlcli.engine.runs import is_blank, unfinished_beside
    from dlcli.engine.session import RunLocation

    folder = resumed_folder(resume, out, kind=kind)
    if folder is None:
        return RunLocation(out=out, force=force)
    if is_blank(folder) and not (folder / "config.yaml").is_file():
        if is_main_process():
            words = f"{folder} holds no settings yet: starting over with those given now."
            consoles.notice(words)
        return RunLocation(out=folder)
    cells = [] if several or (folder / "config.yaml").is_file() else _cells_in(folder)
    if cells:
        hint = f"Name one of them, such as --resume {cells[0].parent}, or add --seeds N for all."
        raise UsageFault(f"{folder} holds several runs.", hint=hint)
    other = unfinished_beside(folder, kind=kind) if resume == "latest" else None
    if other is not None and is_main_process():
        consoles.notice(f"{folder} is finished, and {other.path} is not: --resume {other.path}.")
    return RunLocation(resume=folder)


def advice(given: Mapping[str, Any], *, kind: str) -> Mapping[str, Any]:
    """Return the settings that the chosen data set recommends for a training of a kind."""
    from dlcli.data.catalogue import recommended

    return recommended(str(given.get("data", {}).get("name", "auto")), task=kind)


def settle(
    configs: Mapping[str, RunConfig], own: Mapping[str, Any], consoles: Consoles, *, kind: str
) -> Mapping[str, Mapping[str, Any]]:
    """Return which data set `auto` is, fetching it if need be.

    What would end the training all the same comes to light before the download.

    Args:
        configs: label → settings.
        own: the command's own parameters.
        consoles: take a notice where another data set than the usual one is taken.
        kind: `vae` or `nmt`.

    Raises:
        ConfigError: settings contradict each other.
        UsageFault: the run cannot have the folder of `--out`, or there is none of `--init-from`.
    """
    from dlcli.data.download import true_name
    from dlcli.engine.runs import check_free, find_run

    task, source = importlib.import_module(f"dlcli.{kind}.training").TASK, own.get("init_from")
    for config in configs.values():
        task.check(config, untrained=source is None)
    if source is not None:
        find_run(source, kind=kind)
    alone = process_count() == 1  # several processes refuse together, once they have met
    if own["out"] is not None and own.get("seeds") == 1 and alone:
        check_free(own["out"].absolute(), force=own["force"])
    notice = consoles.notice if is_main_process() else lambda _sentence: None
    data: Literal["images", "pairs"] = "images" if kind == "vae" else "pairs"
    true = functools.cache(partial(true_name, kind=data, notice=notice))
    names = {label: (config.data.name, config.data.offline) for label, config in configs.items()}
    return {
        label: {"data": {"name": true(name, offline=offline)}}
        for label, (name, offline) in names.items()
    }


def saved_config(given: Mapping[str, Any], *, kind: str) -> Mapping[str, Any] | None:
    """Return the saved configuration of the run to go on with, if there is one.

    For several runs in one folder it is that of the first: seeds are counted on from its seed, and
    the settings of a grid are given anew.
    """
    folder = resumed_folder(given["resume"], given["out"], kind=kind)
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
    return rank() == 0


@contextmanager
def training_listeners(
    consoles: Consoles, *, tensorboard: bool = False
) -> Iterator[list[Callable[[Event], None]]]:
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

        with ExitStack() as stack:
            progress = stack.enter_context(TrainingProgress(consoles))
            listeners: list[Callable[[Event], None]] = [progress, RunFigures(consoles)]
            if tensorboard:
                from dlcli.display.tensorboard import TensorBoard

                listeners.append(stack.enter_context(TensorBoard()))
            yield [_while_read(listener) for listener in listeners]


@contextmanager
def _following_the_main_process() -> Iterator[None]:
    """Leave without a word where the main process says why."""
    try:
        yield
    except Interrupted as stop:
        sys.exit(stop.exit_code)


def _while_read(listener: Callable[[Event], None]) -> Callable[[Event], None]:
    """Let a training go on when whoever read its progress has left (`… 2>&1 | head -1`)."""

    def listen(event: Event) -> None:
        try:
            listener(event)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    return listen


class PartialResult(Protocol):
    """A result that may be followed by more complete ones."""

    @property
    def complete(self) -> bool:
        """Whether everything asked for is there."""


ResultType = TypeVar("ResultType", bound=PartialResult)


def measured(
    results: Iterable[ResultType], *, progress: Callable[[ResultType], object]
) -> ResultType:
    """Run a measurement to the end or to Ctrl-C, and return the last result there was.

    Args:
        results: ever more complete; at least one if it is not interrupted.
        progress: takes each of them, to show how far it is.

    Raises:
        Interrupted: before there was any.
    """
    latest: ResultType | None = None
    try:
        with StopFlag().watching():
            for latest in results:
                progress(latest)
    except KeyboardInterrupt:
        if latest is None:
            raise Interrupted(
                "Interrupted before anything was measured.",
                hint="Fewer samples, images or temperatures take less time.",
            ) from None
    assert latest is not None, "a measurement yields at least one result"
    return latest


def leave_if_partial(result: PartialResult, consoles: Consoles, *, during: str = "") -> None:
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
