"""`dl mc-estimate`: how badly does the prior average estimate p(x), and why? (Question 2)

`run` is a generator of growing results, so that whoever listens can stop at any time and still has
what was finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dlcli.engine.config import signature as signed
from dlcli.engine.device import prepare
from dlcli.evidence.bench import Bench, EstimatorResult, Sweep, nats_to_log10
from dlcli.evidence.cases import Case, Truth, label_of, simulated_cases
from dlcli.evidence.config import EvidenceConfig, validate
from dlcli.evidence.progress import ProgressCallback, no_progress

SE_OF_INTEREST = 0.01
"""Standard error (nats) for which the samples needed are stated where none is asked for."""


@dataclass(frozen=True, kw_only=True)
class DimResult:
    """All estimators on one image.

    Args:
        dim: D.
        case: a word for the image.
        truth: what is known of log p(x); None where nothing is.
        ceiling: an upper bound on log p(x) that needs no sampling, nats; may be inf.
        estimators: in the order asked for.
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
        return None if self.truth is None else nats_to_log10(self.truth.kl_posterior_prior)

    def samples_for_se_log10(self, std_error: float) -> float | None:
        """log10 of ρ/se²: prior samples for a standard error of log p̂, where ρ is known."""
        if self.truth is None or self.truth.log_rho is None:
            return None
        return nats_to_log10(self.truth.log_rho - 2 * math.log(std_error))


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
        progress: is told how far the estimator at work is.

    Yields:
        The result so far after every estimator; the last one is complete.

    Raises:
        ConfigError: an empty list.
        UsageFault: an estimator that does not apply, or a device that does not exist.
        RunFailed: a decoder returned NaN.
    """
    validate(config)
    prepare(config.compute.resolved())
    found = McEstimate(
        model=config.model,
        results=(),
        signature=signature or sign(config),
        std_error_of_interest=config.target_se or SE_OF_INTEREST,
        complete=False,
    )
    for case in simulated_cases(config) if cases is None else cases:
        done = found.results
        for result in _one_case(case, config, progress=progress):
            found = replace(found, model=case.model.name, results=(*done, result))
            yield found
    yield replace(found, complete=True)


def _one_case(
    case: Case, config: EvidenceConfig, *, progress: ProgressCallback
) -> Iterator[DimResult]:
    bench = Bench(case, config, progress=progress)
    result = DimResult(
        dim=case.dim,
        case=case.name,
        truth=bench.truth,
        ceiling=bench.ceiling,
        estimators=(),
    )
    for name in dict.fromkeys(config.estimators):
        result = replace(result, estimators=(*result.estimators, bench.run(name)))
        yield result


def sign(config: EvidenceConfig) -> str:
    """Say in one line what the numbers of simulated images depend on."""
    linear = config.model == "linear-gaussian"
    return signed(
        measure="log-evidence",
        unit="nats",
        model=config.model,
        dims=config.dims,
        pixels=config.pixels,
        noise_variance=config.noise_variance if linear else None,
        hidden=None if linear else config.hidden,
        logit_scale=None if linear else config.logit_scale,
        **estimator_parts(config),
        seed=config.compute.seed,
    )


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


def _estimator_dict(result: EstimatorResult, truth: Truth | None) -> dict[str, object]:
    estimate = result.estimate
    return {
        "name": estimate.name,
        "samples": estimate.samples,
        "log_p": estimate.log_p,
        "std_error": estimate.std_error,
        "ci95": list(estimate.ci95),
        "ess": estimate.ess,
        "max_weight": estimate.max_weight,
        "pareto_k": estimate.pareto_k,
        "tail_k": estimate.tail_k,
        "verdict": estimate.verdict,
        "reason": estimate.reason,
        "bias": estimate.log_p - truth.log_p if truth else None,
        "bias_direction": result.bias_direction,
        "evaluations": estimate.evaluations,
        "elapsed_s": result.elapsed_s,
        "details": estimate.details,
        "target": result.target,
        "slope": result.sweep.slope if result.sweep else None,
        "slope_asymptotic": result.sweep.slope_asymptotic if result.sweep else None,
        "sweep": _sweep_list(result.sweep),
    }


def _sweep_list(sweep: Sweep | None) -> list[dict[str, object]]:
    return [
        {
            "samples": point.samples,
            "log_p": point.estimate.log_p,
            "std_error": point.estimate.std_error,
            "ci95": list(point.estimate.ci95),
            "ess": point.estimate.ess,
            "max_weight": point.estimate.max_weight,
            "pareto_k": point.estimate.pareto_k,
            "verdict": point.estimate.verdict,
            "rms_error": point.rms_error,
            "repeats": list(point.repeats),
        }
        for point in (sweep.points if sweep else ())
    ]
