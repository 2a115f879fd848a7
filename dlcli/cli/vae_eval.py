"""`dl vae eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcli.cli.measuring import leave_if_partial, measured
from dlcli.cli.options import RunFlag, Show, add_command, configured
from dlcli.cli.pictures import CheckpointFlag, found, usual_path
from dlcli.errors import UsageFault
from dlcli.study.eval_config import VaeEvalConfig

if TYPE_CHECKING:
    from dlcli.study.evaluation_result import VaeEvaluation

RunArgument = Annotated[
    str | None, typer.Argument(metavar="RUN", help="The same as --run.", show_default=False)
]
PlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Figure of --checkpoints, PNG, SVG or PDF. (default: bounds.png in the run's figures)",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add `vae eval`."""
    add_command(app, "eval", evaluate, cls=VaeEvalConfig)


@configured(VaeEvalConfig)
def evaluate(
    config: VaeEvalConfig,
    show: Show,
    *,
    name: RunArgument = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    plot: PlotFlag = None,
) -> None:
    """Measure a trained VAE: ELBO, NLL by IWAE and AIS, the gap, active units, ambiguity."""
    from dlcli.report.evaluated import evaluation_words
    from dlcli.report.fraction import FractionProgress
    from dlcli.study.vae_evaluation import run as evaluations

    if name is not None and run is not None and name != run:
        raise UsageFault(f"'{name}' and --run {run} are two runs.", hint="Name one of them.")
    trained = found(run or name, checkpoint=checkpoint, consoles=show.consoles)
    with FractionProgress(show.consoles, label="vae eval", by_note=True) as at:
        results = evaluations(
            trained,
            config,
            notice=show.consoles.notice,
            tell=lambda stage, done: at(done, stage),
        )
        result = measured(results, told=lambda found: at(found.done, found.stage))
    files = _figure(result, plot or Path(f"{usual_path('bounds', run=trained.run)}.png"))
    words = [*evaluation_words(result), *(f"figure: {file}" for file in files)]
    show.consoles.result(as_json(result, files=files), *words)
    leave_if_partial(result, show, during=result.stage)


def as_json(result: VaeEvaluation, *, files: list[Path]) -> dict[str, Any]:
    """Return the fields of `--json`."""
    from dlcli.report import to_plain

    plain = to_plain(result)
    assert isinstance(plain, dict)
    if result.ais is not None:
        plain["ais"]["verdict"] = result.ais.verdict
    if result.ambiguity is not None:
        plain["ambiguity"]["generated"]["balance"] = result.ambiguity.generated.balance
    return {**plain, "partial": not result.complete, "files": files}


def _figure(result: VaeEvaluation, path: Path) -> list[Path]:
    if not result.checkpoints:
        return []
    from dlcli.report.evaluated import snapshots_figure

    return [snapshots_figure(result, path)]
