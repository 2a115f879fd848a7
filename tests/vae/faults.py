"""Faults for the VAE's objective, prior and measures, which a test of the module has to notice."""

from __future__ import annotations

from tests.fault import Fault

TESTS = {
    "evaluation": ("test_evaluation.py",),
    "gradients": ("test_gradients.py",),
    "networks": ("test_networks.py",),
    "objective": ("test_objective.py",),
}
"""Module → the files of tests that have to notice a fault in it."""

FAULTS: tuple[Fault, ...] = (
    Fault(
        "objective", "0.5 * (torch.expm1(logvar) - logvar", "0.5 * (torch.expm1(logvar) + logvar"
    ),
    Fault("objective", "logits * pixels - F.softplus(logits)", "logits * pixels - F.relu(logits)"),
    Fault("objective", "0.5 * (eps.square() + logvar", "0.5 * (eps.square() - logvar"),
    Fault("objective", "- math.log(log_w.shape[0])", "- math.log(log_w.shape[1])"),
    Fault("objective", "found.clamp(max=len(log_w) - 1).t()", "(found * 0).t()"),
    Fault(
        "objective",
        "(offsets.double()[:, None] + steps) / count",
        "(0.5 + steps + 0 * offsets[:, None].double()) / count",
    ),
    Fault("objective", "totals[:-1] > free_bits * totals[-1]", "totals[:-1] > free_bits"),
    Fault(
        "objective",
        "min(1.0, epoch / config.beta_warmup_epochs)",
        "(epoch / config.beta_warmup_epochs)",
    ),
    Fault("objective", "guide = -again.mean(0).sum()", "guide = -again.sum()"),
    Fault("objective", "z.square()).sum(-1) + log_det\n", "z.square()).sum(-1) - log_det\n"),
    Fault(
        "objective", "logvar=logvar, log_det=log_det)", "logvar=logvar, log_det=log_det.detach())"
    ),
    Fault(
        "objective", "kl = (log_lik - log_w).mean(0).sum()", "kl = (log_w - log_lik).mean(0).sum()"
    ),
    Fault("networks", "moved * log_scale.exp() + shift", "moved * log_scale.exp() - shift"),
    Fault(
        "networks",
        "(moved - shift) * (-log_scale).exp()], -1), log_scale.sum(-1)",
        "(moved - shift) * (-log_scale).exp()], -1), -log_scale.sum(-1)",
    ),
    Fault("networks", "return z[..., self.places], log_det", "return z, log_det"),
    Fault("networks", "values.flip(-1) if number % 2 else", "values if number % 2 else"),
    Fault("networks", "MOST_LOG_SCALE * torch.tanh(log_scale), shift", "log_scale, shift"),
    Fault("evaluation", "logvar=logvar, log_det=log_det))", "logvar=logvar, log_det=-log_det))"),
    Fault("evaluation", "kl = (log_lik - log_w).mean(0)", "kl = (log_lik + log_w).mean(0)"),
    Fault("evaluation", "self.model.latents(mean)[0].double()", "mean.double()"),
    Fault("evaluation", "ACTIVE_VARIANCE = 0.01", "ACTIVE_VARIANCE = 100.0"),
    Fault("evaluation", "(rows[0] + rows[1]).std()", "(rows[0] - rows[1]).std()"),
    Fault("networks", "torch.exp(0.5 * logvar) * eps", "torch.exp(logvar) * eps"),
    Fault("networks", "logvar.clamp(*LOGVAR_RANGE)", "logvar"),
    Fault("gradients", "torch.cat([eps / self.std,", "torch.cat([eps * self.std,"),
    Fault("gradients", "0.5 * (eps.square() - 1)", "0.5 * eps.square()"),
    Fault("gradients", "0.5 * (wide - self._waiting)", "(wide - self._waiting)"),
)
