"""`dl vae gradients`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import RunFlag, Show, add_command, plain
from dlcli.cli.pictures import CheckpointFlag, OfflineFlag, SeedFlag, found

if TYPE_CHECKING:
    from dlcli.vae.gradients import TargetComparison


def register(app: typer.Typer) -> None:
    """Add `vae gradients`."""
    add_command(app, "gradients", gradients)


@plain
def gradients(
    show: Show,
    *,
    run: RunFlag = None,
    images: Annotated[int, typer.Option("--images", min=1, help="The first N test images.")] = 64,
    samples: Annotated[
        int, typer.Option("--samples", min=4, help="Gradients of each estimator, an even number.")
    ] = 200,
    seed: SeedFlag = 0,
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
) -> None:
    """Compare two estimators of the same gradient: reparametrisation and score function."""
    from dlcli.report import ResultTable, to_plain
    from dlcli.vae.pictures import gradients_of

    trained = found(run, checkpoint=checkpoint, consoles=show.consoles)
    result, signature = gradients_of(
        trained,
        images=images,
        samples=samples,
        seed=seed,
        offline=offline,
        notice=show.consoles.notice,
    )
    plain_result = to_plain(result)
    assert isinstance(plain_result, dict)
    table = ResultTable(
        columns=(
            "gradient of",
            "estimator",
            "variance",
            "times pathwise",
            "95% interval",
            "agrees",
        ),
        rows=[*_rows(result.outputs), *_rows(result.parameters)],
        title=f"Gradient of the reconstruction term, {images} images, {samples} samples each",
        signatures={"": signature},
    )
    value = {
        "run": str(trained.run.path),
        "checkpoint": trained.checkpoint,
        "seed": seed,
        **plain_result,
        "signature": signature,
    }
    show.consoles.result(value, table)


def _rows(target: TargetComparison) -> list[tuple[object, ...]]:
    """Return the table's rows about one gradient."""
    from dlcli.report import interval

    rows: list[tuple[object, ...]] = [
        (target.target, "pathwise (reparametrisation)", target.pathwise.variance, 1, None, None)
    ]
    for name, scatter, contrast in (
        ("score function", target.score, target.against_score),
        ("score function, best baseline", target.score_baseline, target.against_baseline),
    ):
        low, high = contrast.ratio_ci95
        agrees = "yes" if contrast.agrees else "no"
        ratio = (contrast.ratio, interval(low, high, digits=3))
        rows.append(("", name, scatter.variance, *ratio, agrees))
    return rows
