"""What a VAE minimises.

`VaeNetwork` is what the training loop calls: the negative ELBO or the IWAE bound, as sums over
images in nats. Below it stand its terms but for p(x|z), which `likelihood.py` has.

Legend: B images, K posterior samples, D latent dimensions, M pixels. Networks may compute in
bfloat16 under autocast; every sum here is taken in float32 (or wider).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlcli.errors import ConfigError
from dlcli.vae import fast
from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.likelihood import wide
from dlcli.vae.networks import VAE


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
            pixels: (B, M) in [0, 1].
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
        reconstruction = self.vae.likelihood.nll_sum(logits, pixels)
        per_dim = kl_standard_normal(wide(mean), wide(logvar))
        kl = per_dim.sum()
        cost = kl
        if self.objective.free_bits > 0:
            cost = free_bits_kl(per_dim, free_bits=self.objective.free_bits)
        return {"loss": reconstruction + beta * cost, "reconstruction": reconstruction, "kl": kl}

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
        log_lik = self.vae.likelihood.log_prob(logits, pixels)
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
