"""Settings of `dl mc-estimate` and `dl kl`.

Reading this module needs neither torch nor pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from dlcli.engine.config import STRICT, setting
from dlcli.engine.settings import MachineConfig, require_items

SIMULATED = "simulated"
"""What stands for the name of an image that was drawn from the model."""
ModelName = Literal["linear-gaussian", "bernoulli"]
EstimatorName = Literal["prior", "importance", "ais", "bdmc", "control"]
STREAMED: tuple[EstimatorName, ...] = ("prior", "importance", "control")
"""Estimators that visit every sample count in one pass."""
Dimension = Annotated[int, Ge(1), Le(4000)]
SampleCount = Annotated[int, Ge(1), Le(10**10)]
Mean = Annotated[float, Ge(-1e6), Le(1e6)]
Deviation = Annotated[float, Ge(1e-12), Le(1e6)]


@dataclass(frozen=True, kw_only=True)
class AnnealingConfig:
    """How `ais` and `bdmc` anneal."""

    __pydantic_config__ = STRICT

    chains: Annotated[int, Ge(2), Le(100_000)] = setting(
        128, flag="--chains", help="annealing chains in parallel; 100 or more for a firm verdict"
    )
    temperatures: Annotated[int, Ge(0), Le(10_000_000)] = setting(
        0, flag="--temperatures", help="temperatures; 0 chooses them by a pilot run"
    )
    target_sd: Annotated[float, Gt(0), Le(10)] = setting(
        0.33, help="wanted standard deviation of a chain's log-weight, nats, if T is chosen"
    )
    most_temperatures: Annotated[int, Ge(1), Le(10_000_000)] = setting(
        3000, flag="--most-temperatures", help="upper limit on chosen temperatures"
    )


@dataclass(frozen=True, kw_only=True)
class EvidenceConfig:
    """Everything that `dl mc-estimate` can be set to."""

    __pydantic_config__ = STRICT

    model: ModelName = setting(
        "linear-gaussian",
        flag="--model",
        help="linear-gaussian: x = Wz + noise, exact answers; bernoulli: a random ReLU decoder",
    )
    dims: tuple[Dimension, ...] = setting(
        (2, 20, 200), flag="--dims", help="latent dimensions D", source="assignment, Question 2"
    )
    estimators: tuple[EstimatorName, ...] = setting(
        ("prior", "importance", "ais"), flag="--estimators", help="ways to estimate log p(x)"
    )
    samples: tuple[SampleCount, ...] = setting(
        (10, 100, 1000, 10_000, 100_000, 1_000_000),
        flag="--samples",
        help="sample counts of prior, control and importance, in one pass",
    )
    importance_samples: SampleCount = setting(
        10_000, flag="--importance-samples", help="largest sample count of importance in the sweep"
    )
    repeats: Annotated[int, Ge(1), Le(1000)] = setting(
        10, flag="--repeats", help="independent repeats at the sample counts that cost little"
    )
    repeat_numbers: Annotated[int, Ge(1)] = setting(
        4_000_000, help="a count is repeated if count times D is at most this (bernoulli: 40,000)"
    )
    target_se: Annotated[float, Gt(0)] | None = setting(
        None,
        flag="--target-se",
        help="sample until this standard error of log p(x), nats, or say at once what it takes",
    )
    max_samples: SampleCount = setting(
        100_000_000, flag="--max-samples", help="most samples of an estimate under --target-se"
    )
    pixels: Annotated[int, Ge(1), Le(100_000)] = setting(
        784, flag="--pixels", help="pixels of an image", source="assignment, Question 9"
    )
    noise_variance: Annotated[float, Ge(1e-12), Le(1e6)] = setting(
        0.1, flag="--noise-variance", help="variance of a pixel's noise in linear-gaussian"
    )
    hidden: Annotated[int, Ge(1), Le(100_000)] = setting(
        350, flag="--hidden", help="hidden units of bernoulli", source="assignment, Question 9"
    )
    logit_scale: Annotated[float, Gt(0), Le(100)] = setting(
        2.0, flag="--logit-scale", help="standard deviation of a pixel's logit in bernoulli"
    )
    annealing: AnnealingConfig = field(default_factory=AnnealingConfig)
    compute: MachineConfig = field(default_factory=MachineConfig)


@dataclass(frozen=True, kw_only=True)
class KlConfig:
    """Everything that `dl kl` can be set to; q and p have a value for each dimension."""

    __pydantic_config__ = STRICT

    mu_q: tuple[Mean, ...] = setting((0.0,), flag="--mu-q", help="mean of q, a value a dimension")
    sigma_q: tuple[Deviation, ...] = setting(
        (1.0,), flag="--sigma-q", help="standard deviation of q; one value serves all dimensions"
    )
    mu_p: tuple[Mean, ...] = setting((0.0,), flag="--mu-p", help="mean of p, a value a dimension")
    sigma_p: tuple[Deviation, ...] = setting(
        (1.0,), flag="--sigma-p", help="standard deviation of p; one value serves all dimensions"
    )
    samples: Annotated[int, Ge(2), Le(10**9)] = setting(
        100_000, flag="--samples", help="draws of the Monte Carlo estimate"
    )
    compute: MachineConfig = field(default_factory=MachineConfig)


def validate(config: EvidenceConfig) -> None:
    """Refuse what cannot be estimated.

    Raises:
        ConfigError: an empty list.
    """
    require_items(config, "dims", "estimators", "samples")
