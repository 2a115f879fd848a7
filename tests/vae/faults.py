"""Faults for the VAE's objective, prior and measures, which a test of the module has to notice."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("objective", "0.5 * (torch.expm1(logvar) - logvar", "0.5 * (torch.expm1(logvar) + logvar"),
    ("likelihood", "(logits * pixels - F.softplus(logits))", "(logits * pixels - F.relu(logits))"),
    ("likelihood", "safe.log() - torch.tanh(safe / 2)", "safe.log() + torch.tanh(safe / 2)"),
    ("likelihood", "0.5 + near / 12", "0.5 - near / 12"),
    ("likelihood", "torch.log1p(u * torch.expm1(slope))", "torch.log1p(u * torch.expm1(-slope))"),
    ("likelihood", "F.logsigmoid(-below)", "F.logsigmoid(below)"),
    ("likelihood", "torch.exp(-log_scale)", "torch.exp(log_scale)"),
    ("likelihood", "-torch.expm1(-2 * half * inverse)", "-torch.expm1(-half * inverse)"),
    ("objective", "0.5 * (eps.square() + logvar", "0.5 * (eps.square() - logvar"),
    ("objective", "- math.log(log_w.shape[0])", "- math.log(log_w.shape[1])"),
    ("objective", "found.clamp(max=len(log_w) - 1).t()", "(found * 0).t()"),
    (
        "objective",
        "(offsets.double()[:, None] + steps) / count",
        "(0.5 + steps + 0 * offsets[:, None].double()) / count",
    ),
    ("objective", "totals[:-1] > free_bits * totals[-1]", "totals[:-1] > free_bits"),
    (
        "objective",
        "min(1.0, epoch / config.beta_warmup_epochs)",
        "(epoch / config.beta_warmup_epochs)",
    ),
    ("objective", "guide = -again.mean(0).sum()", "guide = -again.sum()"),
    ("objective", "z.square()).sum(-1) + log_det\n", "z.square()).sum(-1) - log_det\n"),
    ("objective", "logvar=logvar, log_det=log_det)", "logvar=logvar, log_det=log_det.detach())"),
    ("objective", "kl = (log_lik - log_w).mean(0).sum()", "kl = (log_w - log_lik).mean(0).sum()"),
    ("networks", "moved * log_scale.exp() + shift", "moved * log_scale.exp() - shift"),
    (
        "networks",
        "(moved - shift) * (-log_scale).exp()], -1), log_scale.sum(-1)",
        "(moved - shift) * (-log_scale).exp()], -1), -log_scale.sum(-1)",
    ),
    ("networks", "return z[..., self.places], log_det", "return z, log_det"),
    ("networks", "values.flip(-1) if number % 2 else", "values if number % 2 else"),
    ("networks", "MOST_LOG_SCALE * torch.tanh(log_scale), shift", "log_scale, shift"),
    ("elbo", "logvar=logvar, log_det=log_det))", "logvar=logvar, log_det=-log_det))"),
    ("elbo", "kl = (log_lik - log_w).mean(0)", "kl = (log_lik + log_w).mean(0)"),
    ("elbo", "self.model.latents(mean)[0].double()", "mean.double()"),
    ("elbo", "ACTIVE_VARIANCE = 0.01", "ACTIVE_VARIANCE = 100.0"),
    ("elbo", "(rows[0] + rows[1]).std()", "(rows[0] - rows[1]).std()"),
    ("networks", "torch.exp(0.5 * logvar) * eps", "torch.exp(logvar) * eps"),
    ("networks", "logvar.clamp(*LOGVAR_RANGE)", "logvar"),
    ("gradients", "torch.cat([eps / self.std,", "torch.cat([eps * self.std,"),
    ("gradients", "0.5 * (eps.square() - 1)", "0.5 * eps.square()"),
    ("gradients", "0.5 * (wide - self._waiting)", "(wide - self._waiting)"),
)
"""A module of this chapter, a piece of its text that is there once, and what stands instead."""
