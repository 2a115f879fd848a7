"""Figures of `dl mc-estimate` (error against samples) and `dl kl` (both densities)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.report.plots import Line, Slope, lines

if TYPE_CHECKING:
    from dlcli.evidence.estimate import McEstimate
    from dlcli.evidence.gaussians import KlResult

SETTLED = 10.0
"""Sample counts of this many ρ lie on the −1/2 line."""
DENSITY_POINTS = 400


def error_figure(found: McEstimate, path: Path) -> None:
    """Draw the RMS error of log p̂ against the samples, one line an estimator and dimension.

    The −1/2 line starts where N is well above ρ, and only there; without a known truth the
    standard error is drawn instead.
    """
    series, slopes = [], []
    for result in found.results:
        for each in result.estimators:
            points = each.sweep.points if each.sweep else ()
            pairs = [
                (point.samples, point.estimate.std_error if result.truth is None else error)
                for point in points
                if (error := point.rms_error) is not None or result.truth is None
            ]
            if not pairs:
                continue
            xs, ys = [float(x) for x, _ in pairs], [float(y or math.nan) for _, y in pairs]
            series.append(Line(name=f"{each.estimate.name}, {result.label}", x=xs, y=ys))
            rho = result.truth.log_rho if result.truth else None
            if each.estimate.name == "prior" and rho is not None:
                # At N ≫ ρ the error is √(ρ/N).
                settled = [x for x in xs if math.log(x) >= rho + math.log(SETTLED)]
                if settled:
                    through = (settled[0], math.exp(0.5 * (rho - math.log(settled[0]))))
                    slopes.append(Slope(exponent=-0.5, through=through, name="sqrt(rho/N)"))
    lines(
        path,
        series,
        x_label="samples N",
        y_label="RMS error of log p̂(x) (nats)",
        title="Error against samples: N^-1/2 only where N is far above rho",
        log_x=True,
        log_y=True,
        slopes=slopes,
        note=found.signature,
    )


def density_figure(found: KlResult, path: Path) -> None:
    """Draw the densities of q and p in the first dimension."""
    mu_q, sigma_q, mu_p, sigma_p = (
        part[0] for part in (found.mu_q, found.sigma_q, found.mu_p, found.sigma_p)
    )
    low = min(mu_q - 4 * sigma_q, mu_p - 4 * sigma_p)
    high = max(mu_q + 4 * sigma_q, mu_p + 4 * sigma_p)
    xs = [low + (high - low) * i / (DENSITY_POINTS - 1) for i in range(DENSITY_POINTS)]
    several = " in the first dimension" if len(found.mu_q) > 1 else ""
    lines(
        path,
        [
            Line(name=f"q = N({mu_q:g}, {sigma_q:g}²)", x=xs, y=_density(xs, mu_q, sigma_q)),
            Line(name=f"p = N({mu_p:g}, {sigma_p:g}²)", x=xs, y=_density(xs, mu_p, sigma_p)),
        ],
        x_label="x",
        y_label="density",
        title=f"KL(q ‖ p) = {found.closed_form:.4g}, KL(p ‖ q) = {found.reverse.closed_form:.4g} "
        f"nats; densities{several}",
        note=found.signature,
    )


def _density(xs: list[float], mean: float, sd: float) -> list[float]:
    scale = 1 / (sd * math.sqrt(2 * math.pi))
    return [scale * math.exp(-0.5 * ((x - mean) / sd) ** 2) for x in xs]
