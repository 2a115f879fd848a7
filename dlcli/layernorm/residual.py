"""One residual connection around a sublayer A, in the three forms that all placements share.

Shapes: B batch, T tokens, D features; every module maps (B, T, D) to (B, T, D).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.layernorm.sublayers import Xavier

EPSILON = 1e-5
"""What LayerNorm adds to the variance, PyTorch's default."""


class LayerNorm(nn.Module):
    """γ (x - mean) / √(variance + ε) + β over the last axis (Ba, Kiros & Hinton 2016).

    Args:
        width: features D.
        init: gives the parameters their type and device.
        gamma: the gain γ at initialisation.
    """

    def __init__(self, width: int, *, init: Xavier, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = init.constant(width, gamma)
        self.beta = init.constant(width, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each token of (B, T, D)."""
        return F.layer_norm(x, (x.size(-1),), self.gamma, self.beta, EPSILON)


class PostNorm(nn.Module):
    """LN(ω x + A(x)): the seed's equation 21 at ω = 1.

    DeepNet fixes ω = α > 1 (arXiv 2203.00555); Admin learns a vector ω (arXiv 2004.08249).

    Args:
        sublayer: A.
        norm: the LayerNorm.
        omega: factor on the skip path: a number, or Admin's parameter (D,).
    """

    def __init__(
        self, sublayer: nn.Module, *, norm: LayerNorm, omega: float | nn.Parameter = 1.0
    ) -> None:
        super().__init__()
        self.sublayer, self.norm, self.omega = sublayer, norm, omega

    def combine(self, x: Tensor, update: Tensor) -> Tensor:
        """Return y = ω x + A(x), what the LayerNorm is given."""
        skip = x if isinstance(self.omega, float) and self.omega == 1.0 else x * self.omega
        return skip + update

    def forward(self, x: Tensor) -> Tensor:
        """Apply the sublayer and normalise its sum with the stream."""
        out: Tensor = self.norm(self.combine(x, self.sublayer(x)))
        return out


class PreNorm(nn.Module):
    """x + A(LN(x)): the seed's equation 22; with `outer`, x + LN(A(LN(x))) as in CogView.

    Args:
        sublayer: A.
        norm: the LayerNorm of the sublayer's input.
        outer: the LayerNorm of its output (Sandwich-LN, arXiv 2105.13290), if any.
    """

    def __init__(
        self, sublayer: nn.Module, *, norm: LayerNorm, outer: LayerNorm | None = None
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
