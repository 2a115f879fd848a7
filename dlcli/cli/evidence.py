"""`dl kl` and `dl mc-estimate`: divergences and evidence, by sampling and in closed form."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import OpenFlag, configured
from dlcli.cli.training import leave_if_partial, measured
from dlcli.display.console import Consoles, to_plain
from dlcli.display.plots import picture_suffix
from dlcli.display.progress import FractionProgress
from dlcli.errors import UsageFault
from dlcli.evidence.config import STREAMED, EvidenceConfig, KlConfig

if TYPE_CHECKING:
    from dlcli.evidence.cases import Case
    from dlcli.evidence.estimate import McEstimate

DensityPlotFlag = Annotated[
    Path | None, typer.Option("--plot", help="Draw both densities into this PNG, SVG or PDF.")
]


@configured(KlConfig, alone_is_help=True)  # its defaults are two equal distributions
def kl(config: KlConfig, consoles: Consoles, *, plot: DensityPlotFlag = None) -> None:
    """Compute KL between Gaussians in closed form and by sampling, in both directions.

    Examples:
        dl kl --mu-q 1 --sigma-q 0.5
        dl kl --mu-q 0 1 --sigma-q 1 2 --plot densities.png
    """
    from dlcli.evidence.display import density_figure, kl_words
    from dlcli.evidence.gaussians import run_kl

    if (config.mu_q, config.sigma_q) == (config.mu_p, config.sigma_p):
        consoles.notice("q and p are the same, so all is 0: try `dl kl --mu-p 3`.")
    result = run_kl(config)
    files = []
    if plot is not None:
        density_figure(result, plot.absolute())
        files.append(plot.absolute())
    plain = to_plain(result)
    assert isinstance(plain, dict)
    words = [*kl_words(result), *(f"figure: {file}" for file in files)]
    consoles.result({**plain, "files": files}, *words)


ErrorPlotFlag = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw error against samples into this PNG, SVG or PDF."),
]
RunFlag = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Estimate test images under a trained VAE instead: a run folder, a name in runs/, "
        "`latest`, or pretrained:NAME of `dl models`.",
    ),
]
HtmlFlag = Annotated[
    bool,
    typer.Option("--html", help="Write a page too: the prior's samples, drawn one by one."),
]
OutFlag = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The page. (default: mc-estimate.html, with --html)"),
]
ImagesFlag = Annotated[
    int, typer.Option("--images", min=1, help="Test images that --run estimates.")
]


@configured(EvidenceConfig)
def mc_estimate(
    config: EvidenceConfig,
    consoles: Consoles,
    *,
    run: RunFlag = None,
    images: ImagesFlag = 1,
    plot: ErrorPlotFlag = None,
    html: HtmlFlag = False,
    out: OutFlag = None,
    open_: OpenFlag = False,
) -> None:
    """Estimate log p(x) in several ways, with error bars and a verdict; why the prior fails.

    Examples:
        dl mc-estimate --dims 2 20
        dl mc-estimate --run pretrained:vae-conv --images 2
        dl mc-estimate --dims 2 20 --html --open
    """
    from dlcli.display.page import check_page_path, open_page, write_page
    from dlcli.evidence.display import error_figure, evidence_words
    from dlcli.evidence.estimate import run as estimates
    from dlcli.evidence.estimate import to_dict
    from dlcli.evidence.page import SIZE_HINT, weights_page

    if plot is not None:
        _check_plot(plot, config, of_run=run is not None)

    page = (out or Path("mc-estimate.html")) if html or out or open_ else None
    if page is not None:
        check_page_path(page)

    cases, signature = _cases(run, config, consoles, images=images)
    with FractionProgress(consoles, label="mc-estimate") as progress:
        results = estimates(config, cases=cases, signature=signature, progress=progress.stage)
        result = measured(results, progress=lambda found: _say_done(found, consoles))
    files: list[Path] = []
    if plot is not None:
        error_figure(result, plot.absolute())
        files.append(plot.absolute())
    if page is not None:
        command = shlex.join(["dl", *sys.argv[1:]])
        text = weights_page(config, result, cases=cases, command=command)
        files.append(write_page(page, text, notice=consoles.notice, hint=SIZE_HINT))
    words = [*evidence_words(result), *(f"figure: {file}" for file in files)]
    consoles.result({**to_dict(result), "files": files}, *words)
    if open_:
        open_page(files[-1], notice=consoles.notice)
    leave_if_partial(result, consoles)


def _check_plot(plot: Path, config: EvidenceConfig, *, of_run: bool) -> None:
    """Refuse a figure that cannot be drawn, before anything is measured.

    Raises:
        UsageFault: no format that can be saved, or nothing to draw.
    """

    picture_suffix(plot)
    if not set(STREAMED) & set(config.estimators) or (config.target_se is not None and not of_run):
        raise UsageFault(
            "There is no error at several sample counts to draw.",
            hint="--plot needs prior, importance or control, and --samples, not --target-se.",
        )


def _say_done(found: McEstimate, consoles: Consoles) -> None:
    """Leave a line for each estimate, but for the last, which the result follows."""
    if not found.complete:
        last = found.results[-1]
        each = last.estimators[-1].estimate
        consoles.notice(f"{last.label}: {each.name} done, {each.verdict}")


def _cases(
    run: str | None, config: EvidenceConfig, consoles: Consoles, *, images: int
) -> tuple[list[Case] | None, str | None]:
    """Return the test images of a run and their signature; nothing where no run is named."""
    if run is None:
        return None, None
    from dlcli.vae.bounds import trained_cases
    from dlcli.vae.trained import find_trained

    trained = find_trained(run, checkpoint=None, notice=consoles.notice)
    cases, signature = trained_cases(trained, config, images=images, notice=consoles.notice)
    return list(cases), signature
