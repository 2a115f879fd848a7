"""What `dl mc-estimate` and `dl kl` say and draw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType

from dlcli.display.plots import Line, Slope, lines
from dlcli.display.tables import ResultTable, count, interval, number
from dlcli.evidence.config import SIMULATED
from dlcli.evidence.estimate import DimResult, EstimatorResult, McEstimate
from dlcli.evidence.gaussians import KlResult
from dlcli.evidence.sweep import SETTLED

COLUMNS = (
    "D", "estimator", "samples", "log p (nats)", "std error", "95% interval", "bias", "ESS",
    "largest weight", "verdict",
)  # fmt: skip
SPARE = ("95% interval", "ESS", "largest weight")
"""What a narrow terminal does without; the reasons below the table speak of the weights too."""


def evidence_words(found: McEstimate) -> Iterator[RenderableType]:
    """Yield everything that is said about a result, complete or not."""
    if not found.complete:
        yield "PARTIAL: interrupted; what follows was finished."
    rows = [_row(result, each) for result in found.results for each in result.estimators]
    real = [result.case for result in found.results if result.case != SIMULATED]
    images = "one image" if len(real) < 2 else f"{len(real)} images"
    title = f"log p(x) of {images}, {found.model}, nats"
    columns = ("image", *COLUMNS[1:]) if real else COLUMNS
    yield ResultTable(columns, rows, title=title, signatures=found.signature, spare=SPARE)
    for result in found.results:
        yield ""
        yield from _dim_words(result, std_error=found.std_error_of_interest)
    yield ""
    names = {each.estimate.name for result in found.results for each in result.estimators}
    every = "Every estimate but bdmc's" if "bdmc" in names else "Every estimate"
    yield f"{every} is low on average: E[log p̂] ≤ log p (Jensen)."


def _row(result: DimResult, each: EstimatorResult) -> list[object]:
    found = each.estimate
    bias = found.log_p - result.truth.log_p if result.truth else None
    return [
        result.dim if result.case == SIMULATED else result.case,
        found.name,
        count(found.samples),
        _nats(found.log_p),
        number(found.std_error, digits=2),
        interval(found.ci95[0], found.ci95[1], digits=5),
        None if bias is None else _nats(bias),
        number(found.ess, digits=3),
        f"{100 * found.max_weight:.3g}%",
        found.verdict,
    ]


def _dim_words(result: DimResult, *, std_error: float) -> Iterator[str]:
    where = f"D = {result.dim}" + ("" if result.case == SIMULATED else f", {result.case}")
    truth = result.truth
    if truth is not None:
        close = f" ± {truth.error:.2g}" if truth.error else ""
        yield f"{where}: log p(x) = {truth.log_p:.4f}{close} ({truth.kind})."
        needed, for_se = result.samples_needed_log10, result.samples_for_se_log10(std_error)
        yield (
            f"  KL(posterior ‖ prior) = {truth.kl_posterior_prior:.2f} nats: about 10^{needed:.1f} "
            "prior samples for any useful estimate"
            + ("" if for_se is None else f", 10^{for_se:.1f} for a standard error of {std_error:g}")
            + "."
        )
    else:
        yield f"{where}: log p(x) is not known beforehand."
    for each in result.estimators:
        yield f"  {each.estimate.name}: {each.estimate.verdict}, {each.estimate.reason}"
        if each.target is not None:
            yield f"    {each.target.reason}"
        if each.sweep is not None and each.sweep.slope is not None:
            text = f"    error falls like N^{each.sweep.slope:+.2f} over the repeated counts"
            late = each.sweep.slope_asymptotic
            yield text + (f", N^{late:+.2f} from 10 ρ on" if late is not None else "")


def kl_words(found: KlResult) -> Iterator[RenderableType]:
    """Yield what `dl kl` says: both directions, the gradient check, the two examples."""
    rows: list[list[object]] = []
    directions = (
        ("KL(q ‖ p)", found.closed_form, found.monte_carlo),
        ("KL(p ‖ q)", found.reverse.closed_form, found.reverse.monte_carlo),
    )
    for name, exact, sampled in directions:
        gap = abs(sampled.value - exact)
        off = gap / sampled.std_error if sampled.std_error > 0 else (0.0 if gap < 1e-12 else None)
        rows.append([name, exact, sampled.value, sampled.std_error, off])
    columns = ("", "closed form (nats)", "Monte Carlo", "std error", "off by (s.e.)")
    yield ResultTable(columns, rows, signatures=found.signature)
    check = found.gradient_check
    yield (
        f"gradient: autograd and the derivatives by hand differ by {check.relative_error:.1e} "
        f"({'holds' if check.holds else 'DOES NOT HOLD'})"
    )
    equal, apart = found.examples["mu_p=0"], found.examples["mu_p=10"]
    yield (
        "Question 3, unit variances, mu_q = 0: "
        f"{equal:g} for mu_p = 0 (equal distributions), {apart:g} for mu_p = 10 (mu_p²/2)"
    )


def _nats(value: float) -> str:
    if not math.isfinite(value):
        return number(value)
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.1f}"


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
