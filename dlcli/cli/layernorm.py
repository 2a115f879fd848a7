"""`dl ln-gradients`."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import CheckpointFlag, configured
from dlcli.cli.training import leave_if_partial, measured
from dlcli.display.console import Consoles, to_plain
from dlcli.display.progress import FractionProgress
from dlcli.engine.config import keys
from dlcli.errors import CheckFailed, UsageFault, plural
from dlcli.layernorm.config import LnGradientsConfig

if TYPE_CHECKING:
    from dlcli.layernorm.measurement import LnGradients

CheckFlag = Annotated[
    bool,
    typer.Option("--check", help="Exit with 3 unless Theorem 1 and every equation checked hold."),
]
PlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot", help="Draw into this PNG, SVG or PDF (NAME-layers and NAME-training beside it)."
    ),
]


RunFlag = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Measure every layer of a trained Transformer instead, on --batch-size of its "
        "validation sentences: a run folder of `nmt train`, a name in runs/, or `latest`.",
    ),
]


@configured(LnGradientsConfig)
def ln_gradients(
    config: LnGradientsConfig,
    consoles: Consoles,
    *,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    check: CheckFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Measure gradients of deep post- and pre-norm stacks; theorem passed or failed.

    Examples:
        dl ln-gradients --check
        dl ln-gradients --depths 4 8 16 32 --plot gradients.png
        dl ln-gradients --run latest
    """
    from dlcli.layernorm import measurement
    from dlcli.layernorm.display import ln_figures, ln_words

    if run is not None:
        _check_of_run(config, check=check)
        _show_model(run, config, consoles, checkpoint=checkpoint, plot=plot)
        return
    if checkpoint is not None:
        raise UsageFault("--checkpoint goes with --run.", hint="Name the run, or leave it out.")
    with FractionProgress(consoles, label="ln-gradients") as progress:
        result = measured(
            measurement.run(config),
            progress=lambda found: progress(found.done, plural(found.seeds, "seed")),
        )
    per_layer = config.per_layer or config.layers.steps > 0
    files = ln_figures(result, plot, per_layer=per_layer) if plot is not None else []
    plain = to_plain(result)
    assert isinstance(plain, dict)
    words = [*ln_words(result, per_layer=config.per_layer), *(f"figure: {file}" for file in files)]
    consoles.result({**plain, "partial": not result.complete, "files": files}, *words)
    leave_if_partial(result, consoles)
    if check and not _holds(result):
        consoles.warning("The check did not hold.")
        raise typer.Exit(CheckFailed.exit_code)


def _check_of_run(config: LnGradientsConfig, *, check: bool) -> None:
    """Refuse what a trained model has no use for.

    Raises:
        UsageFault: a setting of stacks that are drawn, or a check of the theorem about them.
    """
    used = ("compute.device", "compute.threads", "sweep.batch_size")
    for key in keys(LnGradientsConfig):
        given, usual = map(operator.attrgetter(key.path), (config, LnGradientsConfig()))
        if given != usual and key.path not in used:
            raise UsageFault(
                f"{(key.flag or key.path).partition('/')[0]} is for stacks that are drawn, and "
                "--run names a trained one.",
                hint="Leave out one of them.",
            )
    if check:
        raise UsageFault(
            "--check is for Theorem 1, which is about stacks at initialisation.",
            hint="Leave out --check or --run.",
        )


def _show_model(
    name: str,
    config: LnGradientsConfig,
    consoles: Consoles,
    *,
    checkpoint: str | None,
    plot: Path | None,
) -> None:
    """Measure and show the layers of a trained translator."""
    from dlcli.engine.device import prepare
    from dlcli.engine.settings import compute_config
    from dlcli.layernorm.display import model_figure, model_words
    from dlcli.layernorm.measurement import ModelGradients, profiles_of_model
    from dlcli.nmt.evaluation import validation_loss
    from dlcli.nmt.trained import find_trained

    trained = find_trained(name, checkpoint=checkpoint, notice=consoles.notice)
    stacks = trained.model.residual_stacks
    if not stacks:
        raise UsageFault(
            f"{trained.run.path} is no Transformer: it has no residual layers.",
            hint="Train one with `dl nmt train --arch transformer`.",
        )
    trained.model.to(prepare(compute_config(config.compute, precision="fp32")).device)
    count = config.sweep.batch_size
    loss, signature = validation_loss(trained, sentences=count, notice=consoles.notice)
    result = ModelGradients(
        run=str(trained.run.path),
        checkpoint=trained.checkpoint,
        norm=trained.config.model.norm,
        stacks=profiles_of_model(stacks, loss=loss, data="validation"),
        signature=signature,
    )
    files = []
    if plot is not None:
        files.append(plot.absolute())
        model_figure(result, files[0])
    plain = to_plain(result)
    assert isinstance(plain, dict)
    words = [*model_words(result), *(f"figure: {file}" for file in files)]
    consoles.result({**plain, "files": files}, *words)


def _holds(result: LnGradients) -> bool:
    """Say whether the theorem's verdict is pass and every equation and lemma checked holds."""
    lemmas = result.lemmas is None or result.lemmas.lemma2_holds
    return result.verdict == "pass" and lemmas and all(c.holds for c in result.equations)
