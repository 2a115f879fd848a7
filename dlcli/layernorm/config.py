"""Settings of `dl ln-gradients`: which stacks, which sweep, which further views.

Reading this module needs neither torch nor pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from dlcli.engine.config import STRICT, setting, setting_like
from dlcli.engine.settings import ComputeConfig, MachineConfig, Precision, require_items
from dlcli.errors import ConfigError

Placement = Literal["post", "pre", "sandwich", "deepnorm", "admin", "rezero", "dlcl"]
Setting = Literal["theorem", "transformer"]
DType = Literal["float32", "float64", "bfloat16", "float16"]
SequenceTask = Literal["reverse", "copy"]
Count = Annotated[int, Ge(1), Le(4096)]

SOURCES: dict[str, str] = {
    "post": "Vaswani et al. 2017, arXiv 1706.03762; the assignment's equation 21",
    "pre": "Wang et al. 2019, arXiv 1906.01787; Xiong et al. 2020, arXiv 2002.04745; equation 22",
    "sandwich": "Ding et al. 2021 (CogView), arXiv 2105.13290",
    "deepnorm": "Wang et al. 2022 (DeepNet), arXiv 2203.00555, encoder-only constants",
    "admin": "Liu et al. 2020, arXiv 2004.08249",
    "rezero": "Bachlechner et al. 2021, arXiv 2003.04887",
    "dlcl": "Wang et al. 2019, arXiv 1906.01787, section 4, pre-norm form",
}
"""Where each placement comes from."""

LARGEST_STACK = 2_000_000_000
"""Weights of one stack: 8 GB in float32, before any gradient."""


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """What one residual stack is made of."""

    __pydantic_config__ = STRICT

    regime: Setting = setting(
        "theorem",
        flag="--setting",
        help="theorem: uniform attention with one value matrix, Gaussian Xavier weights; "
        "transformer: multi-head attention, uniform Xavier weights",
        source="Xiong et al. 2020, section 3.3",
        signature="setting",
    )
    heads: Count = setting(4, flag="--heads", help="attention heads in the transformer setting")
    feedforward: Annotated[int, Ge(0), Le(65_536)] = setting(
        0,
        flag="--feedforward",
        help="hidden units of a feed-forward sublayer; 0 is the width (theorem) or 4 times it",
        signature="ff",
    )
    gamma: Annotated[float, Gt(0), Le(1e6)] = setting(
        1.0, flag="--gamma", help="gain of every LayerNorm at initialisation"
    )
    final_norm: Literal["auto", "on", "off"] = setting(
        "auto",
        flag="--final-norm",
        help="LayerNorm after the last layer; auto: with pre, sandwich and dlcl",
    )

    def hidden_units(self, width: int) -> int:
        """Return the hidden units of a feed-forward sublayer of `width` features."""
        return self.feedforward or (width if self.regime == "theorem" else 4 * width)

    def count_weights(self, *, depth: int, width: int) -> int:
        """Return how many numbers the matrices of a stack hold."""
        attention = width if self.regime == "theorem" else 4 * width
        return depth * width * (attention + 2 * self.hidden_units(width))


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """The gradient of the last layer over depths, widths and seeds."""

    __pydantic_config__ = STRICT

    placements: tuple[Placement, ...] = setting(
        ("post", "pre"), flag="--placements", help="where the normalisation stands"
    )
    depths: tuple[Count, ...] = setting(
        (2, 4, 8, 16, 32, 64), flag="--depths", help="numbers of layers (two sublayers each)"
    )
    widths: tuple[Annotated[int, Ge(1), Le(16_384)], ...] = setting(
        (256,), flag="--widths", help="features d; every width is measured at every depth"
    )
    seeds: Count = setting(
        8, flag="--seeds", help="independent draws of weights and data; 2 or more for an interval"
    )
    batch_size: Count = setting(
        16, flag="--batch-size", help="sequences in the measured batch", signature="batch"
    )
    tokens: Count = setting(16, flag="--tokens", help="tokens in each sequence", signature="batch")
    classes: Annotated[int, Ge(2), Le(1_000_000)] = setting(
        1000, flag="--classes", help="classes of the token-mean cross-entropy"
    )
    dtype: DType = setting(
        "float32", flag="--dtype", help="numbers in which weights and activations are held"
    )
    post_tolerance: Annotated[float, Gt(0)] = setting(
        0.1,
        flag="--post-tolerance",
        help="how far from 0 the post-norm interval may reach",
        signature=None,
    )
    pre_tolerance: Annotated[float, Gt(0)] = setting(
        0.05,
        flag="--pre-tolerance",
        help="how far from -1/2 the pre-norm interval may reach",
        signature=None,
    )

    def distinct(self) -> SweepConfig:
        """Return the sweep with its depths in ascending order and no list item twice."""
        return replace(
            self,
            placements=tuple(dict.fromkeys(self.placements)),
            depths=tuple(sorted(set(self.depths))),
            widths=tuple(dict.fromkeys(self.widths)),
        )


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """The gradient of every layer at one depth."""

    __pydantic_config__ = STRICT

    depth: Count = setting(
        18, flag="--layer-depth", help="layers of the per-layer view", signature="layer_depth"
    )
    steps: Annotated[int, Ge(0), Le(1_000_000)] = setting(
        0,
        flag="--steps",
        help="training updates after which the per-layer view is taken again",
        signature="steps",
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The sequence task that deep stacks are trained on."""

    __pydantic_config__ = STRICT

    task: SequenceTask = setting(
        "reverse", flag="--task", help="sequence to give back: reversed or copied"
    )
    depth: Count = setting(
        18, flag="--train-depth", help="layers of the trained stacks", signature="train"
    )
    width: Annotated[int, Ge(2), Le(16_384)] = setting(
        64, flag="--train-width", help="features of the trained stacks", signature="train"
    )
    length: Count = setting(12, flag="--length", help="symbols in a sequence", signature="task")
    vocabulary: Annotated[int, Ge(2), Le(1_000_000)] = setting(
        16, flag="--vocabulary", help="different symbols", signature="task"
    )
    batch_size: Count = setting(
        32, flag="--train-batch-size", help="sequences an update", signature="train"
    )
    steps: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        300, flag="--train-steps", help="updates of each training", signature="train"
    )
    lr: Annotated[float, Gt(0), Le(1e3)] = setting(
        1e-3,
        flag="--lr",
        help="learning rate of Adam",
        source="Xiong et al. 2020, section 3.2: the peak rate of their Adam runs",
    )
    warmup_steps: Annotated[int, Ge(0)] = setting(
        150,
        flag="--warmup-steps",
        help="updates of linear warm-up in the runs that have one",
        signature="warmup",
    )
    seeds: Count = setting(
        3, flag="--train-seeds", help="trainings of each kind", signature="train"
    )


@dataclass(frozen=True, kw_only=True)
class EquationsConfig:
    """The exact check of the assignment's equations, in float64 with full Jacobians."""

    __pydantic_config__ = STRICT

    depth: Annotated[int, Ge(1), Le(256)] = setting(
        12,
        flag="--equations-depth",
        help="layers whose Jacobians are built in full",
        signature="equations",
    )
    width: Annotated[int, Ge(1), Le(512)] = setting(
        32, flag="--equations-width", help="features there", signature="equations"
    )
    tokens: Annotated[int, Ge(1), Le(64)] = setting(
        4, flag="--equations-tokens", help="tokens there", signature="equations"
    )
    tolerance: Annotated[float, Gt(0)] = setting(
        1e-10,
        flag="--equations-tolerance",
        help="largest allowed difference between Jacobians",
        signature=None,
    )


@dataclass(frozen=True, kw_only=True)
class AutocastConfig(MachineConfig):
    """Where it is computed, in which precision, and from which seed."""

    precision: Precision = setting_like(ComputeConfig, "precision")


@dataclass(frozen=True, kw_only=True)
class LnGradientsConfig:
    """Everything that `dl ln-gradients` can be set to."""

    __pydantic_config__ = STRICT

    per_layer: bool = setting(
        False,
        flag="--per-layer/--no-per-layer",
        help="show the gradient of every layer",
        signature=None,
    )
    equations: bool = setting(
        False,
        flag="--equations/--no-equations",
        help="check the assignment's equations 21' and 22'",
    )
    train: bool = setting(
        False, flag="--train/--no-train", help="train deep stacks with and without warm-up"
    )
    stack: StackConfig = field(default_factory=StackConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    exact: EquationsConfig = field(default_factory=EquationsConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    compute: AutocastConfig = field(default_factory=AutocastConfig)


def validate(config: LnGradientsConfig) -> None:
    """Refuse what no measurement can be made of.

    Raises:
        ConfigError: an empty list, fewer than two depths, a width without gradients, a stack or
            Jacobian that fits into no memory, or heads that do not divide a width.
    """
    sweep = config.sweep
    require_items(sweep, "placements", "depths", "widths")
    if len(set(sweep.depths)) < 2:
        raise ConfigError(
            f"One depth ({sweep.depths[0]}) has no slope.",
            hint="Give two or more different --depths, such as 2 4 8 16.",
        )
    widths = {"--widths": min(sweep.widths)}
    widths |= {"--equations-width": config.exact.width} if config.equations else {}
    for flag, width in widths.items():
        if width in FLAT:
            raise ConfigError(
                f"{flag} {width} leaves nothing to measure: {FLAT[width]}.",
                hint=f"Give {flag} 3 or more.",
            )
    size = config.exact.width * config.exact.tokens
    if config.equations and size > 2048:
        raise ConfigError(
            f"--equations-width times --equations-tokens is {size}, and full Jacobians are squares "
            "of that.",
            hint="Keep the product at 2048 or below.",
        )
    depth, width = max(*sweep.depths, config.layers.depth), max(sweep.widths)
    weights = config.stack.count_weights(depth=depth, width=width)
    if weights > LARGEST_STACK:
        raise ConfigError(
            f"A stack of {depth} layers of width {width} has {weights / 1e9:.1f} billion weights.",
            hint=f"Lower --depths or --widths; {LARGEST_STACK / 1e9:g} billion is the most.",
        )
    heads = config.stack.heads
    for width, flag in _widths_with_heads(config).items():
        if width % heads:
            raise ConfigError(
                f"--heads {heads} does not divide {flag} {width}.",
                hint="Choose a width that is a multiple of --heads.",
            )


FLAT = {
    1: "LayerNorm of one feature is its bias, whatever the input, so every gradient is zero",
    2: "LayerNorm of two features is a sign, -1 and +1, so its Jacobian is zero",
}
"""Widths that have no gradient, and why."""


def _widths_with_heads(config: LnGradientsConfig) -> dict[int, str]:
    """Return the widths of stacks with multi-head attention, each with its flag."""
    widths: dict[int, str] = {}
    if config.stack.regime == "transformer":
        widths = dict.fromkeys(config.sweep.widths, "--widths")
        if config.equations:
            widths[config.exact.width] = "--equations-width"
    if config.train or (config.layers.steps and config.stack.regime == "transformer"):
        widths[config.training.width] = "--train-width"
    return widths
