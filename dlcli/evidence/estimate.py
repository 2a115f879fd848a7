"""`dl mc-estimate`: how badly does the prior average estimate p(x), and why? (Question 2)

`run` is a generator of growing results, so that whoever listens can stop at any time and still has
what was finished.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch

from dlcli.engine.config import settings_signature
from dlcli.engine.device import prepare
from dlcli.engine.events import ProgressCallback, no_progress
from dlcli.engine.seed import generator
from dlcli.engine.settings import compute_config
from dlcli.errors import UsageFault
from dlcli.evidence.annealing import Annealed, Sandwich, anneal, as_estimate, sandwich
from dlcli.evidence.cases import Case, Truth, label_of, sandwich_truth, simulated_cases
from dlcli.evidence.config import EstimatorName, EvidenceConfig, validate
from dlcli.evidence.diagnostics import Estimate, assess, summarize
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
from dlcli.evidence.progress import (
    CountCallback,
    count_progress,
)
from dlcli.evidence.sweep import Stream, Sweep, Target, run_sweep, run_to_target

SE_OF_INTEREST = 0.01
"""Standard error (nats) for which the samples needed are stated where no target is set."""
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
        target: what `--target-se` takes, of the streaming estimators.
        bias_direction: on which side of the truth it errs on average.
        elapsed_s: seconds.
    """

    estimate: Estimate
    sweep: Sweep | None
    target: Target | None
    bias_direction: str
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class DimResult:
    """All estimators on one image.

    Args:
        dim: D.
        case: a word for the image.
        truth: what is known of log p(x); None where nothing is.
        ceiling: an upper bound on log p(x) that needs no sampling, nats; may be inf.
        estimators: in the order of the config.
    """

    dim: int
    case: str
    truth: Truth | None
    ceiling: float
    estimators: tuple[EstimatorResult, ...]

    @property
    def label(self) -> str:
        """What tells the image from the others; see `label_of`."""
        return label_of(self.case, dim=self.dim)

    @property
    def samples_needed_log10(self) -> float | None:
        """log10 of e^KL: the order of prior samples for *any* useful estimate.

        Chatterjee & Diaconis (2018), "The sample size required in importance sampling".
        """
        return None if self.truth is None else self.truth.kl_posterior_prior / math.log(10)

    def samples_for_se_log10(self, std_error: float) -> float | None:
        """log10 of ρ/se²: prior samples for a standard error of log p̂, where ρ is known."""
        if self.truth is None or self.truth.log_rho is None:
            return None
        return (self.truth.log_rho - 2 * math.log(std_error)) / math.log(10)


@dataclass(frozen=True, kw_only=True)
class McEstimate:
    """What `dl mc-estimate` prints, complete or so far."""

    model: str
    results: tuple[DimResult, ...]
    signature: str
    std_error_of_interest: float
    complete: bool


def run(
    config: EvidenceConfig,
    *,
    cases: Iterable[Case] | None = None,
    signature: str | None = None,
    progress: ProgressCallback = no_progress,
) -> Iterator[McEstimate]:
    """Estimate log p(x) of one image for each case, with every estimator.

    Args:
        config: what to do.
        cases: images under other models than `config.model` (a trained VAE's decoder, say);
            `config.dims` is then not read.
        signature: of such cases; see `estimator_parts`.
        progress: called with how far the estimator at work is.

    Yields:
        The result so far after every estimator; the last one is complete.

    Raises:
        ConfigError: an empty list.
        UsageFault: an estimator that does not apply, or a device that does not exist.
        RunFailed: a decoder returned NaN.
    """
    validate(config)
    prepare(compute_config(config.compute))
    found = McEstimate(
        model=config.model,
        results=(),
        signature=signature or sign(config),
        std_error_of_interest=config.target_se or SE_OF_INTEREST,
        complete=False,
    )
    for case in simulated_cases(config) if cases is None else cases:
        done, at_work = found.results, CaseEstimators(case, config, progress=progress)
        result = DimResult(
            dim=case.dim,
            case=case.name,
            truth=at_work.truth,
            ceiling=at_work.ceiling,
            estimators=(),
        )
        for name in dict.fromkeys(config.estimators):
            result = replace(result, estimators=(*result.estimators, at_work.run(name)))
            found = replace(found, model=case.model.name, results=(*done, result))
            yield found
    yield replace(found, complete=True)


class CaseEstimators:
    """Runs estimators on one case; what several of them need is made once.

    The annealing schedule serves `ais` and `bdmc`, and the sandwich that serves as the truth of a
    simulated image under a decoder is also its `bdmc` and its `ais`.

    Args:
        case: what is to be estimated.
        config: how.
        progress: called with how far the estimator at work is.
    """

    def __init__(
        self, case: Case, config: EvidenceConfig, *, progress: ProgressCallback = no_progress
    ) -> None:
        self.case, self.config, self._progress = case, config, progress
        self.ceiling = float(case.model.ceiling(case.x)[0])

    @cached_property
    def schedule(self) -> Schedule:
        """The annealing schedule of this image."""
        self._progress(0.0, f"{self.case.label}: the pilot run")
        settings = self.config.annealing
        return choose_schedule(
            self.case.precise,
            self.case.x,
            generator=self._generator("pilot"),
            temperatures=settings.temperatures,
            target_sd=settings.target_sd,
            most=settings.most_temperatures,
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
            sweep, target = self._sweep(name)
            estimate = sweep.points[-1].estimate
        return EstimatorResult(
            estimate=estimate,
            sweep=sweep,
            target=target,
            bias_direction="a lower and an upper bound, each in expectation"
            if name == "bdmc"
            else "log p̂ is low on average",
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

    def _sweep(self, name: EstimatorName) -> tuple[Sweep, Target | None]:
        config, truth = self.config, self.truth
        if config.target_se is not None:  # how many samples that takes is not known
            self._progress(0.0, f"{self.case.label}: {name}")
            log_rho, is_bound = self._log_rho() if name == "prior" else (None, False)
            return run_to_target(
                self._stream(name, progress=no_progress),
                name=name,
                target_se=config.target_se,
                most=config.max_samples,
                generators=(self._generator(name, 0), self._generator(name, "anew")),
                ceiling=self.ceiling,
                log_rho=log_rho,
                at_least=is_bound,
            )
        counts = rising(config.samples)
        if name == "importance":
            counts = sorted({min(count, config.importance_samples) for count in counts})
        is_cheap = isinstance(self.case.model, LinearGaussian)
        repeat_up_to = config.repeat_numbers // self.case.dim if is_cheap else DECODER_REPEATS
        repeated = max((count for count in counts if count <= repeat_up_to), default=0)
        draws = counts[-1] + (config.repeats - 1) * repeated
        sweep = run_sweep(
            self._stream(name, progress=self._counter(name, draws)),
            name=name,
            counts=counts,
            generators=[self._generator(name, i) for i in range(config.repeats)],
            repeat_up_to=repeat_up_to,
            ceiling=self.ceiling,
            truth=truth.log_p if truth else None,
            log_rho=truth.log_rho if truth and name == "prior" else None,
        )
        return sweep, None

    def _stream(self, name: EstimatorName, *, progress: CountCallback) -> Stream:
        case = self.case
        if name == "prior":
            return partial(prior_weights, case.model, case.x, progress=progress)
        if name == "importance":
            weights = partial(importance_weights, case.precise, case.x, proposal=self._proposal)
            return partial(weights, progress=progress)
        config, fewest = self.config, 2 * REPLICATES
        most = max(config.samples) if config.target_se is None else config.max_samples
        if most < fewest:
            flag = "--samples" if config.target_se is None else "--max-samples"
            raise UsageFault(
                f"`control` needs at least {fewest} samples, and {flag} allows {most}.",
                hint=f"Raise {flag}, or leave control out of --estimators.",
            )
        return partial(quasi_weights, case.model, case.x, progress=progress)

    @cached_property
    def _proposal(self) -> Proposal:
        if self.case.proposal is not None:
            return self.case.proposal
        return laplace_proposal(
            self.case.precise, self.case.x, generator=self._generator("laplace")
        )

    def _log_rho(self) -> tuple[float | None, bool]:
        """Return log ρ of the prior's weights or, second value true, a lower bound on it."""
        truth = self.truth
        if truth is None:
            return None, False
        if truth.log_rho is not None:
            return truth.log_rho, False
        # log E[w²]/E[w]² = log E_posterior[w/E w] ≥ KL by Jensen's inequality.
        return truth.kl_posterior_prior, True

    def _counter(self, name: str, total: int) -> CountCallback:
        stage = f"{self.case.label}: {name}"
        return count_progress(total, stage=stage, progress=self._progress)

    def _generator(self, *names: object) -> torch.Generator:
        return generator(self.config.compute.seed, *names, self.case.name, self.case.dim)


def sign(config: EvidenceConfig) -> str:
    """Say in one line what the numbers of simulated images depend on."""
    linear = config.model == "linear-gaussian"
    parts = {
        "model": config.model,
        "dims": config.dims,
        "pixels": config.pixels,
        "noise_variance": config.noise_variance if linear else None,
        "hidden": None if linear else config.hidden,
        "logit_scale": None if linear else config.logit_scale,
        **estimator_parts(config),
        "seed": config.compute.seed,
    }
    measured = {"measure": "log-evidence", "unit": "nats"}
    return settings_signature(config, measured, order=tuple(parts), composed=parts)


def estimator_parts(config: EvidenceConfig) -> dict[str, object]:
    """Return the parts of a signature that say how log p(x) was estimated."""
    annealed = {"ais", "bdmc"} & set(config.estimators)
    weighed = "importance" in config.estimators
    return {
        "estimators": config.estimators,
        "samples": config.samples if config.target_se is None else None,
        "importance_samples": config.importance_samples if weighed else None,
        "repeats": config.repeats if config.target_se is None else None,
        "target_se": config.target_se,
        "chains": config.annealing.chains if annealed else None,
        "temperatures": (config.annealing.temperatures or "auto") if annealed else None,
    }


def to_dict(found: McEstimate) -> dict[str, object]:
    """Return the result under the names that scripts rely on; infinities are left to the writer."""
    return {
        "model": found.model,
        "results": [_dim_dict(result, found.std_error_of_interest) for result in found.results],
        "signature": found.signature,
        "partial": not found.complete,
    }


def _dim_dict(result: DimResult, std_error: float) -> dict[str, object]:
    truth = result.truth
    return {
        "dim": result.dim,
        "image": result.case,
        "truth": truth.log_p if truth else None,
        "truth_kind": truth.kind if truth else None,
        "truth_error": truth.error if truth else None,
        "kl_posterior_prior": truth.kl_posterior_prior if truth else None,
        "samples_needed_log10": result.samples_needed_log10,
        "log_rho": truth.log_rho if truth else None,
        "samples_for_se_log10": result.samples_for_se_log10(std_error),
        "se_of_interest": std_error,
        "ceiling": result.ceiling,
        "estimators": [_estimator_dict(each, truth) for each in result.estimators],
    }


OF_A_POINT = ("samples", "log_p", "std_error", "ci95", "ess", "max_weight", "pareto_k", "verdict")
OF_AN_ESTIMATE = ("name", *OF_A_POINT, "tail_k", "reason", "evaluations", "details")


def _estimator_dict(result: EstimatorResult, truth: Truth | None) -> dict[str, object]:
    estimate, sweep = result.estimate, result.sweep
    return {
        **{name: getattr(estimate, name) for name in OF_AN_ESTIMATE},
        "bias": estimate.log_p - truth.log_p if truth else None,
        "bias_direction": result.bias_direction,
        "elapsed_s": result.elapsed_s,
        "target": result.target,
        "slope": sweep.slope if sweep else None,
        "slope_asymptotic": sweep.slope_asymptotic if sweep else None,
        "sweep": [
            {
                **{name: getattr(point.estimate, name) for name in OF_A_POINT},
                "rms_error": point.rms_error,
                "repeats": list(point.repeats),
            }
            for point in (sweep.points if sweep else ())
        ],
    }
