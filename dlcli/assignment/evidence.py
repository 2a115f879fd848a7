"""Question 1: drawing an image from the model, z first and then x given z."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from dlcli.assignment.lab import Lab, Subject, stored_signature, stored_test
from dlcli.assignment.page import latent_figure
from dlcli.assignment.question import Answer, Figure, Number, Question, figure
from dlcli.display.images import image_grid
from dlcli.evidence.config import EvidenceConfig, KlConfig, MachineConfig
from dlcli.evidence.display import density_figure, error_figure
from dlcli.evidence.estimate import DimResult, McEstimate
from dlcli.evidence.estimate import run as estimates
from dlcli.evidence.gaussians import KlResult, run_kl
from dlcli.vae.sampling import AncestralSample, ancestral_sample, draw_latents, of_run

COUNT, DRAWS, SHOWN = 200, 4, 10


def answer_sampling(lab: Lab) -> Answer:
    """Draw latents, decode them, and draw pixels from what they decode to."""
    subject = lab.subjects[0]
    source = of_run(subject.trained)
    latents = draw_latents(source.model, count=COUNT, seed=lab.seed)
    made = ancestral_sample(
        source.model, latents, draws=DRAWS, seed=lab.seed, likelihood=source.likelihood
    )
    signature = source.signature(count=COUNT, draws=DRAWS, seed=lab.seed, file=None)
    D = made.z.shape[1]
    rows = np.concatenate([made.means[:, None], made.draws], axis=1)[:SHOWN].swapaxes(0, 1)
    names = ("mean", *(f"draw {number + 1}" for number in range(DRAWS)))
    return Answer(
        words=(
            "Sampling needs no inference. The model is a directed graph with one arrow, from z to "
            "x, so one follows the arrow: draw z from the standard normal, send it through the "
            "decoder f, and let each pixel be white with the probability that f(z) gives it. Both "
            "draws are one line of code, and what comes out has exactly the distribution p(x).",
            "The figure shows the two steps apart. A column is one z. Its top row is f(z), the "
            "*mean* of p(x|z), which is what most papers print; below it are true draws of x. They "
            "are grainier, because given z the pixels are independent.",
        ),
        formula="z ~ N(0, I),   x_m | z ~ Bernoulli(f(z)_m)",
        numbers=(
            Number(
                name=f"log N(z; 0, I), mean of {COUNT} draws",
                value=float(np.mean(made.log_prior)),
                error=math.sqrt(D / 2 / COUNT),
                unit="nats",
                reference=f"exactly −(D/2) log 2πe = {-D / 2 * math.log(2 * math.pi * math.e):.2f}",
                signature=signature,
            ),
            _ink(made, signature=signature),
        ),
        figures=(
            figure(
                functools.partial(image_grid, images=rows, row_labels=names),
                alt=f"A grid of digits: {SHOWN} columns, one a latent. The first row shows smooth "
                "grey means, the four rows below black and white draws of the same digits.",
                caption=f"{SHOWN} latents from the prior, the mean of p(x|z) for each, and "
                f"{DRAWS} draws from it.",
                is_picture=True,
            ),
        ),
        commands=(
            f"dl sample --run {subject.name} --n {COUNT} --draws {DRAWS} --json{lab.and_seed}",
        ),
    )


def _ink(made: AncestralSample, *, signature: str) -> Number:
    """Hold the drawn pixels against the means that they were drawn from."""
    means = made.means.astype(np.float64)
    S = made.draws.shape[1]
    error = math.sqrt(float((means * (1 - means)).sum()) / S) / means.size
    return Number(
        name="share of white pixels among the draws",
        value=100 * float(made.draws.mean()),
        error=100 * error,
        unit="%",
        reference=f"{100 * means.mean():.3f} % by the decoder's means of the same z",
        signature=signature,
    )


SAMPLING = Question(
    number=1,
    chapter="Variational auto-encoders",
    title="Sampling an image",
    asks="How does one draw an image from p(x), when p(x) itself is an integral over z?",
    answer=answer_sampling,
    needs=("vae",),
)


# -- Question 2: why averaging over the prior does not give p(x)

EXPECTED = {2: "8.4 ± 1", 20: "60 ± 3", 200: "354 ± 13"}
"""KL(posterior ‖ prior) over random images, nats: mean and standard deviation, in closed form."""


def answer_evidence(lab: Lab) -> Answer:
    """Estimate log p(x) where it is known exactly, in three ways, at several dimensions."""
    config = EvidenceConfig(
        dims=lab.sizes.dims,
        samples=lab.sizes.prior_samples,
        compute=MachineConfig(device=lab.device, seed=lab.seed, threads=lab.threads),
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


EVIDENCE = Question(
    number=2,
    chapter="Variational auto-encoders",
    title="Why the prior average fails",
    asks="p(x) is the mean of p(x|z) over the prior. Why not simply average over many draws?",
    answer=answer_evidence,
)


# -- Questions 3 and 7: KL divergences between Gaussians, and the two terms of the loss

APART = 3.0
MU, SIGMA = (0.5, -1.0, 0.0), (0.5, 1.0, 2.0)


def answer_divergence(lab: Lab) -> Answer:
    """Compute KL(q ‖ p) of two unit Gaussians, near and far from each other."""
    near, far = (_kl(lab, mu_p=(mean,)) for mean in (0.0, APART))
    return Answer(
        words=(
            "The divergence is zero where the two laws are one, and grows with the square of the "
            "distance of their means otherwise; with unit variances that is all there is to it. "
            "So equal means give the smallest value there can be, and a distant mean one as large "
            "as we please.",
            "In general it is not symmetric. Here both directions agree, because the variances do.",
        ),
        formula="KL(N(μ_q, 1) ‖ N(μ_p, 1)) = ½ (μ_q − μ_p)²",
        numbers=(
            *_both(near, name="μ_q = μ_p = 0", exact="0 exactly"),
            *_both(far, name=f"μ_q = 0, μ_p = {APART:g}", exact=f"½ μ_p² = {APART**2 / 2:g}"),
        ),
        figures=(
            figure(
                functools.partial(density_figure, dataclasses.replace(far, signature="")),
                alt=f"Two bell curves of equal width, one around 0 and one around {APART:g}, "
                "overlapping in their tails.",
                caption=f"The two densities at a distance of {APART:g} standard deviations.",
            ),
        ),
        commands=(
            f"dl kl --mu-q 0 --mu-p 0{lab.and_seed}",
            f"dl kl --mu-q 0 --mu-p {APART:g} --plot densities.svg{lab.and_seed}",
        ),
    )


def _kl(
    lab: Lab,
    *,
    mu_q: Sequence[float] = (0.0,),
    sigma_q: Sequence[float] = (1.0,),
    mu_p: Sequence[float] = (0.0,),
) -> KlResult:
    place = MachineConfig(device=lab.device, seed=lab.seed, threads=lab.threads)
    return run_kl(
        KlConfig(
            mu_q=tuple(mu_q),
            sigma_q=tuple(sigma_q),
            mu_p=tuple(mu_p),
            samples=lab.sizes.kl_samples,
            compute=place,
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


def by_hand(mean: Sequence[float], sigma: Sequence[float]) -> float:
    """Return ½ Σ (σ² + μ² − log σ² − 1): the assignment's formula, term by term."""
    terms = (s * s + m * m - math.log(s * s) - 1 for m, s in zip(mean, sigma, strict=True))
    return 0.5 * math.fsum(terms)


def loss_terms(lab: Lab) -> Answer:
    """Hold the derived formula against the code, and show both terms of a trained model's loss."""
    found = _kl(lab, mu_q=MU, sigma_q=SIGMA, mu_p=(0.0,) * len(MU))
    exact = by_hand(MU, SIGMA)
    lists = (" ".join(f"{value:g}" for value in values) for values in (MU, SIGMA, (0.0,) * len(MU)))
    mu_q, sigma_q, mu_p = lists
    return Answer(
        words=(
            "The reconstruction term is an expectation over q, and one draw of z an image is "
            "enough to estimate it, since thousands of images share a step: with Bernoulli pixels "
            "it is the binary cross-entropy between the image and the decoder's output, *summed* "
            "over pixels. (Averaging it over pixels instead, a common mistake, makes the other "
            "term 784 times too strong.)",
            "The other term needs no draws, because both laws are Gaussian. Every latent pays for "
            "its own knowledge of the image; a latent that says nothing costs nothing. The figure "
            "shows what each latent of a trained model pays on the test images. (A learned prior "
            "is no Gaussian: there this term is averaged over draws too, and has no shares.)",
        ),
        formula="L_reg = ½ Σ_d (σ_d² + μ_d² − log σ_d² − 1)",
        numbers=(
            *_both(found, name=f"μ = ({mu_q}), σ = ({sigma_q})", exact=f"by hand {exact:.6f}"),
            Number(
                name="autograd against the derivatives by hand, relative",
                value=found.gradient_check.relative_error,
                digits=2,
                reference="0, but for rounding",
                signature=found.signature,
            ),
            *(number for subject in lab.subjects for number in _terms(subject)),
        ),
        figures=tuple(
            drawn for subject in lab.subjects if (drawn := _latents(subject)) is not None
        ),
        commands=(
            f"dl kl --mu-q {mu_q} --sigma-q {sigma_q} --mu-p {mu_p}{lab.and_seed}",
            *(f"dl runs show {subject.name}" for subject in lab.subjects),
        ),
    )


def _terms(subject: Subject) -> list[Number]:
    """Return the two terms of a trained model's loss, as recorded at the end of its training."""
    test, line = stored_test(subject.trained.run), stored_signature(subject.trained.run)
    if test is None:
        return []
    drawn = ", over draws" if subject.trained.model.flow is not None else ""
    return [
        Number(name=f"{what}, `{subject.name}`", value=test[key], unit="nats", signature=line)
        for what, key in (("L_recon", "reconstruction"), (f"L_reg{drawn}", "kl"))
    ]


def _latents(subject: Subject) -> Figure | None:
    result = subject.trained.run.record().get("result")
    recorded = result.get("kl_per_dim") if isinstance(result, dict) else None
    if not isinstance(recorded, list) or not recorded:
        return None
    costs = sorted((float(cost) for cost in recorded), reverse=True)
    return figure(
        functools.partial(latent_figure, costs),
        alt=f"Bars of falling height, one for each of {len(costs)} latents: from "
        f"{costs[0]:.2f} nats down to {costs[-1]:.2f}.",
        caption=f"`{subject.name}`: the KL term latent by latent, the largest first; "
        f"{math.fsum(costs):.2f} nats together.",
    )


DIVERGENCE = Question(
    number=3,
    chapter="Variational auto-encoders",
    title="Near and far Gaussians",
    asks="For which Gaussians q and p is KL(q ‖ p) small, and for which is it large?",
    answer=answer_divergence,
)
LOSS = Question(
    number=7,
    chapter="Variational auto-encoders",
    title="The loss, term by term",
    asks="How are the two terms of the loss computed for one image?",
    answer=loss_terms,
    needs=("vae",),
)
