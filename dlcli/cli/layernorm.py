"""`dl ln-gradients`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import configured
from dlcli.cli.training import leave_if_partial, measured
from dlcli.display.console import Consoles, to_plain
from dlcli.display.progress import FractionProgress
from dlcli.errors import CheckFailed, plural
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


@configured(LnGradientsConfig)
def ln_gradients(
    config: LnGradientsConfig,
    consoles: Consoles,
    *,
    check: CheckFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Measure gradients of deep post- and pre-norm stacks; theorem passed or failed.

    Examples:
        dl ln-gradients --check
        dl ln-gradients --depths 4 8 16 32 --plot gradients.png
    """
    from dlcli.layernorm.display import ln_figures, ln_words
    from dlcli.layernorm.measurement import run

    with FractionProgress(consoles, label="ln-gradients") as progress:
        result = measured(
            run(config), progress=lambda found: progress(found.done, plural(found.seeds, "seed"))
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


def _holds(result: LnGradients) -> bool:
    """Say whether the theorem's verdict is pass and every equation and lemma checked holds."""
    lemmas = result.lemmas is None or result.lemmas.lemma2_holds
    return result.verdict == "pass" and lemmas and all(c.holds for c in result.equations)
