"""Lemmas 2 and 3 of Xiong et al. 2020: the size of the stream, and of LayerNorm's Jacobian.

Lemma 2: at initialisation E‖y‖² = 3d/2 for the sum that post-norm's second LayerNorm is given, and
(1 + l/2) d ≤ E‖x_l‖² ≤ (1 + 3l/2) d with pre-norm. Lemma 3: ‖J_LN(x)‖₂ = O(√d / ‖x‖).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.layernorm.config import LnGradientsConfig, Placement, StackConfig
from dlcli.layernorm.jacobian import closed_form_lambda
from dlcli.layernorm.residual import PostNorm
from dlcli.layernorm.results import Lemma2Row, Lemmas
from dlcli.layernorm.stack import Stack, build_stack

POST_NORM = 1.5
"""Lemma 2's E‖y‖² / d."""
SLACK = 0.1
"""Fraction by which a mean over 8 draws at d = 256 may miss the expectation: 5 deviations."""


@torch.no_grad()
def check_lemmas(config: LnGradientsConfig) -> Lemmas:
    """Measure both lemmas in the theorem's setting, whatever `--setting` says, in float64.

    Args:
        config: depth of the per-layer view, first width, seeds and tokens of the sweep.
    """
    sweep, depth = config.sweep, config.layers.depth
    width = sweep.widths[0]
    post, pre = torch.zeros(depth, dtype=torch.float64), torch.zeros(depth + 1, dtype=torch.float64)
    ratios: list[float] = []
    for index in range(sweep.seeds):
        for placement in ("post", "pre"):
            stack, x = _draw(placement, depth=depth, width=width, index=index, config=config)
            squares = torch.stack([_mean_square(y) for y in _sums(stack, x)])
            ratios += [ratio for y in _normalised(stack, x) for ratio in _extremes(y)]
            if placement == "post":
                post += squares[1:] / sweep.seeds
            else:
                pre += squares / sweep.seeds
    slack = min(0.5, SLACK * (256 / width * 8 / sweep.seeds) ** 0.5)
    rows = tuple(
        Lemma2Row(
            layer=i,
            post=float(post[i - 1]) if i else None,
            pre=float(pre[i]),
            pre_low=1 + i / 2,
            pre_high=1 + 3 * i / 2,
        )
        for i in range(depth + 1)
    )
    return Lemmas(
        width=width,
        rows=rows,
        lemma2_holds=all(_holds(row, slack=slack) for row in rows),
        lemma3_ratio=(min(ratios), max(ratios)),
    )


def _draw(
    placement: Placement, *, depth: int, width: int, index: int, config: LnGradientsConfig
) -> tuple[Stack, Tensor]:
    stream = generator(config.compute.seed, "ln-lemmas", index)
    stack = build_stack(
        placement,
        depth=depth,
        width=width,
        config=StackConfig(),
        generator=stream,
        dtype=torch.float64,
    )
    size = (config.sweep.batch_size, config.sweep.tokens, width)
    return stack, torch.randn(size, generator=stream).double()


def _sums(stack: Stack, x: Tensor) -> Iterator[Tensor]:
    """Yield the input, then what Lemma 2 speaks of in each layer."""
    yield x
    for index in range(stack.depth):
        attention, feedforward = stack.layer(index).sublayers()
        x = attention(x)
        if isinstance(feedforward, PostNorm):
            yield feedforward.combine(x, feedforward.sublayer(x))
            x = feedforward(x)
        else:
            x = feedforward(x)
            yield x


def _normalised(stack: Stack, x: Tensor) -> Iterator[Tensor]:
    """Yield every LayerNorm's input inside the layers."""
    for index in range(stack.depth):
        for step in stack.layer(index).sublayers():
            yield step.combine(x, step.sublayer(x)) if isinstance(step, PostNorm) else x
            x = step(x)


def _mean_square(y: Tensor) -> Tensor:
    return y.square().mean()


def _extremes(y: Tensor) -> tuple[float, float]:
    """Return the smallest and largest ‖J_LN‖₂ / (√d / ‖y‖) over tokens."""
    tokens = y.flatten(0, -2)
    ratio = closed_form_lambda(tokens) * tokens.norm(dim=-1) / tokens.size(-1) ** 0.5
    return float(ratio.min()), float(ratio.max())


def _holds(row: Lemma2Row, *, slack: float) -> bool:
    inside = row.pre_low * (1 - slack) <= row.pre <= row.pre_high * (1 + slack)
    return inside and (row.post is None or abs(row.post / POST_NORM - 1) <= slack)
