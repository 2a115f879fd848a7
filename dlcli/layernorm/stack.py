"""Residual stacks of L layers (attention, then feed-forward) for every placement of LayerNorm.

Shapes: B batch, T tokens, D features. `states` gives x_0 … x_L, the stream between layers.
Memory and time are linear in L (DLCL adds L² / 2 cheap weighted sums, as its paper does).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from dlcli.layernorm.config import Placement, StackConfig
from dlcli.layernorm.residual import LayerNorm, PostNorm, PreNorm, ReZero
from dlcli.layernorm.sublayers import FeedForward, SelfAttention, UniformAttention, Xavier

FINAL_NORM = ("pre", "sandwich", "dlcl")
"""Placements whose stream is not normalised by its last layer, and which end with a LayerNorm."""


class Layer(nn.Module):
    """Two residual sublayers: attention and feed-forward."""

    def __init__(self, attention: nn.Module, feedforward: nn.Module) -> None:
        super().__init__()
        self.attention, self.feedforward = attention, feedforward

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        out: Tensor = self.feedforward(self.attention(x))
        return out

    def sublayers(self) -> tuple[nn.Module, nn.Module]:
        """Return the two residual connections in the order they act."""
        return self.attention, self.feedforward

    @property
    def w2(self) -> nn.Parameter:
        """The second feed-forward matrix (D, F), whose gradient the theorem bounds."""
        return cast("FeedForward", self.feedforward.sublayer).w2


class History(nn.Module):
    """DLCL: each layer's input is a learned mixture of all earlier outputs (arXiv 1906.01787).

    x_{l+1} = Σ_k W_{l+1,k} LN(y_k), k = 0 … l, with every row of W starting as the average; the
    embedding y_0 is not normalised, as in the authors' code, and is the first layer's input.
    """

    def __init__(self, depth: int, *, width: int, init: Xavier, gamma: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm(width, init=init, gamma=gamma) for _ in range(depth))
        sizes = range(2, depth + 2)
        self.rows = nn.ParameterList(init.constant(size, 1 / size) for size in sizes)

    def mix(self, outputs: list[Tensor]) -> Tensor:
        """Return x_{l+1} (B, T, D) from the l + 1 normalised outputs so far."""
        row = self.rows[len(outputs) - 2]
        mixed: Tensor = row[0] * outputs[0]
        for weight, output in zip(row[1:], outputs[1:], strict=True):
            mixed = mixed + weight * output
        return mixed


class Stack(nn.Module):
    """L layers of one placement.

    Args:
        placement: where the normalisation stands.
        depth: L ≥ 1.
        width: D ≥ 1.
        config: setting, heads, hidden units, γ and final LayerNorm.
        init: draws the weights, layer by layer.
    """

    def __init__(
        self, placement: Placement, *, depth: int, width: int, config: StackConfig, init: Xavier
    ) -> None:
        super().__init__()
        self.placement, self.depth, self.width = placement, depth, width
        build = _Builder(placement, depth=depth, width=width, config=config, init=init)
        self.layers = nn.ModuleList(build.layer() for _ in range(depth))
        wanted = {"on": True, "off": False, "auto": placement in FINAL_NORM}[config.final_norm]
        self.final_norm = build.norm() if wanted else None
        self.history = (
            History(depth, width=width, init=init, gamma=config.gamma)
            if placement == "dlcl"
            else None
        )

    def states(self, x: Tensor) -> Iterator[Tensor]:
        """Yield x_0 … x_L (B, T, D each), before any final LayerNorm."""
        yield x
        outputs = [x]
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if self.history is not None:
                outputs.append(self.history.norms[index](x))
                x = self.history.mix(outputs)
            yield x

    def finish(self, x: Tensor) -> Tensor:
        """Apply the final LayerNorm, where the stack has one, to x_L."""
        return x if self.final_norm is None else cast("Tensor", self.final_norm(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        for state in self.states(x):
            x = state
        return self.finish(x)

    def layer(self, index: int) -> Layer:
        """Return layer `index`, 0 being the one next to the input."""
        return cast("Layer", self.layers[index])


class _Builder:
    """Makes the layers of one placement."""

    def __init__(
        self, placement: Placement, *, depth: int, width: int, config: StackConfig, init: Xavier
    ) -> None:
        self.placement, self.depth, self.width = placement, depth, width
        self.config, self.init = config, init

    def norm(self) -> LayerNorm:
        return LayerNorm(self.width, init=self.init, gamma=self.config.gamma)

    def layer(self) -> Layer:
        config, width, init = self.config, self.width, self.init
        # DeepNet's β for an encoder alone, table 1 of arXiv 2203.00555.
        gain = (8 * self.depth) ** -0.25 if self.placement == "deepnorm" else 1.0
        attention: nn.Module
        if config.regime == "theorem":
            attention = UniformAttention(width, init=init, gain=gain)
        else:
            attention = SelfAttention(width, heads=config.heads, init=init, gain=gain)
        hidden = config.feedforward or (width if config.regime == "theorem" else 4 * width)
        feedforward = FeedForward(width, hidden=hidden, init=init, gain=gain)
        return Layer(self.residual(attention), self.residual(feedforward))

    def residual(self, sublayer: nn.Module) -> nn.Module:
        placement, norm = self.placement, self.norm
        if placement == "rezero":
            return ReZero(sublayer, init=self.init)
        if placement in ("pre", "dlcl"):
            return PreNorm(sublayer, norm=norm())
        if placement == "sandwich":
            return PreNorm(sublayer, norm=norm(), outer=norm())
        if placement == "deepnorm":
            return PostNorm(sublayer, norm=norm(), omega=(2 * self.depth) ** 0.25)
        if placement == "admin":
            return PostNorm(sublayer, norm=norm(), omega=self.init.constant(self.width, 1.0))
        return PostNorm(sublayer, norm=norm())


def build_stack(
    placement: Placement,
    *,
    depth: int,
    width: int,
    config: StackConfig,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Stack:
    """Draw a stack; the same generator state gives the same weights on every device."""
    init = Xavier(
        law="gaussian" if config.regime == "theorem" else "uniform",
        generator=generator,
        dtype=dtype,
        device=device,
    )
    return Stack(placement, depth=depth, width=width, config=config, init=init)


@torch.no_grad()
def profile_admin(stack: Stack, x: Tensor) -> None:
    """Set Admin's ω from one forward pass: ω_i = √(1 + Σ_{j<i} Var[A_j(x_{j-1})]).

    Liu et al. 2020, section 4.2: first all ω are 1 and the variance of every sublayer's output is
    recorded, then each ω is set. The leading 1 is the variance of the normalised input, as in the
    authors' code. Other placements are left alone.

    Args:
        stack: changed in place where its placement is `admin`.
        x: a batch (B, T, D) to profile with.
    """
    if stack.placement != "admin":
        return
    total = 1.0
    for index in range(stack.depth):
        for residual in stack.layer(index).sublayers():
            post = cast("PostNorm", residual)
            omega = cast("nn.Parameter", post.omega)
            update = post.sublayer(x)
            x = post.norm(x + update)
            omega.fill_(total**0.5)
            total += float(update.double().var())
