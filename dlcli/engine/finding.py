"""Finding the run that `--run` names: a folder, the newest, or a packaged model."""

from __future__ import annotations

from pathlib import Path

from dlcli import pretrained
from dlcli.engine.runs import RUNS, RunFolder, list_runs
from dlcli.errors import UsageFault, nearest


def find_run(text: str | None, *, kind: str | None = None) -> RunFolder:
    """Find the run that `--run` names: a folder, a name under `runs/`, `latest`, or a packaged one.

    Args:
        text: what was given; `pretrained:NAME` is a model that ships with the package; None means
            the newest trained run, and where there is none the packaged model of that kind.
        kind: the kind it must be, such as `vae`.

    Raises:
        UsageFault: there is no such run, or it is of another kind.
    """
    if text in (None, "latest"):
        trained = [run for run in list_runs(kind=kind) if run.is_trained]
        packaged = pretrained.default(kind) if text is None else None
        if trained or packaged:
            return trained[-1] if trained else RunFolder(packaged or Path())
        raise UsageFault(
            f"There is no trained {kind or ''} run under {RUNS.absolute()}.".replace("  ", " "),
            hint=f"Train one with `dl {kind or 'vae'} train`, or name one with --run FOLDER.",
        )
    assert text is not None
    if text.startswith(pretrained.PREFIX):
        return _of_kind(_packaged(text.removeprefix(pretrained.PREFIX)), text, kind=kind)
    for candidate in (Path(text), RUNS / text):
        if (candidate / "config.yaml").is_file():
            return _of_kind(RunFolder(candidate.absolute()), str(candidate), kind=kind)
    near = nearest(text, [run.path.name for run in list_runs(kind=kind)])
    raise UsageFault(
        f"There is no run '{text}'.",
        hint=near[:1].upper() + near[1:] or "`dl runs list` shows the runs there are.",
    )


def using(run: RunFolder, *, checkpoint: str) -> str:
    """Say which weights a command takes, and whether a training still changes them."""
    going_on = ", of a training that is still running" if run.status == "running" else ""
    return f"Using {run.path}, checkpoint {checkpoint}{going_on}."


def _packaged(name: str) -> RunFolder:
    folder = pretrained.folder(name)
    if folder is None:
        known = pretrained.names()
        near = nearest(name, known)
        raise UsageFault(
            f"There is no packaged model '{name}'.",
            hint=near[:1].upper() + near[1:] or f"There are {', '.join(known) or 'none'}.",
        )
    return RunFolder(folder)


def _of_kind(run: RunFolder, text: str, *, kind: str | None) -> RunFolder:
    found = run.record().get("kind")
    if kind is not None and found not in (kind, None):
        raise UsageFault(
            f"{text} is a {found} run, and this command needs a {kind} run.",
            hint=f"`dl runs list --kind {kind}` shows those there are.",
        )
    return run
