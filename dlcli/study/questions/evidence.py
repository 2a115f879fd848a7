"""Question 2: why averaging over the prior does not give p(x)."""

from __future__ import annotations

import dataclasses
import functools

from dlcli.evidence import EvidenceConfig
from dlcli.evidence import run as estimates
from dlcli.evidence.config import PlaceConfig
from dlcli.evidence.estimate import DimResult, McEstimate
from dlcli.report.evidence_figures import error_figure
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question

EXPECTED = {2: "8.4 ± 1", 20: "60 ± 3", 200: "354 ± 13"}
"""KL(posterior ‖ prior) over random images, nats: mean and standard deviation, in closed form."""


def answer(lab: Lab) -> Answer:
    """Estimate log p(x) where it is known exactly, in three ways, at several dimensions."""
    config = EvidenceConfig(
        dims=lab.sizes.dims,
        samples=lab.sizes.prior_samples,
        compute=PlaceConfig(device=lab.device, seed=lab.seed, threads=lab.threads),
    )
    *_, found = estimates(config)
    dims = " ".join(map(str, lab.sizes.dims))
    return Answer(
        words=(
            "The plain average of p(x|z) over draws of z from the prior is unbiased, and useless. "
            "Only those z that could have made this very image count, and the prior hardly ever "
            "draws one: about e^KL draws are needed before the first arrives, where KL is the "
            "divergence of the posterior from the prior, and it grows in proportion to the number "
            "of latent dimensions. The error falls like 1/√N only *after* that.",
            "Here x = Wz + noise is linear, so that log p(x) is known to the last digit and no "
            "estimate can hide. Importance sampling, which draws z from where the posterior is, "
            "and annealed importance sampling, which walks there from the prior, both find it.",
        ),
        formula="p(x) ≈ (1/N) Σ p(x | z_n),   z_n ~ N(0, I)   needs   N ≳ exp KL(p(z|x) ‖ p(z))",
        numbers=tuple(_numbers(found)),
        figures=(
            figure(
                functools.partial(error_figure, dataclasses.replace(found, signature="")),
                alt="Error of the estimate against the number of samples, both axes logarithmic: "
                "the prior's lines for 20 and 200 dimensions stay flat at thousands of nats, the "
                "line for 2 dimensions falls, and importance sampling lies far below.",
                caption=f"Root-mean-square error of log p̂(x). {_misses(found)}",
            ),
        ),
        commands=(f"dl mc-estimate --dims {dims} --plot error.svg{lab.and_seed}",),
    )


def _misses(found: McEstimate) -> str:
    """Say by how much the prior average misses the truth at its largest count."""
    told = [
        f"{abs(each.estimate.log_p - result.truth.log_p):,.2f} nats at D = {result.dim} "
        f"({each.estimate.samples:,} draws)"
        for result in found.results
        for each in result.estimators
        if each.estimate.name == "prior" and result.truth is not None
    ]
    return f"In the end the prior's average misses log p(x) by {', '.join(told)}."


def _numbers(found: McEstimate) -> list[Number]:
    numbers = []
    for result in found.results:
        numbers.append(_needed(result, signature=found.signature))
        for each in result.estimators:
            estimate, truth = each.estimate, result.truth
            numbers.append(
                Number(
                    name=f"D = {result.dim}: log p̂(x), {estimate.name} ({estimate.verdict})",
                    value=estimate.log_p,
                    ci95=estimate.ci95,
                    spread="95% interval",
                    unit="nats",
                    digits=6,
                    reference=f"exactly {truth.log_p:.2f}" if truth else "",
                    signature=found.signature,
                )
            )
    return numbers


def _needed(result: DimResult, *, signature: str) -> Number:
    expected = EXPECTED.get(result.dim)
    return Number(
        name=f"D = {result.dim}: KL(posterior ‖ prior)",
        value=result.truth.kl_posterior_prior if result.truth else None,
        unit=f"nats, so about 10^{result.samples_needed_log10 or 0:.0f} samples",
        reference=f"{expected} over random images" if expected else "",
        signature=signature,
    )


QUESTION = Question(
    number=2,
    chapter="Variational auto-encoders",
    title="Why the prior average fails",
    asks="p(x) is the mean of p(x|z) over the prior. Why not simply average over many draws?",
    answer=answer,
)
