"""`dl kl`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcli.cli.options import Show, add_command, configured
from dlcli.evidence.config import KlConfig

PlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot", help="Draw both densities into this PNG, SVG or PDF.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add `kl`."""
    add_command(app, "kl", kl, cls=KlConfig)


@configured(KlConfig)
def kl(config: KlConfig, show: Show, *, plot: PlotFlag = None) -> None:
    """Compute KL between Gaussians in closed form and by sampling, in both directions."""
    from dlcli.evidence import run_kl
    from dlcli.report.evidence_figures import density_figure
    from dlcli.report.evidence_words import kl_words
    from dlcli.report.strict_json import to_plain

    if (config.mu_q, config.sigma_q) == (config.mu_p, config.sigma_p):
        show.consoles.notice("q and p are the same, so all is 0: try `dl kl --mu-p 3`.")
    result = run_kl(config)
    files = []
    if plot is not None:
        density_figure(result, plot.absolute())
        files.append(plot.absolute())
    plain = to_plain(result)
    assert isinstance(plain, dict)
    words = [*kl_words(result), *(f"figure: {file}" for file in files)]
    show.consoles.result({**plain, "files": files}, *words)
