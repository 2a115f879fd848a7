"""The estimators at work on one case; what several of them need is made once.

The annealing schedule serves `ais` and `bdmc`, and the sandwich that serves as the truth of a
simulated image under a decoder is also its `bdmc` and its `ais`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.evidence.annealing import Annealed, anneal
from dlcli.evidence.bdmc import Sandwich, as_estimate, sandwich
from dlcli.evidence.cases import Case, Truth, sandwich_truth
from dlcli.evidence.config import EstimatorName, EvidenceConfig
from dlcli.evidence.diagnostics import Estimate, Spread, assess
from dlcli.evidence.estimators import importance_weights, prior_weights, rising
from dlcli.evidence.laplace import laplace_proposal
from dlcli.evidence.linear_gaussian import LinearGaussian
from dlcli.evidence.proposal import Proposal
from dlcli.evidence.quasi import REPLICATES, quasi_weights
from dlcli.evidence.schedule import Schedule, choose_schedule
from dlcli.evidence.stream import WeightSummary, summarize
from dlcli.evidence.sweep import Stream, Sweep, Target, run_sweep, run_to_target
from dlcli.evidence.telling import Tell, Told, fraction_of, unheard

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
        tell: hears how far the estimator at work is.
    """

    def __init__(self, case: Case, config: EvidenceConfig, *, tell: Tell = unheard) -> None:
        self.case, self.config, self._tell = case, config, tell
        self.ceiling = float(case.model.ceiling(case.x)[0])

    @cached_property
    def schedule(self) -> Schedule:
        """The annealing schedule of this image."""
        wish = self.config.annealing
        self._tell(self._stage("the pilot run"), 0.0)
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
            told=self._told("bdmc", 2 * schedule.temperatures),
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
            told=self._told("ais", schedule.temperatures),
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
        told = self._told(name, draws)
        if wish is not None:  # nobody knows how many samples that takes
            told = unheard
        stream = {
            "prior": self._prior_stream,
            "importance": self._importance_stream,
            "control": self._control_stream,
        }[name](told)
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

    def _prior_stream(self, told: Told) -> Stream:
        def stream(
            source: torch.Generator, counts: Sequence[int]
        ) -> Iterator[tuple[WeightSummary, Spread | None]]:
            for summary in prior_weights(
                self.case.model, self.case.x, samples=counts, generator=source, told=told
            ):
                yield summary, None

        return stream

    def _importance_stream(self, told: Told) -> Stream:
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
                told=told,
            ):
                yield summary, None

        return stream

    def _control_stream(self, told: Told) -> Stream:
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
                self.case.model, self.case.x, samples=counts, generator=source, told=told
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

    def _told(self, name: str, total: int) -> Told:
        return fraction_of(total, stage=self._stage(name), tell=self._tell)

    def _generator(self, *names: object) -> torch.Generator:
        return generator(self.config.compute.seed, *names, self.case.name, self.case.dim)


def nats_to_log10(nats: float) -> float:
    """Turn a natural logarithm into a decimal one."""
    return nats / math.log(10)
