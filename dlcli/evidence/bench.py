"""The estimators at work on one case; what several of them need is made once.

The annealing schedule serves `ais` and `bdmc`, and the sandwich that serves as the truth of a
simulated image under a decoder is also its `bdmc` and its `ais`.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.evidence.annealing import Annealed, Sandwich, anneal, as_estimate, sandwich
from dlcli.evidence.cases import Case, Truth, sandwich_truth
from dlcli.evidence.config import EstimatorName, EvidenceConfig
from dlcli.evidence.diagnostics import Estimate, Spread, WeightSummary, assess, summarize
from dlcli.evidence.estimators import (
    REPLICATES,
    Proposal,
    importance_weights,
    laplace_proposal,
    prior_weights,
    quasi_weights,
    rising,
)
from dlcli.evidence.hmc import Schedule, choose_schedule
from dlcli.evidence.models import LinearGaussian
from dlcli.evidence.progress import CountCallback, ProgressCallback, count_progress, no_progress

# -- An estimator over growing sample counts, repeated: errors, their slope, and what a wish costs
# One pass over a stream visits every count. Counts that cost little are visited by several
# independent repeats, which show the spread; the largest only once.

Stream = Callable[[torch.Generator, Sequence[int]], Iterator[tuple[WeightSummary, Spread | None]]]
"""Draws weights from a generator and reports at the given counts."""

FEWEST_REPEATS = 3
PILOT_SAMPLES = 10_000
APART = 4.0
"""Joint standard errors by which two estimates of one number may differ."""
MARGIN = 10.0
"""How many ρ a count must reach to lie on the −1/2 line."""


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One sample count.

    Args:
        samples: N.
        estimate: of the first repeat.
        repeats: log p̂ of every repeat, the first included.
        rms_error: root mean square of log p̂ − log p over the repeats, or None without a truth.
    """

    samples: int
    estimate: Estimate
    repeats: tuple[float, ...]
    rms_error: float | None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All sample counts of one estimator.

    Args:
        points: rising in N.
        slope: of log RMS error against log N over the repeated counts; None where fewer than two
            counts have three repeats. −1/2 once N ≫ ρ, nothing in particular before.
        slope_asymptotic: the same over counts of at least 10 ρ alone, repeated or not.
    """

    points: tuple[SweepPoint, ...]
    slope: float | None
    slope_asymptotic: float | None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a wished-for standard error takes.

    Args:
        std_error: the wish, nats.
        reached: whether the estimate has it.
        samples_needed_log10: log10 of the samples it takes, known or extrapolated.
        reason: in words.
    """

    std_error: float
    reached: bool
    samples_needed_log10: float
    reason: str


def run_sweep(
    stream: Stream,
    *,
    name: str,
    counts: Sequence[int],
    generators: Sequence[torch.Generator],
    repeat_up_to: int,
    ceiling: float = math.inf,
    truth: float | None = None,
    log_rho: float | None = None,
) -> Sweep:
    """Visit every count with the first generator, and the cheap ones with all.

    Args:
        stream: the estimator.
        name: of the estimator.
        counts: rising sample counts.
        generators: one a repeat.
        repeat_up_to: the largest count that is repeated.
        ceiling: an upper bound on log p(x).
        truth: log p(x) where it is known.
        log_rho: log ρ where it is known, which tells where the −1/2 line begins.
    """
    first = [
        assess(summary, name=name, ceiling=ceiling, spread=spread)
        for summary, spread in stream(generators[0], counts)
    ]
    cheap = [count for count in counts if count <= repeat_up_to]
    logs: dict[int, list[float]] = {estimate.samples: [estimate.log_p] for estimate in first}
    for repeat in generators[1:] if cheap else ():
        for summary, _ in stream(repeat, cheap):
            logs[summary.samples].append(float(summary.log_mean[0]))
    points = tuple(
        SweepPoint(
            samples=estimate.samples,
            estimate=estimate,
            repeats=tuple(logs[estimate.samples]),
            rms_error=_rms(logs[estimate.samples], truth),
        )
        for estimate in first
    )
    repeated = [point for point in points if len(point.repeats) >= FEWEST_REPEATS]
    settled = [
        point
        for point in points
        if log_rho is not None and math.log(point.samples) >= log_rho + math.log(MARGIN)
    ]
    return Sweep(points=points, slope=fit_slope(repeated), slope_asymptotic=fit_slope(settled))


def fit_slope(points: Sequence[SweepPoint]) -> float | None:
    """Fit the slope of log RMS error against log N by least squares; None for under two points."""
    pairs = [
        (math.log(point.samples), math.log(point.rms_error))
        for point in points
        if point.rms_error is not None and 0 < point.rms_error < math.inf
    ]
    if len(pairs) < 2:
        return None
    x_mean = sum(x for x, _ in pairs) / len(pairs)
    y_mean = sum(y for _, y in pairs) / len(pairs)
    spread = sum((x - x_mean) ** 2 for x, _ in pairs)
    return sum((x - x_mean) * (y - y_mean) for x, y in pairs) / spread


def run_to_target(
    stream: Stream,
    *,
    name: str,
    target_se: float,
    most: int,
    generators: tuple[torch.Generator, torch.Generator],
    ceiling: float = math.inf,
    log_rho: float | None = None,
    at_least: bool = False,
) -> tuple[Sweep, Target]:
    """Sample until the standard error is reached, or say at once that it would take too many.

    To stop at the first count that looks good is to choose lucky draws. What is reported is
    therefore drawn anew, twice as many; where that does not bear the first out, sampling goes on.

    Args:
        stream: the estimator.
        name: of the estimator.
        target_se: the wish, nats.
        most: samples that may be drawn.
        generators: of the search and of what is reported, the only sources of randomness.
        ceiling: an upper bound on log p(x).
        log_rho: log ρ of the weights where it is known: N ≈ ρ/se².
        at_least: `log_rho` is only a lower bound.
    """
    needed = None if log_rho is None else (log_rho - 2 * math.log(target_se)) / math.log(10)
    hopeless = needed is not None and needed > math.log10(most)
    counts = [min(PILOT_SAMPLES, most)] if hopeless else list(_growing(most))
    points = []
    reached, anew_drawn = False, 0
    for summary, spread in stream(generators[0], counts):
        estimate = assess(summary, name=name, ceiling=ceiling, spread=spread)
        estimate = replace(estimate, evaluations=estimate.evaluations + anew_drawn)
        points.append(_unrepeated(estimate))
        if not _meets(estimate, target_se):
            continue
        for again, spread_again in stream(generators[1], [min(2 * estimate.samples, most)]):
            anew = assess(again, name=name, ceiling=ceiling, spread=spread_again)
            reached = _meets(anew, target_se) and _agree(estimate, anew)
            anew_drawn += anew.samples
            anew = replace(anew, evaluations=estimate.samples + anew_drawn)
        if reached:
            points.append(_unrepeated(anew))
            break
        points[-1] = _unrepeated(_not_borne_out(estimate))
    last = points[-1].estimate
    if needed is None or not hopeless:
        needed = _extrapolate(last, target_se) if not reached else math.log10(last.samples)
    target = Target(
        std_error=target_se,
        reached=reached,
        samples_needed_log10=needed,
        reason=_in_words(last, target_se, needed, reached=reached, vague=at_least or not hopeless),
    )
    return Sweep(points=tuple(points), slope=None, slope_asymptotic=None), target


def _unrepeated(estimate: Estimate) -> SweepPoint:
    repeats = (estimate.log_p,)
    return SweepPoint(samples=estimate.samples, estimate=estimate, repeats=repeats, rms_error=None)


def _meets(estimate: Estimate, target_se: float) -> bool:
    return estimate.verdict == "trust" and estimate.std_error <= target_se


def _agree(one: Estimate, other: Estimate) -> bool:
    return abs(one.log_p - other.log_p) <= APART * math.hypot(one.std_error, other.std_error)


def _not_borne_out(estimate: Estimate) -> Estimate:
    reason = "samples drawn anew do not bear it out"
    return replace(estimate, verdict="doubt", reason=reason)


def _growing(most: int) -> Iterator[int]:
    """Count 1000, 1414, 2000, … up to `most`, so that at most 40% too many are drawn."""
    for step in itertools.count():
        count = min(most, round(1000 * 2 ** (step / 2)))
        yield count
        if count == most:
            return


def _extrapolate(estimate: Estimate, target_se: float) -> float:
    relative = max(estimate.std_error, 1 / math.sqrt(max(estimate.ess, 1.0)))
    return math.log10(estimate.samples) + 2 * math.log10(max(relative / target_se, 1.0))


def _in_words(
    estimate: Estimate, target_se: float, needed: float, *, reached: bool, vague: bool
) -> str:
    if reached:
        return f"{estimate.samples:,} samples give a standard error of {estimate.std_error:.3g}"
    if estimate.std_error <= target_se:
        shown = f"{estimate.samples:,} samples show one of {estimate.std_error:.3g}"
        return f"{shown} that is not to be trusted"
    number = f"10^{needed:.1f}" if needed > 6 else f"{10**needed:,.0f}"
    about = "at least" if vague else "about"
    return f"a standard error of {target_se:g} would take {about} {number} samples"


def _rms(logs: Sequence[float], truth: float | None) -> float | None:
    if truth is None:
        return None
    return math.sqrt(sum((log - truth) ** 2 for log in logs) / len(logs))


BIAS = {
    "bdmc": "a lower and an upper bound, each in expectation",
}
LOW = "log p̂ is low on average"
FIRM_ACCEPTANCE = 0.3
"""Mean acceptance of annealing moves below which their chains can hardly have followed the path."""
DECODER_REPEATS = 40_000
"""Counts up to this are repeated where a sample costs a decoder evaluation (20 µs)."""


@dataclass(frozen=True, kw_only=True)
class EstimatorResult:
    """One estimator on one image: its final estimate, and how it got there.

    Args:
        estimate: at the largest count.
        sweep: of the streaming estimators.
        target: what `--target-se` asked, of the streaming estimators.
        bias_direction: on which side of the truth it errs on average.
        elapsed_s: seconds.
    """

    estimate: Estimate
    sweep: Sweep | None
    target: Target | None
    bias_direction: str
    elapsed_s: float


class Bench:
    """Runs estimators on one case.

    Args:
        case: what is to be estimated.
        config: how.
        progress: is told how far the estimator at work is.
    """

    def __init__(
        self, case: Case, config: EvidenceConfig, *, progress: ProgressCallback = no_progress
    ) -> None:
        self.case, self.config, self._progress = case, config, progress
        self.ceiling = float(case.model.ceiling(case.x)[0])

    @cached_property
    def schedule(self) -> Schedule:
        """The annealing schedule of this image."""
        wish = self.config.annealing
        self._progress(self._stage("the pilot run"), 0.0)
        return choose_schedule(
            self.case.precise,
            self.case.x,
            generator=self._generator("pilot"),
            temperatures=wish.temperatures,
            target_sd=wish.target_sd,
            most=wish.most_temperatures,
        )

    @cached_property
    def sandwich(self) -> Sandwich:
        """Bounds from both directions; for simulated images only.

        Raises:
            UsageFault: the image was not drawn from the model.
        """
        if self.case.z is None:
            raise UsageFault(
                f"`bdmc` needs an image drawn from the model; '{self.case.name}' is a real one.",
                hint="Leave bdmc out of --estimators, or estimate a simulated image.",
            )
        schedule = self.schedule
        return sandwich(
            self.case.precise,
            self.case.x,
            self.case.z,
            schedule=schedule,
            chains=self.config.annealing.chains,
            generators=(self._generator("ais"), self._generator("ais-backwards")),
            progress=self._counter("bdmc", 2 * schedule.temperatures),
        )

    @cached_property
    def annealed(self) -> Annealed:
        """Forward chains, for `ais` where no sandwich is made."""
        schedule = self.schedule
        return anneal(
            self.case.precise,
            self.case.x,
            schedule=schedule,
            chains=self.config.annealing.chains,
            generator=self._generator("ais"),
            progress=self._counter("ais", schedule.temperatures),
        )

    @cached_property
    def truth(self) -> Truth | None:
        """What the case knows, or a sandwich of a simulated image."""
        if self.case.truth is not None or self.case.z is None:
            return self.case.truth
        return sandwich_truth(self.sandwich)

    def run(self, name: EstimatorName) -> EstimatorResult:
        """Run one estimator.

        Raises:
            RunFailed: the decoder returned NaN.
            UsageFault: the estimator does not apply to this case.
        """
        start = time.perf_counter()
        sweep: Sweep | None = None
        target: Target | None = None
        if name == "ais":
            estimate = self._ais()
        elif name == "bdmc":
            estimate = as_estimate(self.sandwich)
        else:
            sweep, target = self._stream(name)
            estimate = sweep.points[-1].estimate
        return EstimatorResult(
            estimate=estimate,
            sweep=sweep,
            target=target,
            bias_direction=BIAS.get(name, LOW),
            elapsed_s=time.perf_counter() - start,
        )

    def _ais(self) -> Estimate:
        if "sandwich" in self.__dict__:  # its forward half is this estimate
            estimate, acceptance = self.sandwich.lower, self.sandwich.acceptance
        else:
            found = self.annealed
            estimate = assess(
                summarize(found.log_weight),
                name="ais",
                ceiling=self.ceiling,
                evaluations=found.evaluations,
            )
            acceptance = float(found.acceptance[0])
        details = {**self.schedule.describe(), "acceptance": acceptance}
        spent = estimate.evaluations + self.schedule.evaluations
        estimate = replace(estimate, details=details, evaluations=spent)
        if estimate.verdict == "trust" and acceptance < FIRM_ACCEPTANCE:
            reason = f"only {acceptance:.0%} of the chains' moves were accepted"
            return replace(estimate, verdict="doubt", reason=reason)
        return estimate

    def _stream(self, name: EstimatorName) -> tuple[Sweep, Target | None]:
        wish = self.config.target_se
        counts, repeated = self._counts(name), self._repeat_up_to()
        draws = counts[-1] + (self.config.repeats - 1) * max(
            (count for count in counts if count <= repeated), default=0
        )
        count = self._counter(name, draws)
        if wish is not None:  # nobody knows how many samples that takes
            count = no_progress
        stream = {
            "prior": self._prior_stream,
            "importance": self._importance_stream,
            "control": self._control_stream,
        }[name](count)
        if wish is not None:
            log_rho, vague = self._log_rho() if name == "prior" else (None, False)
            return run_to_target(
                stream,
                name=name,
                target_se=wish,
                most=self.config.max_samples,
                generators=(self._generator(name, 0), self._generator(name, "anew")),
                ceiling=self.ceiling,
                log_rho=log_rho,
                at_least=vague,
            )
        truth = self.truth
        sweep = run_sweep(
            stream,
            name=name,
            counts=counts,
            generators=[self._generator(name, i) for i in range(self.config.repeats)],
            repeat_up_to=repeated,
            ceiling=self.ceiling,
            truth=truth.log_p if truth else None,
            log_rho=truth.log_rho if truth and name == "prior" else None,
        )
        return sweep, None

    def _prior_stream(self, progress: CountCallback) -> Stream:
        def stream(
            source: torch.Generator, counts: Sequence[int]
        ) -> Iterator[tuple[WeightSummary, Spread | None]]:
            for summary in prior_weights(
                self.case.model, self.case.x, samples=counts, generator=source, progress=progress
            ):
                yield summary, None

        return stream

    def _importance_stream(self, progress: CountCallback) -> Stream:
        proposal = self._proposal

        def stream(
            source: torch.Generator, counts: Sequence[int]
        ) -> Iterator[tuple[WeightSummary, Spread | None]]:
            for summary in importance_weights(
                self.case.precise,
                self.case.x,
                proposal=proposal,
                samples=counts,
                generator=source,
                progress=progress,
            ):
                yield summary, None

        return stream

    def _control_stream(self, progress: CountCallback) -> Stream:
        wish, fewest = self.config.target_se, 2 * REPLICATES
        most = max(self.config.samples) if wish is None else self.config.max_samples
        if most < fewest:
            flag = "--samples" if wish is None else "--max-samples"
            raise UsageFault(
                f"`control` needs at least {fewest} samples, and {flag} allows {most}.",
                hint=f"Raise {flag}, or leave control out of --estimators.",
            )

        def stream(
            source: torch.Generator, counts: Sequence[int]
        ) -> Iterator[tuple[WeightSummary, Spread | None]]:
            yield from quasi_weights(
                self.case.model, self.case.x, samples=counts, generator=source, progress=progress
            )

        return stream

    @cached_property
    def _proposal(self) -> Proposal:
        if self.case.proposal is not None:
            return self.case.proposal
        return laplace_proposal(
            self.case.precise, self.case.x, generator=self._generator("laplace")
        )

    def _counts(self, name: EstimatorName) -> list[int]:
        counts = rising(self.config.samples)
        if name != "importance":
            return counts
        most = self.config.importance_samples
        return sorted({min(count, most) for count in counts})

    def _repeat_up_to(self) -> int:
        if isinstance(self.case.model, LinearGaussian):
            return self.config.repeat_numbers // self.case.dim
        return DECODER_REPEATS

    def _log_rho(self) -> tuple[float | None, bool]:
        """Return log ρ of the prior's weights or, second value true, a lower bound on it."""
        truth = self.truth
        if truth is None:
            return None, False
        if truth.log_rho is not None:
            return truth.log_rho, False
        # log E[w²]/E[w]² = log E_posterior[w/E w] ≥ KL by Jensen's inequality.
        return truth.kl_posterior_prior, True

    def _stage(self, name: str) -> str:
        return f"{self.case.label}: {name}"

    def _counter(self, name: str, total: int) -> CountCallback:
        return count_progress(total, stage=self._stage(name), progress=self._progress)

    def _generator(self, *names: object) -> torch.Generator:
        return generator(self.config.compute.seed, *names, self.case.name, self.case.dim)


def nats_to_log10(nats: float) -> float:
    """Turn a natural logarithm into a decimal one."""
    return nats / math.log(10)
