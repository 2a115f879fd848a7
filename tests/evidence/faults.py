"""Faults for the estimators and their truths, each of which a test of its module has to notice."""

from __future__ import annotations

from tests.fault import Fault

TESTS = {
    "annealing": ("test_annealing.py",),
    "cases": ("test_cases.py",),
    "diagnostics": ("test_diagnostics.py",),
    "estimators": ("test_estimators.py",),
    "gaussians": ("test_gaussians.py",),
    "hmc": ("test_hmc.py",),
    "models": ("test_models.py",),
}
"""Module → the files of tests that have to notice a fault in it."""

FAULTS: tuple[Fault, ...] = (
    Fault("diagnostics", "math.ceil(min(samples / 5", "math.ceil(max(samples / 5"),
    Fault("diagnostics", "self.sums[0].log() - math.log(self.samples)", "self.sums[0].log()"),
    Fault("diagnostics", "self.sums[0].square() / self.sums[1]", "self.sums[0] / self.sums[1]"),
    Fault("diagnostics", "torch.stack([scale, scale**2, scale**3])", "scale"),
    Fault("diagnostics", "chunk[:, 0] > self._floor", "chunk[:, 0] < self._floor"),
    Fault("diagnostics", "variance / (samples - 1)", "variance / samples"),
    Fault("diagnostics", "-math.log((1 - LEVEL) / 2)", "-math.log(1 - LEVEL)"),
    Fault("diagnostics", "low = max(low, -MARKOV_NATS)", "low = min(low, -MARKOV_NATS)"),
    Fault("diagnostics", "3 * second / first**2 + 2", "3 * second / first**2 + 1"),
    Fault("diagnostics", "_hall(skewness, -y)", "_hall(-skewness, -y)"),
    Fault("diagnostics", "(n * k + PRIOR_COUNT * PRIOR_K)", "(n * k)"),
    Fault("diagnostics", "relative[:-1] > threshold", "relative[:-1] >= threshold"),
    Fault("diagnostics", "return shrunk, -k / float(best)", "return shrunk, k / float(best)"),
    Fault("diagnostics", "HEAVY_K, HOPELESS_K = 0.7, 1.0", "HEAVY_K, HOPELESS_K = 1.7, 2.0"),
    Fault("diagnostics", 'if verdict == "reject":', 'if verdict == "doubt":'),
    Fault("gaussians", "torch.log(sigma_p / sigma_q)", "torch.log(sigma_q / sigma_p)"),
    Fault("gaussians", "off * (ratio + 1) - log_ratio", "off * (ratio + 1) + log_ratio"),
    Fault("gaussians", "max(second - samples * mean**2, 0.0)", "max(second, 0.0) * 4"),
    Fault("gaussians", "torch.stack([gap, widths, -gap, spread])", "torch.stack([gap] * 4)"),
    Fault("estimators", "+ log_prior(z) - proposal.log_density(z)", "- proposal.log_density(z)"),
    Fault("estimators", "ordered = sorted(set(samples))", "ordered = list(samples)"),
    Fault(
        "estimators", "wide - 0.5 * squares / WIDE_SCALE**2", "wide - 0.5 * squares / WIDE_SCALE"
    ),
    Fault("estimators", "terms = [log_prior(z) + math.log(PRIOR_SHARE)]", "terms = [log_prior(z)]"),
    Fault("estimators", "constant = log_share - log_det", "constant = log_share + log_det"),
    Fault("models", "0.5 * power**2 * whitened", "0.5 * power * whitened"),
    Fault("models", "- 2 * self.log_moment(x, 1.0)", "- self.log_moment(x, 1.0)"),
    Fault("models", "- self.latent_dim + log_det)", "+ log_det)"),
    Fault("models", "0.5 * ((gradient + linear) * z)", "0.5 * ((gradient - linear) * z)"),
    Fault("models", "safe / torch.tanh(0.5 * safe)", "safe * torch.tanh(0.5 * safe)"),
    Fault("models", "return -entropy.sum(-1)", "return entropy.sum(-1)"),
    Fault("models", "z.shape[-1] * LOG_2PI", "LOG_2PI"),
    Fault("hmc", "gain = 0.5 * energy + beta *", "gain = 0.5 * energy + 2 * beta *"),
    Fault("hmc", "half = 0.5 if i == steps - 1 else 1.0", "half = 1.0"),
    Fault("hmc", "gradient, state.gradient),", "gradient, gradient),"),
    Fault("annealing", "(betas[t] - betas[t - order.step])", "betas[t]"),
    Fault("annealing", "range(schedule.temperatures - 1, -1, -1)", "range(1, -1, -1)"),
    Fault("annealing", "torch.softmax(self.log_weight, dim=0)", "self.log_weight.exp()"),
    Fault("annealing", "log_p=-inverse.log_p, ci95=(-high, -low)", "log_p=-inverse.log_p"),
    Fault(
        "annealing", "self.upper.log_p - self.lower.log_p", "self.lower.log_p - self.upper.log_p"
    ),
    Fault("annealing", 'if verdict == "trust" and found.width >', 'if verdict == "doubt" and 9 >'),
    Fault("hmc", "math.ceil(length**2 * pilot", "math.ceil(length * pilot"),
    Fault("hmc", "betas[0], betas[-1] = 0.0, 1.0", "betas[0], betas[-1] = 0.0, 0.9"),
    Fault("estimators", "Spread(error, skewness, R - 1)", "Spread(error / 4, skewness, R - 1)"),
    Fault("estimators", "n // REPLICATES for n in", "n for n in"),
    Fault("cases", "log_second - 2 * log_evidence", "log_second - log_evidence"),
    Fault("cases", "& (half > width)", "& (half > 1e9 * width)"),
)
