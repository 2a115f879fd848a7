"""The fully connected networks of Question 9: 784-350-2·20 and 20-350-784 by default.

Legend: B images, D latent dimensions, 784 = 28·28 pixels in rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

PIXELS = 784


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Chain linear layers of the given sizes, with a ReLU between two but not after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class MlpEncoder(nn.Module):
    """Pixels → the last hidden layer.

    Args:
        hidden: units of the hidden layers, from the pixels on.
    """

    def __init__(self, *, hidden: Sequence[int]) -> None:
        super().__init__()
        self.features = hidden[-1]
        self.layers = nn.Sequential(perceptron([PIXELS, *hidden]), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map pixels (B, 784) to features (B, F); there is nothing to skip."""
        return self.layers(x), []


class MlpDecoder(nn.Module):
    """Latents → logits of pixels, no sigmoid at the end.

    Args:
        latent_dim: D.
        hidden: units of the hidden layers, in the *encoder's* order.
    """

    def __init__(self, *, latent_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.layers = perceptron([latent_dim, *reversed(hidden), PIXELS])

    def forward(self, z: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """Map latents (B, D) to logits (B, 784)."""
        del skips
        logits: Tensor = self.layers(z)
        return logits
