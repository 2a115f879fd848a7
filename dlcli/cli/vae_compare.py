"""`dl vae compare`: a small grid of settings in one table and one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from dlcli.cli.options import OutFlag, Show, add_command, configured
from dlcli.cli.training import OPTIONAL_VALUES, ForceFlag, ResumeFlag, training_listeners
from dlcli.cli.vae_train import advice
from dlcli.errors import UsageFault
from dlcli.vae.config import VaeTrainConfig

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


@configured(VaeTrainConfig, advice=advice, grid=True)
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
    from dlcli.engine.runs import fresh_path
    from dlcli.engine.session import Place
    from dlcli.study.repeat import train_all

    if len(cells) < 2:
        raise UsageFault(
            "`vae compare` needs a setting with several values.",
            hint="Write --set optim.lr=1.0e-4,1.0e-3,1.0e-2.",
        )
    base = _base(out, resume) or fresh_path("vae-compare")
    place = Place(out=base, resume=base if resume is not None else None, force=force)
    with training_listeners(show) as listeners:
        results = train_all(cells, place=place, title="vae-compare", listeners=listeners)
    if not results:
        return
    from dlcli.engine.runs import open_run
    from dlcli.report import compare_curves, trained_table
    from dlcli.study.runs import curve_of

    figure = (plot or base / "compare.png").absolute()
    curves = {label: curve_of(open_run(Path(found.run))) for label, found in results.items()}
    compare_curves(figure, curves, title="training loss of the grid")
    best = max(results, key=lambda label: results[label].test.elbo)
    found = {"run": base.absolute(), "best": best, "results": results, "files": [figure]}
    words = f"highest test ELBO: {best}"
    show.consoles.result(found, trained_table(results, what="setting"), words, f"figure {figure}")


def _base(out: Path | None, resume: str | None) -> Path | None:
    return Path(resume) if resume else out
