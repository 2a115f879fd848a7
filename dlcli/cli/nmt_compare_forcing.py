"""`dl nmt compare-forcing`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dlcli.cli import lists
from dlcli.cli.nmt_train import advice
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
from dlcli.engine.config import merge
from dlcli.errors import UsageFault
from dlcli.nmt.config import NmtTrainConfig

RATIOS, BINS = "1,0.5,0", "5,10,15,20"

RatiosFlag = Annotated[
    str,
    typer.Option("--ratios", metavar="<float>…", help="Teacher-forcing ratios to train with."),
]
BinsFlag = Annotated[
    str,
    typer.Option(
        "--bins",
        metavar="<int>…",
        help="BLEU by length: the longest source, in words, of each bin.",
    ),
]
BeamFlag = Annotated[
    int, typer.Option("--beam", min=1, help="Beam of the search on the test set; 1 is greedy.")
]
PlotFlag = Annotated[
    Path | None,
    typer.Option("--plot", help="Figure. (default: forcing.png in the folder)", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add `nmt compare-forcing`."""
    add_command(
        app,
        "compare-forcing",
        compare_forcing,
        cls=NmtTrainConfig,
        list_options={"--ratios": lists.is_float, "--bins": lists.is_int},
        optional=OPTIONAL_VALUES,
    )


def saved_cells(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the settings that the trainings to go on with share: all but the ratio."""
    found = saved_config(given)
    if found is None:
        return None
    shared = {"teacher_forcing": 1.0, "teacher_forcing_end": None}
    return merge(found, {"objective": shared})


@configured(NmtTrainConfig, advice=advice, base=saved_cells)
def compare_forcing(
    config: NmtTrainConfig,
    show: Show,
    *,
    ratios: RatiosFlag = RATIOS,
    bins: BinsFlag = BINS,
    beam: BeamFlag = 1,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Train with and without the teacher, and compare losses, BLEU, and BLEU by length."""
    edges = [int(edge) for edge in _numbers(bins, int, flag="--bins", example="5 10 15")]
    _check_before_the_work(edges, plot)
    with training_listeners(show) as listeners:
        from dlcli.study import nmt_forcing

        cells = nmt_forcing.forcing_cells(
            config, _numbers(ratios, float, flag="--ratios", example="1 0.5 0")
        )
        rows = nmt_forcing.compare_forcing(
            cells,
            place=chosen_place(show, out=out, resume=resume, force=force, several=True),
            bins=edges,
            beam_size=beam,
            listeners=listeners,
            notice=show.consoles.notice,
        )
    if rows and is_main_process():
        from dlcli.report import forcing_figure, forcing_table

        base = Path(rows[0].trained.run).parent
        figure = forcing_figure((plot or base / "forcing.png").absolute(), rows)
        found = {
            "run": str(base),
            "data": rows[0].trained.data,
            "results": nmt_forcing.forcing_object(rows),
            "files": [str(figure)],
        }
        show.consoles.result(found, forcing_table(rows), f"figure {figure}")


def _check_before_the_work(edges: list[int], plot: Path | None) -> None:
    from dlcli.nmt.lengths import length_bins
    from dlcli.report.canvas import picture_suffix

    length_bins([], edges=edges)
    if plot is not None:
        picture_suffix(plot)


def _numbers(text: str, kind: type[float], *, flag: str, example: str) -> list[float]:
    try:
        return [kind(word) for word in lists.split(text)]
    except ValueError:
        raise UsageFault(f"{flag} cannot read '{text}'.", hint=f"Write {flag} {example}.") from None
