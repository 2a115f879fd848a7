"""Questions 2, 3 and 7: log p(x) by averaging, divergences of Gaussians, the terms of the loss."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

from dlcli.assignment.lab import Lab, Subject, stored_signature, stored_test
from dlcli.assignment.question import Answer, Figure, Number, Text, question
from dlcli.display.plots import colour, house_style, new_figure, save_figure
from dlcli.engine.settings import MachineConfig
from dlcli.evidence.config import EvidenceConfig, KlConfig
from dlcli.evidence.display import density_figure, error_figure
from dlcli.evidence.estimate import DimResult, McEstimate
from dlcli.evidence.estimate import run as estimates
from dlcli.evidence.gaussians import KlResult, run_kl

EXPECTED = {2: "8.4 ± 1", 20: "60 ± 3", 200: "354 ± 13"}
"""KL(posterior ‖ prior) over random images, nats: mean and standard deviation, in closed form."""
APART = 3.0
MU, SIGMA = (0.5, -1.0, 0.0), (0.5, 1.0, 2.0)


@question(2)
def prior_average(lab: Lab, text: Text) -> Answer:
    """Estimate log p(x) where it is known exactly, in three ways, at several dimensions."""
    config = EvidenceConfig(
        dims=lab.sizes.dims, samples=lab.sizes.prior_samples, compute=MachineConfig(**lab.compute)
    )
    *_, found = estimates(config)
    misses = (
        f"{abs(each.estimate.log_p - result.truth.log_p):,.2f} nats at D = {result.dim} "
        f"({each.estimate.samples:,} draws)"
        for result in found.results
        for each in result.estimators
        if each.estimate.name == "prior" and result.truth is not None
    )
    dims = " ".join(map(str, lab.sizes.dims))
    return text.answer(
        numbers=[number for result in found.results for number in _estimates(result, found=found)],
        figures=[
            text.figure(
                "errors",
                functools.partial(error_figure, dataclasses.replace(found, signature="")),
                misses=", ".join(misses),
            )
        ],
        commands=[f"dl mc-estimate --dims {dims} --plot error.svg{lab.and_seed}"],
    )


def _estimates(result: DimResult, *, found: McEstimate) -> list[Number]:
    truth, expected = result.truth, EXPECTED.get(result.dim)
    needed = Number(
        name=f"D = {result.dim}: KL(posterior ‖ prior)",
        value=truth.kl_posterior_prior if truth else None,
        unit=f"nats, so about 10^{result.samples_needed_log10 or 0:.0f} samples",
        reference=f"{expected} over random images" if expected else "",
        signature=found.signature,
    )
    return [
        needed,
        *(
            Number(
                name=f"D = {result.dim}: log p̂(x), {one.name} ({one.verdict})",
                value=one.log_p,
                ci95=one.ci95,
                spread="95% interval",
                unit="nats",
                digits=6,
                reference=f"exactly {truth.log_p:.2f}" if truth else "",
                signature=found.signature,
            )
            for one in (each.estimate for each in result.estimators)
        ),
    ]


@question(3)
def divergence(lab: Lab, text: Text) -> Answer:
    """Compute KL(q ‖ p) of two unit Gaussians, near and far from each other."""
    near, far = (_kl(lab, mu_p=(mean,)) for mean in (0.0, APART))
    return text.answer(
        numbers=[
            *_both(near, name="μ_q = μ_p = 0", exact="0 exactly"),
            *_both(far, name=f"μ_q = 0, μ_p = {APART:g}", exact=f"½ μ_p² = {APART**2 / 2:g}"),
        ],
        figures=[
            text.figure(
                "densities",
                functools.partial(density_figure, dataclasses.replace(far, signature="")),
                apart=APART,
            )
        ],
        commands=[
            f"dl kl --mu-q 0 --mu-p 0{lab.and_seed}",
            f"dl kl --mu-q 0 --mu-p {APART:g} --plot densities.svg{lab.and_seed}",
        ],
    )


@question(7, needs=("vae",))
def loss_terms(lab: Lab, text: Text) -> Answer:
    """Hold the derived formula against the code, and show both terms of a trained model's loss."""
    zeros = (0.0,) * len(MU)
    found = _kl(lab, mu_q=MU, sigma_q=SIGMA, mu_p=zeros)
    exact = f"by hand {by_hand(MU, SIGMA):.6f}"
    mu_q, sigma_q, mu_p = (
        " ".join(f"{value:g}" for value in values) for values in (MU, SIGMA, zeros)
    )
    return text.answer(
        numbers=[
            *_both(found, name=f"μ = ({mu_q}), σ = ({sigma_q})", exact=exact),
            Number(
                name="autograd against the derivatives by hand, relative",
                value=found.gradient_check.relative_error,
                digits=2,
                reference="0, but for rounding",
                signature=found.signature,
            ),
            *(number for subject in lab.subjects for number in _stored_terms(subject)),
        ],
        figures=[drawn for subject in lab.subjects for drawn in _latents(subject, text)],
        commands=[
            f"dl kl --mu-q {mu_q} --sigma-q {sigma_q} --mu-p {mu_p}{lab.and_seed}",
            *(f"dl runs show {subject.name}" for subject in lab.subjects),
        ],
    )


def by_hand(mean: Sequence[float], sigma: Sequence[float]) -> float:
    """Return ½ Σ (σ² + μ² − log σ² − 1): the assignment's formula, term by term."""
    terms = (s * s + m * m - math.log(s * s) - 1 for m, s in zip(mean, sigma, strict=True))
    return 0.5 * math.fsum(terms)


def _kl(
    lab: Lab,
    *,
    mu_q: Sequence[float] = (0.0,),
    sigma_q: Sequence[float] = (1.0,),
    mu_p: Sequence[float] = (0.0,),
) -> KlResult:
    return run_kl(
        KlConfig(
            mu_q=tuple(mu_q),
            sigma_q=tuple(sigma_q),
            mu_p=tuple(mu_p),
            samples=lab.sizes.kl_samples,
            compute=MachineConfig(**lab.compute),
        )
    )


def _both(found: KlResult, *, name: str, exact: str) -> tuple[Number, Number]:
    """Return the closed form and the Monte Carlo estimate beside it."""
    sampled = found.monte_carlo
    return (
        Number(
            name=f"KL(q ‖ p), {name}, closed form",
            value=found.closed_form,
            unit="nats",
            reference=exact,
            signature=found.signature,
        ),
        Number(
            name=f"by {sampled.samples:,} draws, {name}",
            value=sampled.value,
            error=sampled.std_error,
            unit="nats",
            reference=exact,
            signature=found.signature,
        ),
    )


def _stored_terms(subject: Subject) -> list[Number]:
    """Return the two terms of a trained model's loss, as recorded at the end of its training."""
    test, line = stored_test(subject.trained.run), stored_signature(subject.trained.run)
    if test is None:
        return []
    drawn = ", over draws" if subject.trained.model.flow is not None else ""
    return [
        Number(name=f"{what}, `{subject.name}`", value=test[key], unit="nats", signature=line)
        for what, key in (("L_recon", "reconstruction"), (f"L_reg{drawn}", "kl"))
    ]


def _latents(subject: Subject, text: Text) -> list[Figure]:
    """Draw what each latent pays; nothing where that was not recorded."""
    result = subject.trained.run.record().get("result")
    recorded = result.get("kl_per_dim") if isinstance(result, dict) else None
    if not isinstance(recorded, list) or not recorded:
        return []
    costs = sorted((float(cost) for cost in recorded), reverse=True)
    return [
        text.figure(
            "latents",
            functools.partial(_latent_figure, costs),
            name=subject.name,
            count=len(costs),
            most=costs[0],
            least=costs[-1],
            together=math.fsum(costs),
        )
    ]


def _latent_figure(costs: Sequence[float], path: Path) -> None:
    with house_style():
        figure = new_figure(6.4, 2.6)
        axes = figure.add_subplot()
        axes.bar(range(1, len(costs) + 1), costs, color=colour(0), width=0.7)
        axes.set_xlabel("latent, by what it pays")
        axes.set_ylabel("KL (nats)")
        axes.grid(False, axis="x")
        save_figure(figure, path)
