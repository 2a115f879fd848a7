"""The convolutional networks of Question 11, from 28×28 pixels to 1×1 and back.

Encoder: four times a 3×3 convolution, batch normalisation, ReLU and 2×2 max-pooling, 28 → 14 → 7 →
3 → 1. Decoder: 4×4 transposed convolutions with batch normalisation and ReLU, 1 → 4 → 7 → 14 → 28.
No skip connections, except where `skip` asks for a demonstration of the harm they do. Beyond the
seed, the encoder may end at larger maps and read them through fully connected layers.

Feature maps are channels-last, and the first and last transposed convolution are computed in ways
that were measured to be faster on a CPU; their parameters and results are those of torch's own
layer. Weights keep their usual order in memory: channels-last gains nothing there, and fused Adam
pairs up the wrong elements where a weight and its gradient differ in that order.

Legend: B images, C feature maps, D latent dimensions, H = W pixels of a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.first_stage import first_stage
from dlcli.vae.products import ProductConv2d, ProductTranspose2d

Norm = Literal["batch", "frozen", "none"]
SIDE = 28
PRODUCT_FROM = 32
"""Input maps from which the weight gradient of a 3×3 convolution is quicker as a product."""
SKIPPED = (0, 1)
"""Encoder stages that `skip` leads to the decoder: their maps are 14 and 7 pixels wide."""


class ConvStage(nn.Module):
    """3×3 convolution, normalisation, ReLU, 2×2 max-pooling.

    ReLU is taken after pooling: the two commute, and a quarter of the values is left then.

    Args:
        inputs: feature maps in.
        outputs: feature maps out.
        norm: `none` leaves batch normalisation out and gives the convolution a bias; `frozen` see
            `normalisation`.
    """

    def __init__(self, inputs: int, outputs: int, *, norm: Norm) -> None:
        super().__init__()
        layer = ProductConv2d if inputs >= PRODUCT_FROM else nn.Conv2d
        self.conv = layer(inputs, outputs, 3, padding=1, bias=norm == "none")
        self.norm = normalisation(outputs, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, H) to (B, C', ⌊H/2⌋, ⌊H/2⌋)."""
        return F.relu(F.max_pool2d(self.norm(self.conv(x)), 2))


class FirstStage(ConvStage):
    """The stage that reads the image; in training on a CPU, see `dlcli.vae.first_stage`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, 28, 28) to (B, C', 14, 14)."""
        plain = x.requires_grad or x.device.type != "cpu" or torch.compiler.is_compiling()
        if self.training and not plain and type(self.norm) is nn.BatchNorm2d:
            return first_stage(x[:, 0], self.conv, self.norm)
        return super().forward(x)


class ConvEncoder(nn.Module):
    """Pixels → the feature maps at 1×1, or what fully connected layers make of larger ones.

    Args:
        channels: feature maps after each of up to four convolutions.
        norm: `batch`, `frozen` or `none`.
        dense: units of the fully connected layers that follow, if any.
    """

    def __init__(
        self, *, channels: Sequence[int], norm: Norm = "batch", dense: Sequence[int] = ()
    ) -> None:
        super().__init__()
        flat = channels[-1] * (SIDE >> len(channels)) ** 2
        self.features = dense[-1] if dense else flat
        self.dense = fully_connected([flat, *dense], norm=norm)
        sizes = [1, *channels]
        self.stages = nn.ModuleList(
            (ConvStage if number else FirstStage)(*size, norm=norm)
            for number, size in enumerate(pairwise(sizes))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map pixels (B, 784) to features (B, F), and to the maps that a skip would lead on."""
        maps = x.view(-1, SIDE, SIDE, 1).permute(0, 3, 1, 2)  # channels-last by its strides
        found = []
        for stage in self.stages:
            maps = stage(maps)
            found.append(maps)
        return self.dense(maps.flatten(1)), [found[i] for i in SKIPPED]


class ConvDecoder(nn.Module):
    """Latents → logits of pixels, no sigmoid at the end.

    Args:
        latent_dim: D.
        channels: feature maps at 4, 7 and 14 pixels.
        norm: `batch`, `frozen` or `none`.
        skipped: feature maps of the encoder to expect at 14 and 7 pixels, for the demonstration.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        channels: Sequence[int],
        norm: Norm = "batch",
        skipped: Sequence[int] = (0, 0),
    ) -> None:
        super().__init__()
        at4, at7, at14 = channels
        self.skipped = tuple(skipped)
        bias = norm == "none"
        self.to4 = FromOnePixel(latent_dim, at4, 4, bias=bias)
        self.norm4 = normalisation(at4, norm=norm)
        self.to7 = ProductTranspose2d(at4, at7, 4, bias=bias)
        self.norm7 = normalisation(at7, norm=norm)
        self.to14 = ProductTranspose2d(at7 + skipped[1], at14, 4, stride=2, padding=1, bias=bias)
        self.norm14 = normalisation(at14, norm=norm)
        self.to28 = FoldedTranspose(at14 + skipped[0], 1)

    def forward(self, z: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """Map latents (B, D) to logits (B, 784).

        Args:
            z: (B, D).
            skips: the encoder's maps at 14 and 7 pixels; where there are none, zeros stand in.
        """
        maps = F.relu(self.norm4(self.to4(z[:, :, None, None])))  # (B, C, 4, 4)
        maps = F.relu(self.norm7(self.to7(maps)))  # (B, C, 7, 7)
        maps = F.relu(self.norm14(self.to14(self._join(maps, skips, 1))))  # (B, C, 14, 14)
        logits: Tensor = self.to28(self._join(maps, skips, 0)).flatten(1)
        return logits

    def _join(self, maps: Tensor, skips: Sequence[Tensor], number: int) -> Tensor:
        count = self.skipped[number]
        if not count:
            return maps
        B, _, H, W = maps.size()
        extra = skips[number] if skips else maps.new_zeros(B, count, H, W)
        return torch.cat([maps, extra.to(maps.dtype)], dim=1)


class FromOnePixel(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` from 1×1 maps: each output pixel is one linear map of the input."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, 1, 1) to (B, C', k, k), channels-last."""
        del output_size
        inputs, outputs, height, width = self.weight.size()
        rows = self.weight.permute(2, 3, 1, 0).reshape(height * width * outputs, inputs)
        bias = None if self.bias is None else self.bias.repeat(height * width)
        maps = F.linear(x.flatten(1), rows, bias)  # (B, k·k·C')
        return maps.view(-1, height, width, outputs).permute(0, 3, 1, 2)


class FoldedTranspose(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of 4×4, stride 2, padding 1, computed as its definition says.

    Every input pixel is multiplied by the whole kernel in one product of matrices, and the patches
    are added up where they overlap. oneDNN's kernels are made for many output maps, and with one
    map take twice as long, forward and backward.

    Args:
        inputs: feature maps in.
        outputs: feature maps out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C', 2H, 2W)."""
        del output_size
        B, C, H, W = x.size()
        rows = x.permute(0, 2, 3, 1).reshape(B * H * W, C)
        patches = F.linear(rows, self.weight.reshape(C, -1).t())  # (B·H·W, C'·16)
        patches = patches.view(B, H * W, -1).transpose(1, 2)
        out = F.fold(patches, (2 * H, 2 * W), kernel_size=4, stride=2, padding=1)
        return out if self.bias is None else out + self.bias[:, None, None]


class UnitNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` that takes a single image, by its running statistics, in training too.

    An epoch may end on a batch of one image, whose units have no variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F) to (B, F)."""
        if self.training and len(x) == 1:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class Frozen(nn.Module):
    """Batch normalisation by running statistics, in training too: mixed into one of torch's.

    Scale and shift are learned, mean and variance stay those of the weights that were loaded: what
    is trained is the network that will be used, and two passes over different samples agree.
    """

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        del mode
        return super().train(False)


class FrozenMaps(Frozen, nn.BatchNorm2d):
    """`Frozen` of feature maps."""


class FrozenUnits(Frozen, nn.BatchNorm1d):
    """`Frozen` of fully connected units."""


def fully_connected(sizes: Sequence[int], *, norm: Norm) -> nn.Sequential:
    """Chain linear layers of the given sizes, each with normalisation and ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers.append(nn.Linear(inputs, outputs, bias=norm == "none"))
        if norm != "none":
            layers.append(UnitNorm(outputs) if norm == "batch" else FrozenUnits(outputs))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def normalisation(channels: int, *, norm: Norm) -> nn.Module:
    """Return batch normalisation of feature maps, one that keeps its statistics, or nothing."""
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels) if norm == "batch" else FrozenMaps(channels)
