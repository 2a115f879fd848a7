"""What a VAE minimises, and the likelihoods of its pixels.

`VaeNetwork` is what the training loop calls: the negative ELBO or the IWAE bound, as sums over
images in nats. Below it stand its terms, and p(x|z): `log_likelihood` and `pixel_values`.

Legend: B images, K posterior samples, D latent dimensions, 784 pixels. Networks may compute in
bfloat16 under autocast; every sum here is taken in float32 (or wider).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.errors import ConfigError
from dlcli.vae import fast
from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.networks import VAE, wide


class VaeNetwork(nn.Module):
    """A VAE with its objective: what the training loop calls.

    Args:
        vae: the networks.
        objective: which bound, and how the KL term is treated.

    Raises:
        ConfigError: the ELBO, which takes its KL in closed form, with a learned prior.
    """

    def __init__(self, vae: VAE, *, objective: VaeObjectiveConfig) -> None:
        super().__init__()
        if vae.flow is not None and objective.objective != "iwae":
            raise ConfigError(
                "A learned prior has no KL in closed form, which the objective elbo wants.",
                hint="Use --objective iwae, or --prior normal.",
            )
        self.vae = vae
        self.objective = objective

    def forward(
        self, pixels: Tensor, noise: Tensor | ChoosingNoise, beta: Tensor
    ) -> dict[str, Tensor]:
        """Return sums over this process's images, in nats.

        Args:
            pixels: (B, 784) in [0, 1].
            noise: eps, standard normal, (B, D); for `iwae` (K, B, D), with `backward_samples` and
                the offsets of the choice.
            beta: scalar, weight of the KL term (`elbo` only).

        Returns:
            `loss`, which is minimised; `reconstruction` and `kl`, the two halves of the plain
            negative ELBO, whatever β, free bits or the bound do to the loss.
        """
        eps, offsets = noise if isinstance(noise, ChoosingNoise) else (noise, None)
        if self.objective.objective == "iwae":
            return self._iwae(pixels, eps, offsets)
        if fast.takes_negative_elbo(self.vae, self.objective, pixels):
            loss, reconstruction, kl = fast.negative_elbo(self.vae, pixels, eps=eps, beta=beta)
            return {"loss": loss, "reconstruction": reconstruction, "kl": kl}
        logits, mean, logvar = self.vae(pixels, eps)
        reconstruction = self._nll_sum(logits, pixels)
        per_dim = kl_standard_normal(wide(mean), wide(logvar))
        kl = per_dim.sum()
        cost = kl
        if self.objective.free_bits > 0:
            cost = free_bits_kl(per_dim, free_bits=self.objective.free_bits)
        return {"loss": reconstruction + beta * cost, "reconstruction": reconstruction, "kl": kl}

    def _nll_sum(self, logits: Tensor, pixels: Tensor) -> Tensor:
        if self.objective.likelihood == "bernoulli":
            return bernoulli_nll_sum(logits, pixels)
        return -log_likelihood(logits, pixels, likelihood=self.objective.likelihood).sum()

    def _iwae(self, pixels: Tensor, eps: Tensor, offsets: Tensor | None) -> dict[str, Tensor]:
        mean, logvar = (wide(part) for part in self.vae.encode(pixels))
        if offsets is None:
            log_lik, log_w = self._weigh(pixels, eps, mean=mean, logvar=logvar)
            loss = -iwae_bound(log_w).sum()
        else:
            with _forward_only(pixels.device.type):
                log_lik, log_w = self._weigh(pixels, eps, mean=mean, logvar=logvar)
            count = self.objective.backward_samples
            chosen = resample(log_w, offsets=offsets, count=count)[..., None]
            drawn = eps.gather(0, chosen.expand(-1, -1, eps.shape[-1]))
            _, again = self._weigh(pixels, drawn, mean=mean, logvar=logvar)
            guide = -again.mean(0).sum()  # gives the gradient; the value is that of all samples
            loss = guide + (-iwae_bound(log_w).sum() - guide).detach()
        kl = kl_standard_normal(mean, logvar).sum()
        if self.vae.flow is not None:
            kl = (log_lik - log_w).mean(0).sum()
        return {"loss": loss, "reconstruction": -log_lik.mean(0).sum(), "kl": kl}

    def _weigh(
        self, pixels: Tensor, eps: Tensor, *, mean: Tensor, logvar: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) and log w of the samples that eps (K, B, D) gives, both (K, B)."""
        K, B, D = eps.shape
        v = mean + (0.5 * logvar).exp() * eps
        logits = self.vae.decode_encoded(v.reshape(K * B, D)).view(K, B, -1)
        log_lik = log_likelihood(logits, pixels, likelihood=self.objective.likelihood)
        z, log_det = self.vae.latents(v)
        return log_lik, log_weights(log_lik, z=z, eps=eps, logvar=logvar, log_det=log_det)


class ChoosingNoise(NamedTuple):
    """What `iwae` with `backward_samples` draws for a batch."""

    eps: Tensor
    """Standard normal, (K, B, D)."""
    offsets: Tensor
    """Uniform on [0, 1), (B,): see `resample`."""


@contextmanager
def _forward_only(device: str) -> Iterator[None]:
    """Record no graph, and keep no cast weight for the pass that will record one.

    Autocast's cache does not ask whether gradients are on: a weight cast here would be found there,
    without its gradient.
    """
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    with torch.no_grad(), torch.autocast(device, dtype, enabled=enabled, cache_enabled=False):
        yield


def bernoulli_nll_sum(logits: Tensor, pixels: Tensor) -> Tensor:
    """Return −log p(x|z) in nats, summed over pixels and images.

    Each pixel costs softplus(l) − x·l.

    The sum is taken in float32 (float64 for float64 logits) whatever autocast made of the logits.

    Args:
        logits: (..., 784) of the decoder.
        pixels: the same shape, in [0, 1]. Grey ones make this the cross-entropy that the
            assignment trains on, which is no likelihood.

    Returns:
        A scalar.

    Raises:
        ValueError: the shapes differ; broadcasting would count some pixels twice.
    """
    if logits.shape != pixels.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and pixels {tuple(pixels.shape)} differ")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.binary_cross_entropy_with_logits(logits, pixels.to(logits.dtype), reduction="sum")


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mean, exp(logvar)) ‖ N(0, 1)) of each dimension (Question 7).

    ½ (σ² + μ² − log σ² − 1), written with expm1 so that a KL near 0 keeps its digits.

    Args:
        mean, logvar: (..., D).

    Returns:
        (..., D), ≥ 0 up to rounding.
    """
    return 0.5 * (torch.expm1(logvar) - logvar + mean.square())


def free_bits_kl(kl: Tensor, *, free_bits: float) -> Tensor:
    """Return the KL term with free bits: B · Σ_d max(λ, mean over the batch of KL_d).

    Below λ nats a dimension costs the same whatever it does, so its KL gets no gradient (Kingma et
    al. 2016, equation 15). The mean is over the global batch: with several processes they add up
    their sums, so that two halves take the same step as the whole.

    Args:
        kl: (B, D) of this process.
        free_bits: λ, nats per dimension.

    Returns:
        this process's sum, a scalar.
    """
    totals = torch.cat([kl.detach().sum(0), kl.new_tensor([float(len(kl))])])
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(totals)
    pays = totals[:-1] > free_bits * totals[-1]
    return torch.where(pays, kl.sum(0), free_bits * len(kl)).sum()


def beta_at(config: VaeObjectiveConfig, *, epoch: float) -> float:
    """Return the weight of the KL term after `epoch` (fractional) epochs of linear warm-up."""
    if config.beta_warmup_epochs <= 0:
        return config.beta
    return config.beta * min(1.0, epoch / config.beta_warmup_epochs)


def log_weights(
    log_lik: Tensor, *, z: Tensor, eps: Tensor, logvar: Tensor, log_det: Tensor | float = 0.0
) -> Tensor:
    """Return log w = log p(x|z) + log p(z) − log q(z|x).

    Args:
        log_lik: log p(x|z), (..., B).
        z: mean + exp(logvar/2)·eps, (..., B, D), or what a flow makes of it.
        eps: the noise that gave z, (..., B, D); q(z|x) enters through it.
        logvar: of q(v|x), (B, D).
        log_det: log |det ∂z/∂v|, (..., B); see `VAE.latents`.

    Returns:
        (..., B).
    """
    return log_lik + 0.5 * (eps.square() + logvar - z.square()).sum(-1) + log_det


def iwae_bound(log_w: Tensor) -> Tensor:
    """Return log (1/K) Σ_k w_k of weights (K, B): the IWAE bound of each image, (B,)."""
    return torch.logsumexp(log_w, dim=0) - math.log(log_w.shape[0])


def resample(log_w: Tensor, *, offsets: Tensor, count: int) -> Tensor:
    """Choose `count` of K samples of each image in proportion to their weights.

    Systematic: positions (u + j)/count on the cumulated weights share one u, so that sample i is
    chosen count·w_i times on average, and never more than one off. The gradient of the IWAE bound
    is Σ_i w_i ∇log w_i with weights that sum to one, so the mean of ∇log w over the chosen is an
    unbiased estimate of it (Burda et al. 2016, section 3, with one sample).

    Args:
        log_w: (K, B).
        offsets: u of each image, (B,), in [0, 1).
        count: how many to choose.

    Returns:
        indices into K, (count, B).
    """
    share = log_w.double().softmax(0).cumsum(0).t().contiguous()  # (B, K)
    steps = torch.arange(count, device=log_w.device, dtype=torch.float64)
    positions = (offsets.double()[:, None] + steps) / count
    found = torch.searchsorted(share, positions, right=True)
    return found.clamp(max=len(log_w) - 1).t()


def log_likelihood(logits: Tensor, pixels: Tensor, *, likelihood: str = "bernoulli") -> Tensor:
    """Return log p(x|z) of each image.

    Args:
        logits: (..., 784) of the decoder.
        pixels: (..., 784) in [0, 1], broadcast against `logits`. Grey ones turn `bernoulli` into a
            cross-entropy, which is no likelihood.
        likelihood: `bernoulli` or `continuous-bernoulli`.

    Returns:
        (...), nats.
    """
    logits = wide(logits)
    terms = logits * pixels - F.softplus(logits)
    if likelihood == "continuous-bernoulli":
        terms = terms + continuous_bernoulli_log_normalizer(logits)
    return terms.sum(-1)


def pixel_values(
    logits: Tensor,
    *,
    draw: bool,
    generator: torch.Generator | None = None,
    likelihood: str = "bernoulli",
) -> Tensor:
    """Return E[x|z], or draws from p(x|z), of a decoder's logits (any shape, on the CPU).

    Raises:
        ValueError: `draw` without a generator.
    """
    continuous = likelihood == "continuous-bernoulli"
    if not draw:
        return continuous_bernoulli_mean(logits) if continuous else torch.sigmoid(logits)
    if generator is None:
        raise ValueError("drawing pixels needs a generator")
    if continuous:
        return continuous_bernoulli_sample(logits, generator=generator)
    return (torch.rand(logits.shape, generator=generator) < torch.sigmoid(logits)).float()


_NEAR_ZERO = 0.1  # |η| below which a Taylor series is used: its error there is under 1e-9


def continuous_bernoulli_log_normalizer(logits: Tensor) -> Tensor:
    """Return log C of the continuous Bernoulli, a density of grey pixels on [0, 1]; elementwise.

    With λ = σ(η), p(x) = C(λ) λˣ (1 − λ)¹⁻ˣ, where C makes it integrate to one (Loaiza-Ganem &
    Cunningham 2019, equation 6). In terms of the logit η the normaliser is simple:
    C = 2 artanh(1 − 2λ) / (1 − 2λ) = η / tanh(η / 2), which is 0/0 at η = 0 (λ = 0.5).

    The series is log 2 + η²/12 − 7η⁴/1440 + 31η⁶/90720.
    """
    small = logits.abs() < _NEAR_ZERO
    safe = torch.where(small, torch.ones_like(logits), logits.abs())
    exact = safe.log() - torch.tanh(safe / 2).log()
    square = torch.where(small, logits, torch.zeros_like(logits)).square()
    series = math.log(2) + square * (1 / 12 - square * (7 / 1440 - square * (31 / 90720)))
    return torch.where(small, series, exact)


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Return E[x] = 1/(1 − e^−η) − 1/η of each pixel, which is nearer to 0.5 than λ is.

    The series near η = 0 is 1/2 + η/12 − η³/720.
    """
    small = logits.abs() < _NEAR_ZERO
    safe = torch.where(small, torch.ones_like(logits), logits)
    exact = -1 / torch.expm1(-safe) - 1 / safe
    near = torch.where(small, logits, torch.zeros_like(logits))
    return torch.where(small, 0.5 + near / 12 - near**3 / 720, exact)


def continuous_bernoulli_sample(logits: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw each pixel by its inverse distribution function.

    x = log(1 + u (e^η − 1)) / η for uniform u, written so that no exponential overflows.
    """
    u = torch.rand(
        logits.shape, generator=generator, dtype=logits.dtype, device=generator.device
    ).to(logits.device)
    small = logits.abs() < 1e-3
    slope = torch.where(small, torch.ones_like(logits), -logits.abs())
    tail = torch.log1p(u * torch.expm1(slope)) / slope  # from the side where λ < 1/2
    drawn = torch.where(logits > 0, 1 - tail, tail)
    return torch.where(small, u, drawn).clamp(0, 1)
