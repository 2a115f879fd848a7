"""What a measurement found, as frozen values whose fields are the fields of the JSON. No torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# -- Slopes on log-log axes with Student intervals over seeds. Plain Python: no tensors


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A mean slope over seeds.

    Attributes:
        value: mean, or None where a gradient is exactly zero (its logarithm does not exist).
        ci95: 95% Student interval of the mean, or None with fewer than two seeds.
        per_seed: the slope of each seed.
        note: why something is None, in words, or an empty string.
    """

    value: float | None
    ci95: tuple[float, float] | None
    per_seed: tuple[float, ...]
    note: str = ""


def loglog_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of log y against log x (all values positive)."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    rows = list(zip(a, b, strict=True))
    above = math.fsum((u - mean_a) * (v - mean_b) for u, v in rows)
    return above / math.fsum((u - mean_a) ** 2 for u in a)


def slope_over_seeds(x: Sequence[float], rows: Sequence[Sequence[float]]) -> Slope:
    """Fit one slope per seed and average.

    The interval is over seeds, so it covers the draw of weights and data, not a curvature of the
    true dependence, which would show as a trend in the norms themselves.

    Args:
        x: the depths (or widths), at least two different ones.
        rows: for each seed, one norm per value of `x`.
    """
    if len(set(x)) < 2:
        return Slope(value=None, ci95=None, per_seed=(), note="a slope needs two different values")
    if not rows:
        return Slope(value=None, ci95=None, per_seed=(), note="no seed is complete")
    if any(value <= 0 for row in rows for value in row):
        return Slope(value=None, ci95=None, per_seed=(), note="a gradient is exactly zero")
    slopes = tuple(loglog_slope(x, row) for row in rows)
    mean, interval = mean_interval(slopes)
    note = "" if interval else "one seed gives no interval"
    return Slope(value=mean, ci95=interval, per_seed=slopes, note=note)


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean and its two-sided 95% Student interval (None for one value)."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = student_quantile(n - 1) * math.sqrt(variance / n)
    return mean, (mean - half, mean + half)


def geometric_mean(values: Sequence[float]) -> float:
    """Return exp of the mean logarithm; 0 where some value is 0."""
    if any(value <= 0 for value in values):
        return 0.0
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


@functools.cache
def student_quantile(freedom: int, *, probability: float = 0.975) -> float:
    """Return the t below which `probability` (> 1/2) of Student's distribution lies.

    With t = √ν tan θ the distribution function is a plain integral of cos^{ν-1} θ, which Simpson's
    rule integrates to about 1e-9 and bisection inverts.
    """
    half_area = (
        math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2)) / 2
    )
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        inside = _cosine_integral(middle, power=freedom - 1) / half_area / 2
        low, high = (middle, high) if inside < probability - 0.5 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _cosine_integral(upper: float, *, power: int, steps: int = 1000) -> float:
    step = upper / steps
    ends = 1.0 + math.cos(upper) ** power
    odd = math.fsum(math.cos((2 * i + 1) * step) ** power for i in range(steps // 2))
    even = math.fsum(math.cos(2 * i * step) ** power for i in range(1, steps // 2))
    return step / 3 * (ends + 4 * odd + 2 * even)


# -- Xiong et al. 2020, Theorem 1, as a check that measured slopes pass or fail
# At initialisation the gradient of the last layer's second feed-forward matrix is at most
# O(d √ln d) with post-norm, whatever the depth L, and at most O(d √(ln d / L)) with pre-norm:
# slopes 0 and -1/2 on log-log axes. The theorem is an upper bound, so a measured slope can be
# consistent with it and cannot prove it. Plain Python: no tensors.

Verdict = Literal["pass", "fail"]
TARGETS = {"post": 0.0, "pre": -0.5}
"""Exponent of L in the theorem's bound."""
BOUNDS = {"post": "O(d √ln d), independent of depth", "pre": "O(d √(ln d / L))"}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One half of the theorem against one measured slope.

    Attributes:
        bound: the theorem's bound in words.
        target: the slope that bound has in L.
        tolerance: how far from the target the whole 95% interval may reach.
        slope: measured slope, or None.
        slope_ci95: its interval, or None.
        verdict: `pass` where the interval lies within the tolerance, `fail` where it does not,
            None where there is no interval to judge.
        words: the verdict as a sentence.
    """

    bound: str
    target: float
    tolerance: float
    slope: float | None
    slope_ci95: tuple[float, float] | None
    verdict: Verdict | None
    words: str


def judge(placement: str, slope: Slope, *, tolerance: float) -> Claim:
    """Hold a measured slope of `post` or `pre` against the theorem."""
    target = TARGETS[placement]
    verdict: Verdict | None = None
    if slope.ci95 is not None:
        low, high = slope.ci95
        inside = target - tolerance <= low and high <= target + tolerance
        verdict = "pass" if inside else "fail"
    return Claim(
        bound=BOUNDS[placement],
        target=target,
        tolerance=tolerance,
        slope=slope.value,
        slope_ci95=slope.ci95,
        verdict=verdict,
        words=_words(placement, slope, verdict=verdict, tolerance=tolerance),
    )


def overall(claims: list[Claim]) -> Verdict | None:
    """Combine: fail if any claim fails, pass if all pass, None where nothing was decided."""
    verdicts = [claim.verdict for claim in claims]
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts and None not in verdicts else None


def _words(placement: str, slope: Slope, *, verdict: Verdict | None, tolerance: float) -> str:
    if slope.value is None or slope.ci95 is None or verdict is None:
        return f"{placement}-norm: undecided, {slope.note}"
    low, high = slope.ci95
    measured = f"slope {slope.value:+.3f} (95% interval {low:+.3f} to {high:+.3f})"
    relation = "consistent with" if verdict == "pass" else "outside the tolerance of"
    return (
        f"{placement}-norm: {measured} is {relation} the bound's {TARGETS[placement]:g} ± "
        f"{tolerance:g} (Xiong et al. 2020, Theorem 1, an upper bound)"
    )


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a stack: means over seeds of gradient norms.

    Attributes:
        layer: 1 next to the input … L.
        weights: of all the layer's parameters.
        w2: of its second feed-forward matrix.
        hidden: of ∂loss/∂x at the layer's input.
    """

    layer: int
    weights: float
    w2: float
    hidden: float


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """The gradient of every layer in one condition.

    Attributes:
        condition: `initialisation`, `no warm-up` or `warm-up`.
        step: updates taken before.
        problem: `gaussian` (random input and targets) or a sequence task.
        rows: one per layer.
        output_hidden: norm of ∂loss/∂x_L, the stack's output.
        first_to_last: hidden gradient at x_0 over that at x_L: below 1 it vanishes on its way.
        loss: nats per token, mean over seeds.
        seeds: how many draws the means are over.
        note: what went wrong, such as a training that diverged.
    """

    condition: str
    step: int
    problem: str
    rows: tuple[LayerRow, ...]
    output_hidden: float | None
    first_to_last: float | None
    loss: float | None
    seeds: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class WidthSweep:
    """The depths of one placement at one width.

    Attributes:
        width: features d.
        depths: layers, ascending.
        last_layer_norm: norm of the last second feed-forward matrix's gradient at each depth,
            geometric mean over seeds.
        by_seed: the norms themselves, seed by depth.
        slope: mean over seeds of d log norm / d log depth.
        slope_ci95: its 95% Student interval over seeds, None with one seed.
        note: why the slope or its interval is missing.
    """

    width: int
    depths: tuple[int, ...]
    last_layer_norm: tuple[float, ...]
    by_seed: tuple[tuple[float, ...], ...]
    slope: float | None
    slope_ci95: tuple[float, float] | None
    note: str


@dataclass(frozen=True, kw_only=True)
class PlacementResult:
    """One placement: the sweep at the first width in the open, the other widths beside it."""

    source: str
    width: int
    depths: tuple[int, ...]
    last_layer_norm: tuple[float, ...]
    by_seed: tuple[tuple[float, ...], ...]
    slope: float | None
    slope_ci95: tuple[float, float] | None
    note: str
    per_layer: tuple[LayerRow, ...] = ()
    """At initialisation, with the Gaussian problem."""
    profiles: tuple[LayerProfile, ...] = ()
    """Every condition that was measured, the one of `per_layer` first."""
    widths: tuple[WidthSweep, ...] = ()
    """Every width, the first included."""
    width_slope: float | None = None
    """Mean slope against width at the deepest depth, with two widths or more."""
    width_slope_ci95: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class StepCheck:
    """One residual connection: its derivative checked, its factors, and the bounds at its input.

    Attributes:
        step: 0 … 2L - 1 from the input.
        layer: 1 … L.
        sublayer: attention or feed-forward.
        difference: largest difference between autograd's Jacobian and the equation's.
        lambda_measured: σ_max of the LayerNorm's Jacobian by power iteration, largest over tokens.
        lambda_closed: the same as γ / s(y).
        dropped_factor: σ_max(I + J_A), which Question 16 leaves out; None for pre-norm.
        gradient: the true ‖∂loss/∂x‖ at the step's input.
        seed_bound: ‖g_L‖ λ^(N-s-1) for step s of N, λ the largest of the stack.
        lambda_product: ‖g_L‖ times each step's own λ: all N - s factors.
        full_bound: ‖g_L‖ times σ_max(J_LN) σ_max(I + J_A) of each step from here on (post), or
            σ_max(I + J_A J_LN) (pre).
    """

    step: int
    layer: int
    sublayer: str
    difference: float
    lambda_measured: float
    lambda_closed: float
    dropped_factor: float | None
    gradient: float
    seed_bound: float
    lambda_product: float
    full_bound: float


@dataclass(frozen=True, kw_only=True)
class EquationCheck:
    """Equation 21' or 22' held against autograd over a whole stack."""

    equation: Literal["21'", "22'"]
    placement: str
    largest_difference: float
    tolerance: float
    holds: bool
    largest_lambda: float
    final_gradient: float
    """‖∂loss/∂x_L‖ at the stack's output."""
    steps: tuple[StepCheck, ...]


@dataclass(frozen=True, kw_only=True)
class Lemma2Row:
    """Mean squared norm of the stream over d, after one layer.

    Attributes:
        layer: 0 is the input.
        post: E‖y‖² / d of the sum that the feed-forward LayerNorm is given; the lemma says 3/2
            (None at layer 0).
        pre: E‖x_l‖² / d; the lemma says between `pre_low` and `pre_high`.
        pre_low: 1 + l/2.
        pre_high: 1 + 3l/2.
    """

    layer: int
    post: float | None
    pre: float
    pre_low: float
    pre_high: float


@dataclass(frozen=True, kw_only=True)
class Lemmas:
    """Lemmas 2 and 3 of Xiong et al. 2020, in the theorem's setting.

    Attributes:
        width: features d.
        rows: Lemma 2, layer by layer, means over tokens and seeds.
        lemma2_holds: post at 3/2 and pre between its bounds everywhere, but for a slack of
            10% at d = 256 and 8 seeds, growing as their product shrinks.
        lemma3_ratio: smallest and largest ‖J_LN(x)‖₂ / (√d / ‖x‖) over all tokens and LayerNorms.
            It is √(1 + mean²/variance) (less a trace of ε), so 1 for centred input.
    """

    width: int
    rows: tuple[Lemma2Row, ...]
    lemma2_holds: bool
    lemma3_ratio: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One training: mean loss and accuracy since the point before."""

    placement: str
    warmup_steps: int
    seed: int
    steps: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    solved: bool
    """Whether the last accuracy is above 95%."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """All trainings that are complete.

    Attributes:
        task: reverse or copy.
        depth: layers.
        width: features.
        heads: attention heads; training always uses real attention.
        chance_loss: ln V nats, what guessing costs.
        curves: one per placement, warm-up and seed.
        words: what came of it, one sentence per kind of run.
    """

    task: str
    depth: int
    width: int
    heads: int
    chance_loss: float
    curves: tuple[Curve, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LnGradients:
    """The result of `dl ln-gradients`, or as much of it as there is so far.

    Attributes:
        setting: theorem or transformer.
        conditions: everything that the slopes move with, in words.
        seeds: complete seeds.
        placements: by name, in the order asked for.
        theorem: Theorem 1 held against `post` and `pre`, where they were measured.
        verdict: pass or fail of all claims together; None where nothing could be decided.
        equations: 21' and 22', where asked for.
        lemmas: Lemmas 2 and 3, where asked for.
        training: where asked for.
        complete: False in a partial result.
        done: fraction of the work, 0 to 1.
        signature: all that changes the numbers.
    """

    setting: str
    conditions: str
    seeds: int
    placements: dict[str, PlacementResult]
    theorem: dict[str, Claim]
    verdict: Verdict | None
    equations: tuple[EquationCheck, ...] = ()
    lemmas: Lemmas | None = None
    training: TrainingResult | None = None
    complete: bool
    done: float
    signature: str
