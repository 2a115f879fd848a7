"""What a VAE minimises: the negative ELBO and the IWAE bound, as sums over images in nats.

Legend: B images, K posterior samples, D latent dimensions, 784 pixels. Networks may compute in
bfloat16 under autocast; every sum here is taken in float32 (or wider).
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae import continuous_bernoulli, fused_mlp
from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.likelihood import bernoulli_nll_sum
from dlcli.vae.model import VAE


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mean, exp(logvar)) ‖ N(0, 1)) of each dimension (Question 7).

    ½ (σ² + μ² − log σ² − 1), written with expm1 so that a KL near 0 keeps its digits.

    Args:
        mean, logvar: (..., D).

    Returns:
        (..., D), ≥ 0 up to rounding.
    """
    return 0.5 * (torch.expm1(logvar) - logvar + mean.square())


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
    logits = _wide(logits)
    terms = logits * pixels - F.softplus(logits)
    if likelihood == "continuous-bernoulli":
        terms = terms + continuous_bernoulli.log_normalizer(logits)
    return terms.sum(-1)


def log_weights(log_lik: Tensor, *, z: Tensor, eps: Tensor, logvar: Tensor) -> Tensor:
    """Return log w = log p(x|z) + log p(z) − log q(z|x).

    Args:
        log_lik: log p(x|z), (..., B).
        z: mean + exp(logvar/2)·eps, (..., B, D).
        eps: the noise that gave z, (..., B, D); q(z|x) enters through it.
        logvar: of q(z|x), (B, D).

    Returns:
        (..., B).
    """
    return log_lik + 0.5 * (eps.square() + logvar - z.square()).sum(-1)


def iwae_bound(log_w: Tensor) -> Tensor:
    """Return log (1/K) Σ_k w_k of weights (K, B): the IWAE bound of each image, (B,)."""
    return torch.logsumexp(log_w, dim=0) - math.log(log_w.shape[0])


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


class VaeNetwork(nn.Module):
    """A VAE with its objective: what the training loop calls.

    Args:
        vae: the networks.
        objective: which bound, and how the KL term is treated.
    """

    def __init__(self, vae: VAE, *, objective: VaeObjectiveConfig) -> None:
        super().__init__()
        self.vae = vae
        self.objective = objective

    def forward(self, pixels: Tensor, eps: Tensor, beta: Tensor) -> dict[str, Tensor]:
        """Return sums over this process's images, in nats.

        Args:
            pixels: (B, 784) in [0, 1].
            eps: standard normal noise, (B, D); for `iwae` (K, B, D).
            beta: scalar, weight of the KL term (`elbo` only).

        Returns:
            `loss`, which is minimised; `reconstruction` and `kl`, the two halves of the plain
            negative ELBO, whatever β, free bits or the bound do to the loss.
        """
        if self.objective.objective == "iwae":
            return self._iwae(pixels, eps)
        if fused_mlp.applies(self.vae, self.objective, pixels):
            loss, reconstruction, kl = fused_mlp.negative_elbo(self.vae, pixels, eps=eps, beta=beta)
            return {"loss": loss, "reconstruction": reconstruction, "kl": kl}
        logits, mean, logvar = self.vae(pixels, eps)
        reconstruction = self._nll_sum(logits, pixels)
        per_dim = kl_standard_normal(_wide(mean), _wide(logvar))
        kl = per_dim.sum()
        cost = kl
        if self.objective.free_bits > 0:
            cost = free_bits_kl(per_dim, free_bits=self.objective.free_bits)
        return {"loss": reconstruction + beta * cost, "reconstruction": reconstruction, "kl": kl}

    def _nll_sum(self, logits: Tensor, pixels: Tensor) -> Tensor:
        if self.objective.likelihood == "bernoulli":
            return bernoulli_nll_sum(logits, pixels)
        return -log_likelihood(logits, pixels, likelihood=self.objective.likelihood).sum()

    def _iwae(self, pixels: Tensor, eps: Tensor) -> dict[str, Tensor]:
        K, B, D = eps.shape
        mean, logvar = (_wide(part) for part in self.vae.encode(pixels))
        z = mean + (0.5 * logvar).exp() * eps  # (K, B, D)
        logits = self.vae.decode(z.reshape(K * B, D)).view(K, B, -1)
        log_lik = log_likelihood(logits, pixels, likelihood=self.objective.likelihood)  # (K, B)
        log_w = log_weights(log_lik, z=z, eps=eps, logvar=logvar)
        return {
            "loss": -iwae_bound(log_w).sum(),
            "reconstruction": -log_lik.mean(0).sum(),
            "kl": kl_standard_normal(mean, logvar).sum(),
        }


def _wide(values: Tensor) -> Tensor:
    """Leave float32 and float64 as they are, and widen what autocast narrowed."""
    return values if values.dtype == torch.float64 else values.float()
