"""Xiong et al. 2020, Theorem 1, as a check that measured slopes pass or fail.

At initialisation the gradient of the last layer's second feed-forward matrix is at most
O(d √ln d) with post-norm, whatever the depth L, and at most O(d √(ln d / L)) with pre-norm: slopes
0 and -1/2 on log-log axes. The theorem is an upper bound, so a measured slope can be consistent
with it and cannot prove it. Plain Python: no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlcli.layernorm.slopes import Slope

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
