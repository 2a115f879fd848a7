"""The functions A(x) that a residual stack adds to its stream, and how their weights are drawn.

Shapes: B batch, T tokens, D features, F hidden units of the feed-forward sublayer, H heads.
Every sublayer maps (B, T, D) to (B, T, D). There is no dropout: gradients here are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        deviation = gain * math.sqrt(2 / (rows + columns))
        weight = torch.empty(rows, columns)
        if self.law == "gaussian":
            weight.normal_(0, deviation, generator=self.generator)
        else:
            bound = math.sqrt(3) * deviation
            weight.uniform_(-bound, bound, generator=self.generator)
        return nn.Parameter(weight.to(self.device, self.dtype))

    def constant(self, size: int, value: float) -> nn.Parameter:
        """Make a vector of one value, for biases and gains."""
        return nn.Parameter(torch.full((size,), value).to(self.device, self.dtype))


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
