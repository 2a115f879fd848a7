"""Questions 3 and 7: KL divergences between Gaussians, and the two terms of the loss."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

from dlcli.evidence import KlConfig, run_kl
from dlcli.evidence.config import PlaceConfig
from dlcli.evidence.gaussians import KlResult
from dlcli.report.evidence_figures import density_figure
from dlcli.report.page.figures import latent_figure
from dlcli.study.questions.answer import Answer, Figure, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab, Subject
from dlcli.study.questions.question import Question
from dlcli.study.questions.stored import stored_signature, stored_test

APART = 3.0
MU, SIGMA = (0.5, -1.0, 0.0), (0.5, 1.0, 2.0)


def answer(lab: Lab) -> Answer:
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
    place = PlaceConfig(device=lab.device, seed=lab.seed, threads=lab.threads)
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


QUESTION = Question(
    number=3,
    chapter="Variational auto-encoders",
    title="Near and far Gaussians",
    asks="For which Gaussians q and p is KL(q ‖ p) small, and for which is it large?",
    answer=answer,
)
LOSS = Question(
    number=7,
    chapter="Variational auto-encoders",
    title="The loss, term by term",
    asks="How are the two terms of the loss computed for one image?",
    answer=loss_terms,
    needs=("vae",),
)
