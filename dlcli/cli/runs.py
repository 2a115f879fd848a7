"""`dl runs`: list, show, compare, export, prune; and `dl models`, those that ship."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dlcli.cli.options import CheckpointFlag, OpenFlag, PageFlag, complete_run, plain
from dlcli.display.console import Consoles, write_file
from dlcli.display.tables import size
from dlcli.errors import UsageFault

KindFlag = Annotated[
    str | None, typer.Option("--kind", help="Only runs of this kind, such as vae.")
]
NameArgument = Annotated[
    str | None,
    typer.Argument(
        help="A run folder, a name under runs/, or latest.", autocompletion=complete_run
    ),
]

WATCH_S = 1.0
"""How often `runs page --watch` looks for a new evaluation."""


@plain
def list_(consoles: Consoles, *, kind: KindFlag = None) -> None:
    """List the runs under runs/, oldest first, with their key metrics.

    Examples:
        dl runs list
        dl runs list --kind vae
    """
    from dlcli.display.runs import runs_table
    from dlcli.engine.runs import RUNS, list_runs, summarise

    rows = [summarise(run) for run in list_runs(kind=kind)]
    if rows:
        more = "`dl runs show RUN` has the signature of each."
        consoles.result({"runs": rows}, runs_table(rows, signed=False), more)
    else:
        consoles.result(
            {"runs": rows},
            f"There is no {kind or ''} run under {RUNS.absolute()}.".replace("  ", " "),
            "`dl vae train` and `dl nmt train` make one; `dl models` lists models that ship.",
        )


@plain
def show_(
    consoles: Consoles,
    *,
    run: NameArgument = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every setting, the machine and the last evaluation too.")
    ] = False,
) -> None:
    """Show one run: its record, its settings that differ from the defaults, its metrics.

    Examples:
        dl runs show latest
        dl runs show latest --all
        dl runs show first --json
    """
    from dlcli.display.runs import record_table
    from dlcli.engine.runs import details, find_run

    found = details(find_run(run))
    table = record_table(found, usual=None if every else _defaults(found["kind"]))
    more = [] if every else ["Other settings have their defaults; --all shows them too."]
    consoles.result(found, table, *more)


def _defaults(kind: str | None) -> dict[str, Any]:
    """Return the settings of a training that was given none."""
    from dlcli.engine.config import to_dict
    from dlcli.nmt.config import NmtTrainConfig
    from dlcli.vae.config import VaeTrainConfig

    config = {"vae": VaeTrainConfig, "nmt": NmtTrainConfig}.get(kind or "")
    return to_dict(config()) if config is not None else {}


@plain
def compare(
    consoles: Consoles,
    *,
    runs: Annotated[
        list[str], typer.Argument(help="Two runs or more.", autocompletion=complete_run)
    ],
    plot: Annotated[
        Path, typer.Option("--plot", help="Where to draw the learning curves (PNG, SVG or PDF).")
    ] = Path("runs/compare.png"),
) -> None:
    """Compare runs: metrics, settings that differ, learning curves in one figure.

    Losses of different images or likelihoods have a table and a frame for each kind.

    Examples:
        dl runs compare runs/first runs/second --plot curves.svg
    """
    from dlcli.display.runs import compare_curves, runs_tables
    from dlcli.engine.runs import curves_of, differences, find_run, signature_warning, summarise

    if len(runs) < 2:
        raise UsageFault(
            "`runs compare` needs two runs or more.", hint="`dl runs list` shows them."
        )
    found = [find_run(name) for name in runs]
    rows = [summarise(run) for run in found]
    compare_curves(plot, curves_of(found))
    differing = differences(found)
    if warning := signature_warning(rows):
        consoles.warning(warning)
    result: dict[str, Any] = {"runs": rows, "differences": differing, "files": [plot.absolute()]}
    consoles.result(result, *runs_tables(rows, settings=differing), f"figure {plot}")


@plain
def page(
    consoles: Consoles,
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs. (default: the newest)", autocompletion=complete_run),
    ] = None,
    out: PageFlag = Path("runs.html"),
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Write it anew at every evaluation, while a run trains."),
    ] = False,
    open_: OpenFlag = False,
) -> None:
    """Write an HTML page of runs: curves, snapshots, what differs, and how to make them again.

    Examples:
        dl runs page runs/first runs/second --open
        dl runs page latest --watch
    """
    from dlcli.display.page import check_page_path, open_page, write_page
    from dlcli.display.runs_page import SIZE_HINT, newest_change, runs_page
    from dlcli.engine.runs import find_run

    check_page_path(out)
    found = [find_run(name) for name in runs or ["latest"]]
    command = shlex.join(["dl", "runs", "page", *(runs or []), *(["--watch"] if watch else [])])
    seen: object = None
    while True:
        now = newest_change(found)
        is_live = watch and "running" in {status for status, _ in now}
        if now != seen:
            text = runs_page(found, command=command, is_live=is_live)
            path = write_page(out, text, notice=consoles.notice, hint=SIZE_HINT)
            if open_ and seen is None:
                open_page(path, notice=consoles.notice)
            seen = now
        if not is_live:
            break
        time.sleep(WATCH_S)
    consoles.result({"runs": [run.path for run in found], "files": [path]}, str(path))


@plain
def export(
    consoles: Consoles,
    *,
    run: NameArgument = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make, or the CSV file.")],
    half: Annotated[
        bool, typer.Option("--half/--whole", help="Store matrices as float16, or all as float32.")
    ] = True,
    checkpoint: CheckpointFlag = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Write what was measured into --out, a CSV file, instead.")
    ] = False,
) -> None:
    """Write a run's weights (safetensors), settings and model card into a folder to hand on.

    With --csv, write the table of its evaluations.

    Examples:
        dl runs export runs/first --out first-to-go
        dl runs export runs/first --csv --out first.csv
    """
    from dlcli.data.catalogue import describe
    from dlcli.display.runs import metrics_csv
    from dlcli.engine.checkpoint import export_run
    from dlcli.engine.runs import find_run

    if csv:
        found = find_run(run)
        path = write_file(out, metrics_csv(found.metrics()).encode())
        consoles.result({"run": found.path, "files": [path]}, str(path))
        return
    done = export_run(
        find_run(run), out=out, describe_data=describe, half=half, checkpoint=checkpoint
    )
    consoles.result(
        {"run": str(done.folder), "files": [str(file) for file in done.files], "bytes": done.size},
        f"{done.folder}  {size(done.size)}",
        *(f"  {file.name}" for file in done.files),
    )


@plain
def prune(
    consoles: Consoles,
    *,
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=0, help="Keep this many of the newest finished runs."),
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Remove runs that failed or were interrupted.")
    ] = False,
    epochs: Annotated[
        bool,
        typer.Option(
            "--epoch-checkpoints",
            help="Remove epoch-*.pt, the snapshots of finished runs that stay.",
        ),
    ] = False,
    epochs_as_before: Annotated[
        bool, typer.Option("--epochs", hidden=True, help="The old name of --epoch-checkpoints.")
    ] = False,
    kind: KindFlag = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Really remove; without it, only say what would go.")
    ] = False,
) -> None:
    """Remove runs that are no longer needed; says what would go unless --yes is given.

    Examples:
        dl runs prune --unfinished
        dl runs prune --keep 3 --yes
    """
    from dlcli.display.runs import removals_table
    from dlcli.engine.runs import list_runs, plan_pruning, remove

    epochs = epochs or epochs_as_before
    if keep is None and not unfinished and not epochs:
        raise UsageFault(
            "`runs prune` needs to know what may go.",
            hint="Add --keep N, --unfinished or --epoch-checkpoints.",
        )
    removals = plan_pruning(list_runs(kind=kind), keep=keep, unfinished=unfinished, epochs=epochs)
    if yes:
        remove(removals)
    freed = sum(removal.size for removal in removals)
    result = {"removed": yes, "bytes": freed, "paths": [removal.path for removal in removals]}
    consoles.result(result, removals_table(removals))
    if removals and not yes:
        consoles.notice("Nothing was removed; add --yes to remove these.")


@plain
def models(consoles: Consoles) -> None:
    """List the models that ship with the package: what each is for, its size, its score.

    `--run pretrained:NAME` takes one of them.

    Examples:
        dl models
        dl vae generate --run pretrained:vae-best
    """
    from dlcli.display.runs import models_table
    from dlcli.engine.runs import packaged

    rows = packaged()
    more = "`dl runs show NAME` has the signature of each."
    consoles.result({"models": rows}, models_table(rows), more)
