"""`dl vae compare`: a small grid of settings in one table and one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import OutFlag, Show, add_command, configured
from dlcli.cli.training import (
    OPTIONAL_VALUES,
    ForceFlag,
    ResumeFlag,
    chosen_place,
    is_main_process,
    saved_config,
    training_listeners,
)
from dlcli.cli.vae_train import advice
from dlcli.errors import UsageFault
from dlcli.vae.config import VaeTrainConfig

if TYPE_CHECKING:
    from dlcli.vae.result import TrainResult

PlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Figure of the curves. (default: compare.png in the folder)",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add `vae compare`."""
    add_command(app, "compare", compare, cls=VaeTrainConfig, optional=OPTIONAL_VALUES)


@configured(VaeTrainConfig, advice=advice, base=saved_config, grid=True)
def compare(
    cells: Mapping[str, VaeTrainConfig],
    show: Show,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Train every combination of `--set key=a,b,c` and compare them."""
    if len(cells) < 2:
        raise UsageFault(
            "`vae compare` needs a setting with several values.",
            hint="Write --set optim.lr=1.0e-4,1.0e-3,1.0e-2.",
        )
    with training_listeners(show) as listeners:
        from dlcli.study.repeat import train_all
        from dlcli.vae import training

        place = chosen_place(show, out=out, resume=resume, force=force, several=True)
        results = train_all(
            cells,
            train=training.train,
            place=place,
            title="vae-compare",
            tolerant=True,
            listeners=listeners,
        )
    if results and is_main_process():
        failed = [label for label in cells if label not in results]
        show_grid(show, results, failed=failed, plot=plot)


def show_grid(
    show: Show, results: Mapping[str, TrainResult], *, failed: list[str], plot: Path | None
) -> None:
    """Show a grid: a table, the curves in one figure, and the settings that did best."""
    from dlcli.engine.runs import RunFolder
    from dlcli.report import compare_curves, trained_table
    from dlcli.study.runs import curve_of

    runs = {label: RunFolder(Path(found.run)) for label, found in results.items()}
    base = next(iter(runs.values())).path.parent
    figure = (plot or base / "compare.png").absolute()
    curves = {label: curve_of(run) for label, run in runs.items()}
    compare_curves(figure, curves, title="training loss of the grid")
    best = max(results, key=lambda label: results[label].test.elbo)
    found = {
        "run": base,
        "best": best,
        "results": results,
        "failed": failed,
        "files": [figure],
    }
    words = f"highest test ELBO: {best}"
    show.consoles.result(found, trained_table(results, what="setting"), words, f"figure {figure}")
