"""What a measurement found, as frozen values whose fields are the fields of the JSON. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlcli.layernorm.theorem import Claim, Verdict


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a stack: means over seeds of gradient norms.

    Attributes:
        layer: 1 next to the input … L.
        weights: of all the layer's parameters.
        w2: of its second feed-forward matrix.
        hidden: of ∂loss/∂x at the layer's input.
    """

    layer: int
    weights: float
    w2: float
    hidden: float


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """The gradient of every layer in one condition.

    Attributes:
        condition: `initialisation`, `no warm-up` or `warm-up`.
        step: updates taken before.
        problem: `gaussian` (random input and targets) or a sequence task.
        rows: one per layer.
        output_hidden: norm of ∂loss/∂x_L, the stack's output.
        first_to_last: hidden gradient at x_0 over that at x_L: below 1 it vanishes on its way.
        loss: nats per token, mean over seeds.
        seeds: how many draws the means are over.
        note: what went wrong, such as a training that diverged.
    """

    condition: str
    step: int
    problem: str
    rows: tuple[LayerRow, ...]
    output_hidden: float | None
    first_to_last: float | None
    loss: float | None
    seeds: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class WidthSweep:
    """The depths of one placement at one width.

    Attributes:
        width: features d.
        depths: layers, ascending.
        last_layer_norm: norm of the last second feed-forward matrix's gradient at each depth,
            geometric mean over seeds.
        by_seed: the norms themselves, seed by depth.
        slope: mean over seeds of d log norm / d log depth.
        slope_ci95: its 95% Student interval over seeds, None with one seed.
        note: why the slope or its interval is missing.
    """

    width: int
    depths: tuple[int, ...]
    last_layer_norm: tuple[float, ...]
    by_seed: tuple[tuple[float, ...], ...]
    slope: float | None
    slope_ci95: tuple[float, float] | None
    note: str


@dataclass(frozen=True, kw_only=True)
class PlacementResult:
    """One placement: the sweep at the first width in the open, the other widths beside it."""

    source: str
    width: int
    depths: tuple[int, ...]
    last_layer_norm: tuple[float, ...]
    by_seed: tuple[tuple[float, ...], ...]
    slope: float | None
    slope_ci95: tuple[float, float] | None
    note: str
    per_layer: tuple[LayerRow, ...] = ()
    """At initialisation, with the Gaussian problem."""
    profiles: tuple[LayerProfile, ...] = ()
    """Every condition that was measured, the one of `per_layer` first."""
    widths: tuple[WidthSweep, ...] = ()
    """Every width, the first included."""
    width_slope: float | None = None
    """Mean slope against width at the deepest depth, with two widths or more."""
    width_slope_ci95: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class StepCheck:
    """One residual connection: its derivative checked, its factors, and the bounds at its input.

    Attributes:
        step: 0 … 2L - 1 from the input.
        layer: 1 … L.
        sublayer: attention or feed-forward.
        difference: largest difference between autograd's Jacobian and the equation's.
        lambda_measured: σ_max of the LayerNorm's Jacobian by power iteration, largest over tokens.
        lambda_closed: the same as γ / s(y).
        dropped_factor: σ_max(I + J_A), which Question 16 leaves out; None for pre-norm.
        gradient: the true ‖∂loss/∂x‖ at the step's input.
        seed_bound: ‖g_L‖ λ^(N-s-1) for step s of N, λ the largest of the stack.
        lambda_product: ‖g_L‖ times each step's own λ: all N - s factors.
        full_bound: ‖g_L‖ times σ_max(J_LN) σ_max(I + J_A) of each step from here on (post), or
            σ_max(I + J_A J_LN) (pre).
    """

    step: int
    layer: int
    sublayer: str
    difference: float
    lambda_measured: float
    lambda_closed: float
    dropped_factor: float | None
    gradient: float
    seed_bound: float
    lambda_product: float
    full_bound: float


@dataclass(frozen=True, kw_only=True)
class EquationCheck:
    """Equation 21' or 22' held against autograd over a whole stack."""

    equation: Literal["21'", "22'"]
    placement: str
    largest_difference: float
    tolerance: float
    holds: bool
    largest_lambda: float
    final_gradient: float
    """‖∂loss/∂x_L‖ at the stack's output."""
    steps: tuple[StepCheck, ...]


@dataclass(frozen=True, kw_only=True)
class Lemma2Row:
    """Mean squared norm of the stream over d, after one layer.

    Attributes:
        layer: 0 is the input.
        post: E‖y‖² / d of the sum that the feed-forward LayerNorm is given; the lemma says 3/2
            (None at layer 0).
        pre: E‖x_l‖² / d; the lemma says between `pre_low` and `pre_high`.
        pre_low: 1 + l/2.
        pre_high: 1 + 3l/2.
    """

    layer: int
    post: float | None
    pre: float
    pre_low: float
    pre_high: float


@dataclass(frozen=True, kw_only=True)
class Lemmas:
    """Lemmas 2 and 3 of Xiong et al. 2020, in the theorem's setting.

    Attributes:
        width: features d.
        rows: Lemma 2, layer by layer, means over tokens and seeds.
        lemma2_holds: post at 3/2 and pre between its bounds everywhere, but for a slack of
            10% at d = 256 and 8 seeds, growing as their product shrinks.
        lemma3_ratio: smallest and largest ‖J_LN(x)‖₂ / (√d / ‖x‖) over all tokens and LayerNorms.
            It is √(1 + mean²/variance) (less a trace of ε), so 1 for centred input.
    """

    width: int
    rows: tuple[Lemma2Row, ...]
    lemma2_holds: bool
    lemma3_ratio: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One training: mean loss and accuracy since the point before."""

    placement: str
    warmup_steps: int
    seed: int
    steps: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    solved: bool
    """Whether the last accuracy is above 95%."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """All trainings that are complete.

    Attributes:
        task: reverse or copy.
        depth: layers.
        width: features.
        heads: attention heads; training always uses real attention.
        chance_loss: ln V nats, what guessing costs.
        curves: one per placement, warm-up and seed.
        words: what came of it, one sentence per kind of run.
    """

    task: str
    depth: int
    width: int
    heads: int
    chance_loss: float
    curves: tuple[Curve, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LnGradients:
    """The result of `dl ln-gradients`, or as much of it as there is so far.

    Attributes:
        setting: theorem or transformer.
        conditions: everything that the slopes move with, in words.
        seeds: complete seeds.
        placements: by name, in the order asked for.
        theorem: Theorem 1 held against `post` and `pre`, where they were measured.
        verdict: pass or fail of all claims together; None where nothing could be decided.
        equations: 21' and 22', where asked for.
        lemmas: Lemmas 2 and 3, where asked for.
        training: where asked for.
        complete: False in a partial result.
        done: fraction of the work, 0 to 1.
        signature: all that changes the numbers.
    """

    setting: str
    conditions: str
    seeds: int
    placements: dict[str, PlacementResult]
    theorem: dict[str, Claim]
    verdict: Verdict | None
    equations: tuple[EquationCheck, ...] = ()
    lemmas: Lemmas | None = None
    training: TrainingResult | None = None
    complete: bool
    done: float
    signature: str
