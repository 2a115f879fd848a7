from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.diagnostics import fit_generalized_pareto, pareto_k, summarize


def weight_sets() -> list[torch.Tensor]:
    """50 sets of log-weights: Pareto of several shapes, log-normal, bounded; 60 to 20,000 each."""
    sets = []
    for seed in range(50):
        stream = generator(seed, "pareto")
        count = (60, 300, 1000, 4000, 20_000)[seed % 5]
        uniform = torch.rand(count, generator=stream, dtype=torch.float64)
        kind = seed % 4
        if kind == 0:
            log_weight = -(0.1 + 0.02 * seed) * torch.log(uniform)
        elif kind == 1:
            log_weight = (0.2 + 0.1 * seed) * torch.special.ndtri(uniform)
        elif kind == 2:
            log_weight = -20 * uniform
        else:
            log_weight = torch.log(uniform)
        sets.append(log_weight - 500)
    return sets


def test_agrees_with_arviz_on_50_weight_sets():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    for log_weight in weight_sets():
        ours = pareto_k(summarize(log_weight[:, None]).tail[:, 0][: _tail(log_weight)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, theirs = arviz.psislw(log_weight.numpy().copy())
        assert abs(ours - float(theirs)) < 1e-2


def _tail(log_weight: torch.Tensor) -> int:
    n = log_weight.shape[0]
    return int(np.ceil(min(n / 5, 3 * math.sqrt(n)))) + 1


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_finds_the_shape_of_a_pareto_tail(k: float):
    uniform = torch.rand(20_000, generator=generator(0), dtype=torch.float64)
    exceedances = (torch.expm1(-k * torch.log(uniform)) / k).sort().values
    shape, scale = fit_generalized_pareto(exceedances)
    assert abs(shape - k) < 4 * (1 + k) / math.sqrt(20_000)
    assert abs(scale - 1) < 0.1


def test_few_samples_are_drawn_to_one_half():
    """Ten pseudo-observations at 0.5 outweigh five that look bounded."""
    even = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    few, _ = fit_generalized_pareto(even)
    many, _ = fit_generalized_pareto(even.repeat_interleave(40))
    assert few > 0.0 > many


def test_no_tail_no_fit():
    constant = torch.zeros(30, dtype=torch.float64)
    assert pareto_k(constant) == math.inf
    assert pareto_k(torch.tensor([0.0, -1.0, -2.0, -3.0, -4.0])) == math.inf
    assert pareto_k(torch.full((9,), -math.inf)) == math.inf
    assert pareto_k(torch.tensor([0.0, -800.0, -801.0, -802.0, -803.0, -804.0, -805.0])) == math.inf
