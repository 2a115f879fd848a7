"""Residual stacks of L layers (attention, then feed-forward) for every placement of LayerNorm.

From the whole to its parts: the stack, its layers, the residual connection around each sublayer
(which all placements share), the sublayers themselves, and how their weights are drawn. There is
no dropout: gradients here are exact.

Shapes: B batch, T tokens, D features, F hidden units of a feed-forward sublayer, H heads. Every
module maps (B, T, D) to (B, T, D). Memory and time are linear in L (DLCL adds L² / 2 cheap weighted
sums, as its paper does).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.layernorm.config import Placement, StackConfig

FINAL_NORM = ("pre", "sandwich", "dlcl")
"""Placements whose stream is not normalised by its last layer, and which end with a LayerNorm."""


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
    law: Literal["gaussian", "uniform"] = "gaussian" if config.regime == "theorem" else "uniform"
    init = Xavier(law=law, generator=generator, dtype=dtype, device=device)
    return Stack(placement, depth=depth, width=width, config=config, init=init)


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
        self.layers = nn.ModuleList(
            _build_layer(placement, depth=depth, width=width, config=config, init=init)
            for _ in range(depth)
        )
        wanted = {"on": True, "off": False, "auto": placement in FINAL_NORM}[config.final_norm]
        self.final_norm = init.layer_norm(width, gamma=config.gamma) if wanted else None
        self.history = (
            History(depth, width=width, init=init, gamma=config.gamma)
            if placement == "dlcl"
            else None
        )

    def states(self, x: Tensor) -> Iterator[Tensor]:
        """Yield x_0 … x_L (B, T, D each), the stream between layers, before any final LayerNorm."""
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

    def steps(self) -> Iterator[Residual]:
        """Yield the residual connections in the order they act, two a layer."""
        for index in range(self.depth):
            yield self.layer(index).attention
            yield self.layer(index).feedforward


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
    for step in stack.steps():
        assert isinstance(step, PostNorm)
        assert isinstance(step.omega, nn.Parameter)
        update = step.sublayer(x)
        x = step.norm(x + update)
        step.omega.fill_(total**0.5)
        total += float(update.double().var())


class History(nn.Module):
    """DLCL: each layer's input is a learned mixture of all earlier outputs (arXiv 1906.01787).

    x_{l+1} = Σ_k W_{l+1,k} LN(y_k), k = 0 … l, with every row of W starting as the average; the
    embedding y_0 is not normalised, as in the authors' code, and is the first layer's input.
    """

    def __init__(self, depth: int, *, width: int, init: Xavier, gamma: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(init.layer_norm(width, gamma=gamma) for _ in range(depth))
        sizes = range(2, depth + 2)
        self.rows = nn.ParameterList(init.constant(size, 1 / size) for size in sizes)

    def mix(self, outputs: list[Tensor]) -> Tensor:
        """Return x_{l+1} (B, T, D) from the l + 1 normalised outputs so far."""
        row = self.rows[len(outputs) - 2]
        mixed: Tensor = row[0] * outputs[0]
        for weight, output in zip(row[1:], outputs[1:], strict=True):
            mixed = mixed + weight * output
        return mixed


class Layer(nn.Module):
    """Two residual connections: around attention and around a feed-forward sublayer."""

    def __init__(self, attention: Residual, feedforward: Residual) -> None:
        super().__init__()
        self.attention, self.feedforward = attention, feedforward

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        out: Tensor = self.feedforward(self.attention(x))
        return out

    @property
    def w2(self) -> nn.Parameter:
        """The second feed-forward matrix (D, F), whose gradient the theorem bounds."""
        return cast("FeedForward", self.feedforward.sublayer).w2


def _build_layer(
    placement: Placement, *, depth: int, width: int, config: StackConfig, init: Xavier
) -> Layer:
    # DeepNet's β for an encoder alone, table 1 of arXiv 2203.00555.
    gain = (8 * depth) ** -0.25 if placement == "deepnorm" else 1.0
    attention: nn.Module
    if config.regime == "theorem":
        attention = UniformAttention(width, init=init, gain=gain)
    else:
        attention = SelfAttention(width, heads=config.heads, init=init, gain=gain)
    hidden = config.hidden_units(width)
    feedforward = FeedForward(width, hidden=hidden, init=init, gain=gain)

    def residual(sublayer: nn.Module) -> Residual:
        if placement == "rezero":
            return ReZero(sublayer, init=init)
        norm = init.layer_norm(width, gamma=config.gamma)
        if placement in ("pre", "dlcl"):
            return PreNorm(sublayer, norm=norm)
        if placement == "sandwich":
            outer = init.layer_norm(width, gamma=config.gamma)
            return PreNorm(sublayer, norm=norm, outer=outer)
        if placement == "deepnorm":
            return PostNorm(sublayer, norm=norm, omega=(2 * depth) ** 0.25)
        if placement == "admin":
            return PostNorm(sublayer, norm=norm, omega=init.constant(width, 1.0))
        return PostNorm(sublayer, norm=norm)

    return Layer(residual(attention), residual(feedforward))


class PostNorm(nn.Module):
    """LN(ω x + A(x)): the assignment's equation 21 at ω = 1.

    DeepNet fixes ω = α > 1 (arXiv 2203.00555); Admin learns a vector ω (arXiv 2004.08249).

    Args:
        sublayer: A.
        norm: the LayerNorm.
        omega: factor on the skip path: a number, or Admin's parameter (D,).
    """

    def __init__(
        self, sublayer: nn.Module, *, norm: nn.LayerNorm, omega: float | nn.Parameter = 1.0
    ) -> None:
        super().__init__()
        self.sublayer, self.norm, self.omega = sublayer, norm, omega

    def combine(self, x: Tensor) -> Tensor:
        """Return y = ω x + A(x), what the LayerNorm is given."""
        skip = x if isinstance(self.omega, float) and self.omega == 1.0 else x * self.omega
        out: Tensor = skip + self.sublayer(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Apply the sublayer and normalise its sum with the stream."""
        out: Tensor = self.norm(self.combine(x))
        return out


class PreNorm(nn.Module):
    """x + A(LN(x)): the assignment's equation 22; with `outer`, x + LN(A(LN(x))) as in CogView.

    Args:
        sublayer: A.
        norm: the LayerNorm of the sublayer's input.
        outer: the LayerNorm of its output (Sandwich-LN, arXiv 2105.13290), if any.
    """

    def __init__(
        self, sublayer: nn.Module, *, norm: nn.LayerNorm, outer: nn.LayerNorm | None = None
    ) -> None:
        super().__init__()
        self.sublayer, self.norm, self.outer = sublayer, norm, outer

    def forward(self, x: Tensor) -> Tensor:
        """Add the sublayer of the normalised stream to the stream itself."""
        update: Tensor = self.sublayer(self.norm(x))
        return x + (update if self.outer is None else self.outer(update))


class ReZero(nn.Module):
    """x + a A(x) with a learned number a that starts at 0 (arXiv 2003.04887); no LayerNorm.

    Args:
        sublayer: A.
        init: gives the parameter its type and device.
    """

    def __init__(self, sublayer: nn.Module, *, init: Xavier) -> None:
        super().__init__()
        self.sublayer = sublayer
        self.scale = init.constant(1, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Add the scaled sublayer to the stream."""
        out: Tensor = x + self.scale * self.sublayer(x)
        return out


Residual = PostNorm | PreNorm | ReZero


class UniformAttention(nn.Module):
    """The theorem's attention: W^Q = W^K = 0, so every token gets the mean value of all tokens.

    Xiong et al. 2020, section 3.3; one head, one value matrix and no output matrix.

    Args:
        width: features D.
        init: draws the weights.
        gain: factor on the deviation of the value matrix.
    """

    def __init__(self, width: int, *, init: Xavier, gain: float = 1.0) -> None:
        super().__init__()
        self.value = init.matrix(width, width, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D), the same at every token."""
        return F.linear(x.mean(dim=1, keepdim=True), self.value).expand_as(x)


class SelfAttention(nn.Module):
    """Scaled dot-product attention with H heads, laid out as `nn.MultiheadAttention`.

    Args:
        width: features D, a multiple of `heads`.
        heads: H.
        init: draws the weights; the three input matrices are drawn as one (3D, D) matrix.
        gain: factor on the deviation of the value and output matrices (DeepNet's β).
    """

    def __init__(self, width: int, *, heads: int, init: Xavier, gain: float = 1.0) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = init.matrix(3 * width, width)
        self.in_proj_bias = init.constant(3 * width, 0.0)
        self.out_proj_weight = init.matrix(width, width, gain=gain)
        self.out_proj_bias = init.constant(width, 0.0)
        if gain != 1.0:
            with torch.no_grad():
                self.in_proj_weight[2 * width :] *= gain

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D); every token may attend to every other."""
        B, T, D = x.size()
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3D)
        q, k, v = projected.view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D // self.heads), dim=-1) @ v
        return F.linear(
            mixed.transpose(1, 2).reshape(B, T, D), self.out_proj_weight, self.out_proj_bias
        )


class FeedForward(nn.Module):
    """ReLU(x W1ᵀ + b1) W2ᵀ + b2, applied to each token; `w2` is the theorem's matrix W^{2,L}.

    Args:
        width: features D.
        hidden: hidden units F.
        init: draws the weights.
        gain: factor on the deviation of both matrices (DeepNet's β).
    """

    def __init__(self, width: int, *, hidden: int, init: Xavier, gain: float = 1.0) -> None:
        super().__init__()
        self.w1 = init.matrix(hidden, width, gain=gain)
        self.b1 = init.constant(hidden, 0.0)
        self.w2 = init.matrix(width, hidden, gain=gain)
        self.b2 = init.constant(width, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return F.linear(torch.relu(F.linear(x, self.w1, self.b1)), self.w2, self.b2)


@dataclass(frozen=True, kw_only=True)
class Xavier:
    """Draws weights as Glorot & Bengio (2010) do: variance 2 / (fan_in + fan_out).

    Args:
        law: `gaussian` (the theorem's setting) or `uniform` (what `nn.Transformer` does).
        generator: the stream to draw from, on the CPU.
        dtype: type of the parameters.
        device: where the parameters live.
    """

    law: Literal["gaussian", "uniform"]
    generator: torch.Generator
    dtype: torch.dtype = torch.float32
    device: str | torch.device = "cpu"

    def matrix(self, rows: int, columns: int, *, gain: float = 1.0) -> nn.Parameter:
        """Draw a (rows, columns) matrix that maps `columns` features to `rows`."""
        fill = nn.init.xavier_normal_ if self.law == "gaussian" else nn.init.xavier_uniform_
        weight = fill(torch.empty(rows, columns), gain=gain, generator=self.generator)
        return nn.Parameter(weight.to(self.device, self.dtype))

    def constant(self, size: int, value: float) -> nn.Parameter:
        """Make a vector of one value, for biases and gains."""
        return nn.Parameter(torch.full((size,), value).to(self.device, self.dtype))

    def layer_norm(self, width: int, *, gamma: float = 1.0) -> nn.LayerNorm:
        """Make a LayerNorm over the last axis (Ba, Kiros & Hinton 2016), all its gains γ."""
        norm = nn.LayerNorm(width, device=self.device, dtype=self.dtype)
        norm.weight = self.constant(width, gamma)
        return norm
