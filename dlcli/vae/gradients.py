r"""Question 8 as a number: two estimators of the same gradient, and how much they scatter.

The reconstruction term L = E_q(z|x)[−log p(x|z)] depends on the encoder through its samples.

- pathwise (the reparametrisation trick): z = μ + σε, and ∇L = E_ε[∇ −log p(x|μ + σε)];
- score function (REINFORCE; Williams 1992): ∇L = E_q[−log p(x|z) · ∇ log q(z|x)], with or without
  the constant baseline b = E[f‖s‖²] / E[‖s‖²] that makes its variance least (f = −log p(x|z),
  s = ∇ log q). The baseline comes from draws of its own, so that it adds no bias.

A gradient's variance is the trace of its covariance. It is measured on pairs of independent draws,
½‖g₁ − g₂‖² having that mean: nothing of the size of the network squared is ever stored.

Legend: B images, S samples, C of a chunk, D latent dimensions, P coordinates of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.engine.events import NoticeCallback
from dlcli.engine.seed import generator as named
from dlcli.errors import UsageFault, plural
from dlcli.vae.elbo import evaluating
from dlcli.vae.images import flat, grey, pick_test_images
from dlcli.vae.networks import VAE
from dlcli.vae.trained import Trained, describe

RESAMPLES = 2000
ROWS = 2048  # latents decoded at a time


@dataclass(frozen=True, kw_only=True)
class GradientComparison:
    """Pathwise against score-function gradients of a batch's mean reconstruction term."""

    images: int
    samples: int
    outputs: TargetComparison
    parameters: TargetComparison


@dataclass(frozen=True, kw_only=True)
class TargetComparison:
    """The estimators of the gradient with respect to one thing."""

    target: str
    """`encoder outputs` (μ and log σ² of each image) or `encoder parameters`."""
    coordinates: int
    pathwise: Scatter
    score: Scatter
    score_baseline: Scatter
    against_score: Contrast
    against_baseline: Contrast


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A score-function estimator beside the pathwise one."""

    ratio: float
    """How many times its variance is the pathwise one's."""
    ratio_ci95: tuple[float, float]
    """Bootstrap over pairs of samples, percentiles 2.5 and 97.5."""
    gap: float
    """Norm of the difference of the two mean gradients."""
    expected_gap: float
    """What that norm is (root mean square) where both estimate the same gradient."""

    @property
    def agrees(self) -> bool:
        """Whether the means differ by no more than 3 times what chance makes of them."""
        return self.gap <= 3 * self.expected_gap


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """One estimator's scatter."""

    variance: float
    """Trace of the covariance of one sample's gradient, nats² per unit² of the parameters."""
    std_error: float
    """Of `variance`."""
    mean_norm: float
    """Euclidean norm of the mean gradient over all samples."""


def compare_on_test_images(
    trained: Trained,
    *,
    images: int,
    samples: int,
    seed: int,
    offline: bool = False,
    notice: NoticeCallback,
) -> tuple[GradientComparison, str]:
    """Compare gradient estimators on the first `images` test images; see that function.

    Returns:
        the comparison and its signature.
    """
    found = compare_gradient_estimators(
        trained.model,
        pick_test_images(trained.config.data, range(images), offline=offline, notice=notice),
        samples=samples,
        generator=named(seed, "gradients"),
    )
    line = describe(
        trained.config,
        data=trained.config.data.name,
        split="test",
        images=images,
        estimator="pathwise,score-function",
        samples=samples,
        sampling_seed=seed,
        checkpoint=trained.checkpoint,
        precision="fp32",
    )
    return found, line


def compare_gradient_estimators(
    model: VAE,
    images: Tensor,
    *,
    samples: int = 200,
    generator: torch.Generator,
) -> GradientComparison:
    """Measure both estimators of ∇ (1/B) Σ_b E_q[−log p(x_b|z)] over independent samples.

    Args:
        model: measured in evaluation mode, put back into its own afterwards.
        images: (B, …) uint8, used as grey pixels.
        samples: S of each estimator, even and at least 4; a sample is one z an image.
        generator: on the CPU; draws the noise, the baseline's noise and the bootstrap.

    Raises:
        UsageFault: too few or an odd number of samples, or no images.
    """
    if samples < 4 or samples % 2 or not len(images):
        raise UsageFault(
            f"{samples} samples of {plural(len(images), 'image')} do not make pairs.",
            hint="Use an even number of samples, 4 or more, and at least one image.",
        )
    with evaluating(model):
        lab = _Lab(model, images, generator=generator)
        found = {"pathwise": lab.measure(lab.pathwise(samples), names=("pathwise",))["pathwise"]}
        names = ("score", "score_baseline")
        found |= lab.measure(lab.score(samples), names=names)
    return GradientComparison(
        images=len(images),
        samples=samples,
        outputs=_compare("encoder outputs", {k: v[0] for k, v in found.items()}, generator),
        parameters=_compare("encoder parameters", {k: v[1] for k, v in found.items()}, generator),
    )


class _Tally:
    """Mean of gradients (P,) and ½‖g₁ − g₂‖² of consecutive pairs."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None
        self.pairs: list[float] = []
        self._waiting: Tensor | None = None

    def add(self, gradient: Tensor) -> None:
        wide = gradient.double()
        self.count += 1
        self.total = wide if self.total is None else self.total + wide
        if self._waiting is None:
            self._waiting = wide
        else:
            self.pairs.append(0.5 * (wide - self._waiting).square().sum().item())
            self._waiting = None

    @property
    def mean(self) -> Tensor:
        assert self.total is not None
        return self.total / self.count

    def scatter(self) -> Scatter:
        pairs = torch.tensor(self.pairs, dtype=torch.float64)
        return Scatter(
            variance=pairs.mean().item(),
            std_error=pairs.std().item() / math.sqrt(len(pairs)),
            mean_norm=self.mean.norm().item(),
        )


class _Lab:
    """One batch, encoded once; gradients of its reconstruction term by either estimator."""

    def __init__(self, model: VAE, images: Tensor, *, generator: torch.Generator) -> None:
        weights = [p for p in model.parameters() if p.requires_grad]
        self.model, self.generator = model, generator
        self.pixels = grey(flat(images)).to(weights[0].device, weights[0].dtype)
        self.outputs = model.encode(self.pixels)
        used = torch.autograd.grad(
            [part.sum() for part in self.outputs], weights, retain_graph=True, allow_unused=True
        )
        self.weights = [w for w, g in zip(weights, used, strict=True) if g is not None]
        self.mean, self.logvar = (part.detach() for part in self.outputs)
        self.std = (0.5 * self.logvar).exp()

    def pathwise(self, samples: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield chunks of gradients (C, B, 2D) with respect to the encoder's outputs."""
        for eps in self._noise(samples):
            mean = self.mean.expand_as(eps).detach().requires_grad_()
            logvar = self.logvar.expand_as(eps).detach().requires_grad_()
            cost = self._cost(mean + (0.5 * logvar).exp() * eps)
            parts = torch.autograd.grad(cost.sum(), [mean, logvar])
            yield (torch.cat(parts, dim=-1),)

    def score(self, samples: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield chunks of gradients (C, B, 2D), without and with the baseline."""
        baseline = self._baseline(samples)
        for eps in self._noise(samples):
            cost, score = self._cost_and_score(eps)
            yield cost[..., None] * score, (cost - baseline)[..., None] * score

    def measure(
        self, chunks: Iterator[tuple[Tensor, ...]], *, names: tuple[str, ...]
    ) -> dict[str, tuple[_Tally, _Tally]]:
        """Tally gradients with respect to the outputs, and pulled back to the parameters."""
        tallies = {name: (_Tally(), _Tally()) for name in names}
        D = self.mean.shape[-1]
        for chunk in chunks:
            for name, gradients in zip(names, chunk, strict=True):
                for gradient in gradients / len(self.pixels):
                    pulled = torch.autograd.grad(
                        self.outputs,
                        self.weights,
                        grad_outputs=(gradient[:, :D], gradient[:, D:]),
                        retain_graph=True,
                    )
                    tallies[name][0].add(gradient.flatten())
                    tallies[name][1].add(torch.cat([part.flatten() for part in pulled]))
        return tallies

    def _noise(self, samples: int) -> Iterator[Tensor]:
        B, D = self.mean.shape
        size = max(1, ROWS // B)
        for start in range(0, samples, size):
            shape = (min(size, samples - start), B, D)
            eps = torch.randn(shape, generator=self.generator, dtype=self.mean.dtype)
            yield eps.to(self.mean.device)

    def _cost(self, v: Tensor) -> Tensor:
        """Return −log p(x|z), (C, B), of v (C, B, D), where the encoder's Gaussian is."""
        C, B, D = v.shape
        logits = self.model.decode_encoded(v.reshape(C * B, D)).view(C, B, -1)
        return -self.model.likelihood.log_prob(logits, self.pixels)

    @torch.no_grad()
    def _cost_and_score(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return f (C, B) and s = ∇ log q(z|x) with respect to μ and log σ², (C, B, 2D)."""
        cost = self._cost(self.mean + self.std * eps)
        return cost, torch.cat([eps / self.std, 0.5 * (eps.square() - 1)], dim=-1)

    def _baseline(self, samples: int) -> Tensor:
        """Return b = E[f‖s‖²] / E[‖s‖²] of each image, (B,)."""
        above = below = torch.zeros_like(self.mean[:, 0])
        for eps in self._noise(samples):
            cost, score = self._cost_and_score(eps)
            square = score.square().sum(-1)
            above = above + (cost * square).sum(0)
            below = below + square.sum(0)
        return above / below


def _compare(
    target: str, tallies: dict[str, _Tally], generator: torch.Generator
) -> TargetComparison:
    pathwise = tallies["pathwise"]
    score, baseline = tallies["score"], tallies["score_baseline"]
    return TargetComparison(
        target=target,
        coordinates=len(pathwise.mean),
        pathwise=pathwise.scatter(),
        score=score.scatter(),
        score_baseline=baseline.scatter(),
        against_score=_contrast(score, pathwise, generator=generator),
        against_baseline=_contrast(baseline, pathwise, generator=generator),
    )


def _contrast(other: _Tally, pathwise: _Tally, *, generator: torch.Generator) -> Contrast:
    above, below = (_resampled_means(tally.pairs, generator) for tally in (other, pathwise))
    ours, theirs = pathwise.scatter().variance, other.scatter().variance
    ratio, interval = math.inf, (math.inf, math.inf)  # a decoder that ignores z
    if ours > 0:
        quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64)
        low, high = (above / below).quantile(quantiles).tolist()
        ratio, interval = theirs / ours, (low, high)
    return Contrast(
        ratio=ratio,
        ratio_ci95=interval,
        gap=(other.mean - pathwise.mean).norm().item(),
        expected_gap=math.sqrt(theirs / other.count + ours / pathwise.count),
    )


def _resampled_means(values: list[float], generator: torch.Generator) -> Tensor:
    """Return the means of RESAMPLES bootstrap resamples."""
    shape = (RESAMPLES, len(values))
    picks = torch.randint(len(values), shape, generator=generator)
    return torch.tensor(values, dtype=torch.float64)[picks].mean(1)
