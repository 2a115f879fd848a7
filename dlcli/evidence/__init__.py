"""Estimates of log p(x) that know how far to be trusted.

Exactly solvable models, estimators, annealing, diagnostics. Any decoder enters through the small
Protocol `LatentModel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.evidence.annealing import anneal as anneal
    from dlcli.evidence.annealing import anneal_backwards as anneal_backwards
    from dlcli.evidence.bdmc import Sandwich as Sandwich
    from dlcli.evidence.bdmc import sandwich as sandwich
    from dlcli.evidence.bernoulli import BernoulliDecoder as BernoulliDecoder
    from dlcli.evidence.bernoulli import random_decoder as random_decoder
    from dlcli.evidence.cases import Case as Case
    from dlcli.evidence.config import EvidenceConfig as EvidenceConfig
    from dlcli.evidence.config import KlConfig as KlConfig
    from dlcli.evidence.diagnostics import Estimate as Estimate
    from dlcli.evidence.diagnostics import assess as assess
    from dlcli.evidence.estimate import McEstimate as McEstimate
    from dlcli.evidence.estimate import run as run
    from dlcli.evidence.estimate import to_dict as to_dict
    from dlcli.evidence.estimators import importance_weights as importance_weights
    from dlcli.evidence.estimators import prior_weights as prior_weights
    from dlcli.evidence.gaussians import KlResult as KlResult
    from dlcli.evidence.gaussians import gaussian_kl as gaussian_kl
    from dlcli.evidence.gaussians import run_kl as run_kl
    from dlcli.evidence.laplace import laplace_proposal as laplace_proposal
    from dlcli.evidence.linear_gaussian import LinearGaussian as LinearGaussian
    from dlcli.evidence.linear_gaussian import random_linear_gaussian as random_linear_gaussian
    from dlcli.evidence.model import LatentModel as LatentModel
    from dlcli.evidence.model import draw_pairs as draw_pairs
    from dlcli.evidence.pareto import pareto_k as pareto_k
    from dlcli.evidence.proposal import DiagonalGaussian as DiagonalGaussian
    from dlcli.evidence.proposal import Proposal as Proposal
    from dlcli.evidence.quadrature import integrate_evidence as integrate_evidence
    from dlcli.evidence.quasi import quasi_weights as quasi_weights
    from dlcli.evidence.schedule import choose_schedule as choose_schedule
    from dlcli.evidence.stream import WeightSummary as WeightSummary
    from dlcli.evidence.stream import summarize as summarize

_WHERE = {
    "annealing": "anneal anneal_backwards",
    "bdmc": "Sandwich sandwich",
    "bernoulli": "BernoulliDecoder random_decoder",
    "cases": "Case",
    "config": "EvidenceConfig KlConfig",
    "diagnostics": "Estimate assess",
    "estimate": "McEstimate run to_dict",
    "estimators": "importance_weights prior_weights",
    "gaussians": "KlResult gaussian_kl run_kl",
    "laplace": "laplace_proposal",
    "linear_gaussian": "LinearGaussian random_linear_gaussian",
    "model": "LatentModel draw_pairs",
    "pareto": "pareto_k",
    "proposal": "DiagonalGaussian Proposal",
    "quadrature": "integrate_evidence",
    "quasi": "quasi_weights",
    "schedule": "choose_schedule",
    "stream": "WeightSummary summarize",
}

__getattr__, __dir__, __all__ = exports(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _WHERE.items() for name in names.split()},
)
