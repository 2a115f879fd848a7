"""`dl mc-estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.measuring import leave_if_partial, measured
from dlcli.cli.options import Show, add_command, configured
from dlcli.errors import UsageFault
from dlcli.evidence.config import STREAMED, EvidenceConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dlcli.evidence import Case, McEstimate

PlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot", help="Draw error against samples into this PNG, SVG or PDF.", show_default=False
    ),
]
RunFlag = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Estimate test images under a trained VAE instead: a run folder, a name in runs/, "
        "`latest`, or pretrained:NAME.",
        show_default=False,
    ),
]
ImagesFlag = Annotated[
    int, typer.Option("--images", min=1, help="Test images that --run estimates.")
]


def register(app: typer.Typer) -> None:
    """Add `mc-estimate`."""
    add_command(app, "mc-estimate", mc_estimate, cls=EvidenceConfig)


@configured(EvidenceConfig)
def mc_estimate(
    config: EvidenceConfig,
    show: Show,
    *,
    run: RunFlag = None,
    images: ImagesFlag = 1,
    plot: PlotFlag = None,
) -> None:
    """Estimate log p(x) in several ways, with error bars and a verdict; why the prior fails."""
    from dlcli.evidence import run as estimates
    from dlcli.evidence import to_dict
    from dlcli.report.evidence_figures import error_figure
    from dlcli.report.evidence_words import evidence_words
    from dlcli.report.fraction import FractionProgress

    if plot is not None:
        _check_plot(plot, config, of_run=run is not None)

    cases, signature = _cases(run, config, show, images=images)
    with FractionProgress(show.consoles, label="mc-estimate") as at:
        results = estimates(config, cases=cases, signature=signature, tell=at.stage)
        result = measured(results, told=lambda found: _say_done(found, show, before=at.pause))
    files = []
    if plot is not None:
        error_figure(result, plot.absolute())
        files.append(plot.absolute())
    words = [*evidence_words(result), *(f"figure: {file}" for file in files)]
    show.consoles.result({**to_dict(result), "files": files}, *words)
    leave_if_partial(result, show)


def _check_plot(plot: Path, config: EvidenceConfig, *, of_run: bool) -> None:
    """Refuse a figure that cannot be drawn, before anything is measured.

    Raises:
        UsageFault: no format that can be saved, or nothing to draw.
    """
    from dlcli.report.canvas import picture_suffix

    picture_suffix(plot)
    if not set(STREAMED) & set(config.estimators) or (config.target_se is not None and not of_run):
        raise UsageFault(
            "There is no error at several sample counts to draw.",
            hint="--plot needs prior, importance or control, and --samples, not --target-se.",
        )


def _say_done(found: McEstimate, show: Show, *, before: Callable[[], None]) -> None:
    if not found.complete:
        before()
        last = found.results[-1]
        each = last.estimators[-1].estimate
        show.consoles.notice(f"{last.label}: {each.name} done, {each.verdict}")


def _cases(
    run: str | None, config: EvidenceConfig, show: Show, *, images: int
) -> tuple[Iterator[Case] | None, str | None]:
    """Return the test images of a run and their signature; nothing where no run is named."""
    if run is None:
        return None, None
    from dlcli.study.eval_images import with_true_data
    from dlcli.study.trained_cases import check_real, sign_trained, trained_cases
    from dlcli.vae import find_trained

    check_real(config)
    notice = show.consoles.notice
    trained = with_true_data(find_trained(run, checkpoint=None, notice=notice), notice=notice)
    cases = trained_cases(trained, config, images=images, notice=notice)
    return cases, sign_trained(trained, config, images=images)
