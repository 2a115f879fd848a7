"""Questions 2, 3 and 7: log p(x) by averaging, divergences of Gaussians, the terms of the loss."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlcli.assignment.lab import Lab, Subject, stored_result, stored_signature, stored_test
from dlcli.assignment.question import Command, Number, Part, Text, question
from dlcli.display.plots import colour, house_style, new_figure, save_figure
from dlcli.engine.settings import MachineConfig
from dlcli.evidence.config import EvidenceConfig, KlConfig
from dlcli.evidence.display import density_figure, error_figure
from dlcli.evidence.estimate import run as estimates
from dlcli.evidence.gaussians import KlResult, run_kl

EXPECTED = {2: "8.4 ± 1", 20: "60 ± 3", 200: "354 ± 13"}
"""KL(posterior ‖ prior) over random images, nats: mean and standard deviation, in closed form."""
APART = 3.0
MU, SIGMA = (0.5, -1.0, 0.0), (0.5, 1.0, 2.0)


@question(2)
def prior_average(lab: Lab, text: Text) -> Iterator[Part]:
    """Estimate log p(x) where it is known exactly, in three ways, at several dimensions."""
    config = EvidenceConfig(
        dims=lab.sizes.dims, samples=lab.sizes.prior_samples, compute=MachineConfig(**lab.compute)
    )
    *_, found = estimates(config)
    misses = []
    for result in found.results:
        D, truth, expected = result.dim, result.truth, EXPECTED.get(result.dim)
        assert truth is not None, "log p(x) of a linear model is known"
        yield Number(
            f"D = {D}: KL(posterior ‖ prior)",
            truth.kl_posterior_prior,
            f"nats, so about 10^{result.samples_needed_log10 or 0:.0f} samples",
            found.signature,
            reference=f"{expected} over random images" if expected else "",
        )
        for one in (each.estimate for each in result.estimators):
            yield Number(
                f"D = {D}: log p̂(x), {one.name} ({one.verdict})",
                one.log_p,
                "nats",
                found.signature,
                ci95=one.ci95,
                spread="95% interval",
                digits=6,
                reference=f"exactly {truth.log_p:.2f}",
            )
            if one.name == "prior":
                miss = abs(one.log_p - truth.log_p)
                misses.append(f"{miss:,.2f} nats at D = {D} ({one.samples:,} draws)")
    yield text.figure(
        "errors",
        functools.partial(error_figure, dataclasses.replace(found, signature="")),
        misses=", ".join(misses),
    )
    dims = " ".join(map(str, lab.sizes.dims))
    yield Command(f"dl mc-estimate --dims {dims} --plot error.svg{lab.and_seed}")


@question(3)
def divergence(lab: Lab, text: Text) -> Iterator[Part]:
    """Compute KL(q ‖ p) of two unit Gaussians, near and far from each other."""
    near, far = (_kl(lab, mu_p=(mean,)) for mean in (0.0, APART))
    yield from _both(near, name="μ_q = μ_p = 0", exact="0 exactly")
    yield from _both(far, name=f"μ_q = 0, μ_p = {APART:g}", exact=f"½ μ_p² = {APART**2 / 2:g}")
    yield text.figure(
        "densities",
        functools.partial(density_figure, dataclasses.replace(far, signature="")),
        apart=APART,
    )
    yield Command(f"dl kl --mu-q 0 --mu-p 0{lab.and_seed}")
    yield Command(f"dl kl --mu-q 0 --mu-p {APART:g} --plot densities.svg{lab.and_seed}")


@question(7)
def loss_terms(lab: Lab, text: Text) -> Iterator[Part]:
    """Hold the derived formula against the code, and show both terms of a trained model's loss."""
    zeros = (0.0,) * len(MU)
    found = _kl(lab, mu_q=MU, sigma_q=SIGMA, mu_p=zeros)
    mu_q, sigma_q, mu_p = (
        " ".join(f"{value:g}" for value in values) for values in (MU, SIGMA, zeros)
    )
    exact = f"by hand {by_hand(MU, SIGMA):.6f}"
    yield from _both(found, name=f"μ = ({mu_q}), σ = ({sigma_q})", exact=exact)
    yield Number(
        "autograd against the derivatives by hand, relative",
        found.gradient_check.relative_error,
        "",
        found.signature,
        digits=2,
        reference="0, but for rounding",
    )
    yield Command(f"dl kl --mu-q {mu_q} --sigma-q {sigma_q} --mu-p {mu_p}{lab.and_seed}")
    for subject in lab.subjects:
        yield from _stored_terms(subject, text)
        yield Command(f"dl runs show {subject.name}")


def by_hand(mean: Sequence[float], sigma: Sequence[float]) -> float:
    """Return ½ Σ (σ² + μ² − log σ² − 1): the assignment's formula, term by term."""
    terms = (s * s + m * m - math.log(s * s) - 1 for m, s in zip(mean, sigma, strict=True))
    return 0.5 * math.fsum(terms)


def _kl(
    lab: Lab,
    *,
    mu_q: tuple[float, ...] = (0.0,),
    sigma_q: tuple[float, ...] = (1.0,),
    mu_p: tuple[float, ...],
) -> KlResult:
    samples, compute = lab.sizes.kl_samples, MachineConfig(**lab.compute)
    config = KlConfig(mu_q=mu_q, sigma_q=sigma_q, mu_p=mu_p, samples=samples, compute=compute)
    return run_kl(config)


def _both(found: KlResult, *, name: str, exact: str) -> Iterator[Number]:
    """Give the closed form and the Monte Carlo estimate beside it."""
    sampled, line = found.monte_carlo, found.signature
    yield Number(
        f"KL(q ‖ p), {name}, closed form", found.closed_form, "nats", line, reference=exact
    )
    yield Number(
        f"by {sampled.samples:,} draws, {name}",
        sampled.value,
        "nats",
        line,
        error=sampled.std_error,
        reference=exact,
    )


def _stored_terms(subject: Subject, text: Text) -> Iterator[Part]:
    """Give the terms of a trained model's loss, and draw what each latent pays, as recorded."""
    test, line = stored_test(subject.trained.run), stored_signature(subject.trained.run)
    if test is not None:
        drawn = ", over draws" if subject.trained.model.flow is not None else ""
        yield Number(f"L_recon, `{subject.name}`", test["reconstruction"], "nats", line)
        yield Number(f"L_reg{drawn}, `{subject.name}`", test["kl"], "nats", line)
    costs = sorted(stored_result(subject.trained.run).get("kl_per_dim") or [], reverse=True)
    if costs:
        yield text.figure(
            "latents",
            functools.partial(_latent_figure, costs),
            name=subject.name,
            count=len(costs),
            most=costs[0],
            least=costs[-1],
            together=math.fsum(costs),
        )


def _latent_figure(costs: Sequence[float], path: Path) -> None:
    with house_style():
        figure = new_figure(6.4, 2.6)
        axes = figure.add_subplot()
        axes.bar(range(1, len(costs) + 1), costs, color=colour(0), width=0.7)
        axes.set_xlabel("latent, by what it pays")
        axes.set_ylabel("KL (nats)")
        axes.grid(False, axis="x")
        axes.locator_params(axis="x", integer=True)
        save_figure(figure, path)
