"""What every `train` command shares: where a run goes, going on with one, who listens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcli.engine.config import load_yaml
from dlcli.errors import UsageFault

if TYPE_CHECKING:
    from dlcli.cli.options import Show
    from dlcli.engine.events import Event

ResumeFlag = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="[RUN]",
        help="Go on with a run: --resume RUN, or --resume --out RUN.",
        show_default=False,
    ),
]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace an existing run folder.")]
InitFlag = Annotated[
    str | None,
    typer.Option(
        "--init-from", metavar="RUN", help="Start from a run's weights only.", show_default=False
    ),
]
SeedsFlag = Annotated[
    int, typer.Option("--seeds", min=1, help="Train this many seeds and report mean ± std.")
]
OPTIONAL_VALUES = frozenset({"--resume"})


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


def saved_config(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the saved configuration of the run to go on with, if there is one."""
    folder = resumed_folder(given["resume"], given["out"])
    file = folder / "config.yaml" if folder is not None else None
    return load_yaml(file) if file is not None and file.is_file() else None


def is_main_process() -> bool:
    """Say whether this is the one process under `torchrun` that prints."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def training_listeners(show: Show) -> Iterator[list[Callable[[Event], None]]]:
    """Attach the progress display and the figures of a run; nothing on other processes."""
    if not is_main_process():
        yield []
        return
    from dlcli.report import RunFigures, TrainingProgress

    with TrainingProgress(show.consoles) as progress:
        yield [progress, RunFigures(show.consoles)]
