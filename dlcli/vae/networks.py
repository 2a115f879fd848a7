"""The fully connected networks of Question 9: 784-350-2·20 and 20-350-784 by default.

Legend: B images, D latent dimensions, 784 = 28·28 pixels in rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.errors import ConfigError
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.fast import ProductConv2d, ProductTranspose2d, first_stage

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


# -- The convolutional networks of Question 11, from 28×28 pixels to 1×1 and back
# Encoder: four times a 3×3 convolution, batch normalisation, ReLU and 2×2 max-pooling, 28 → 14 → 7
# → 3 → 1. Decoder: 4×4 transposed convolutions with batch normalisation and ReLU, 1 → 4 → 7 → 14 →
# 28. No skip connections, except where `skip` asks for a demonstration of the harm they do. Beyond
# the seed, the encoder may end at larger maps and read them through fully connected layers.
#
# Feature maps are channels-last, and the first and last transposed convolution are computed in ways
# that were measured to be faster on a CPU; their parameters and results are those of torch's own
# layer. Weights keep their usual order in memory: channels-last gains nothing there, and fused Adam
# pairs up the wrong elements where a weight and its gradient differ in that order.
#
# Legend: B images, C feature maps, D latent dimensions, H = W pixels of a side.

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
    """The stage that reads the image; in training on a CPU, see `dlcli.vae.fast`."""

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


# -- A learned prior: a normalising flow between the encoder's coordinates and a standard normal
# z = f(v) by affine couplings (Dinh et al. 2017, "Density estimation using Real NVP", section 3.2):
# each keeps half of the coordinates, and shifts and scales the other half by what a small network
# says of the first. So v has the density N(f(v); 0, I) · |det f′(v)|, which is learned, while every
# latent z that the rest of the program sees has a standard normal prior. The encoder's Gaussian is
# in v: carried along, q(z|x) is no longer Gaussian. A prior and a posterior made richer by one
# flow are the same thing seen from its two ends (Chen et al. 2017, "Variational lossy
# autoencoder", section 3.2).
#
# Legend: D latent dimensions, H units of a coupling's network.

MOST_LOG_SCALE = 1.0
"""log of the most by which one coupling stretches or shrinks a coordinate."""


class Coupling(nn.Module):
    """One affine coupling: identity at first.

    Args:
        dims: D ≥ 2; the first ⌊D/2⌋ coordinates are kept, the others move.
        hidden: H.
    """

    def __init__(self, dims: int, *, hidden: int) -> None:
        super().__init__()
        self.kept = dims // 2
        self.network = nn.Sequential(
            nn.Linear(self.kept, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * (dims - self.kept)),
        )
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Map (..., D) to (..., D), with log |det| of the map, (...)."""
        kept, moved = v[..., : self.kept], v[..., self.kept :]
        log_scale, shift = self._says(kept)
        return torch.cat([kept, moved * log_scale.exp() + shift], -1), log_scale.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `forward`; the log |det| is that of `forward`."""
        kept, moved = z[..., : self.kept], z[..., self.kept :]
        log_scale, shift = self._says(kept)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], -1), log_scale.sum(-1)

    def _says(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(kept).chunk(2, -1)
        return MOST_LOG_SCALE * torch.tanh(log_scale), shift


class Flow(nn.Module):
    """f from the encoder's coordinates v to the latents z of a standard normal prior.

    Before each first coupling of a pair the coordinates are dealt into two heaps, those of even and
    those of odd number, so that each pair splits them by another binary digit of their number;
    before each second one they are turned round, so that what was kept moves. In the end all are
    where they were: z_d is what became of v_d, and an untrained flow is the identity. Everything is
    computed in float32 (or wider): these are densities.

    Args:
        dims: D ≥ 2.
        layers: number of couplings.
        hidden: H.
    """

    def __init__(self, dims: int, *, layers: int, hidden: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(dims, hidden=hidden) for _ in range(layers))
        order = torch.arange(dims, device="cpu")
        for number in range(layers):
            order = _placed(order, number)
        self.order: Tensor
        self.places: Tensor
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("places", order.argsort(), persistent=False)

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Map v (..., D) to z (..., D), with log |det ∂z/∂v|, (...)."""
        with torch.autocast(v.device.type, enabled=False):
            z = wide(v)
            log_det = z.new_zeros(z.shape[:-1])
            for number, coupling in enumerate(self.couplings):
                z, more = coupling(_placed(z, number))
                log_det = log_det + more
            return z[..., self.places], log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (..., D) to the v (..., D) that `forward` maps to it, with log |det ∂z/∂v|."""
        with torch.autocast(z.device.type, enabled=False):
            v = wide(z)[..., self.order]
            log_det = v.new_zeros(v.shape[:-1])
            for number, coupling in reversed(list(enumerate(self.couplings))):
                assert isinstance(coupling, Coupling)
                v, more = coupling.inverse(v)
                v, log_det = _replaced(v, number), log_det + more
            return v, log_det


def _placed(values: Tensor, number: int) -> Tensor:
    """Order coordinates (..., D) for a coupling."""
    return values.flip(-1) if number % 2 else torch.cat([values[..., ::2], values[..., 1::2]], -1)


def _replaced(values: Tensor, number: int) -> Tensor:
    """Undo `_placed`."""
    if number % 2:
        return values.flip(-1)
    evens = (values.shape[-1] + 1) // 2
    found = torch.empty_like(values)
    found[..., ::2], found[..., 1::2] = values[..., :evens], values[..., evens:]
    return found


def wide(values: Tensor) -> Tensor:
    """Leave float32 and float64 as they are, and widen what autocast narrowed."""
    return values if values.dtype == torch.float64 else values.float()


# -- The variational auto-encoder: two networks and the reparametrisation between them (Question 8)
# Legend: B images, D latent dimensions, F features, 784 = 28·28 pixels in rows.

LOGVAR_RANGE = (-30.0, 20.0)
"""log σ² is cut to this, so that exp of it is neither infinite nor 0: the usual road to NaN."""


class VAE(nn.Module):
    """q(z|x) = N(mean, diag exp(logvar)) and p(x|z) = Bernoulli(σ(logits)), z ~ N(0, I).

    With a flow the Gaussian is in other coordinates, v, which z = flow(v) turns into latents with
    a standard normal prior; without one v is z.

    Under autocast the hidden layers compute in bfloat16; mean and logvar are always float32 or
    wider, because a rounded mean is noise in z and a rounded logvar noise in the KL.

    Args:
        encoder: pixels (B, 784) → features (B, F) and the maps that a skip leads on.
        decoder: v (B, D) and such maps (or none) → logits (B, 784).
        latent_dim: D.
        skip: whether `forward` lets the encoder's maps past the latents, to show the harm.
    """

    def __init__(
        self,
        encoder: MlpEncoder | ConvEncoder,
        decoder: MlpDecoder | ConvDecoder,
        *,
        latent_dim: int,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim, self.skip = latent_dim, skip
        self.encoder, self.decoder = encoder, decoder
        self.flow: Flow | None = None
        """A learned prior; see `build_model`."""
        self.posterior = nn.Linear(encoder.features, 2 * latent_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logvar of q(v|x), both (B, D), of pixels (B, 784) in [0, 1].

        logvar is cut to `LOGVAR_RANGE`; outside it no gradient flows.
        """
        features, _ = self.encoder(x)
        return self._posterior(features)

    def decode(self, z: Tensor) -> Tensor:
        """Return logits (B, 784) given latents (B, D); with `skip`, zeros stand in for maps."""
        return self.decode_encoded(z if self.flow is None else self.flow.inverse(z)[0])

    def decode_encoded(self, v: Tensor) -> Tensor:
        """Return logits (B, 784) given v (B, D), where the encoder's Gaussian is."""
        logits: Tensor = self.decoder(v)
        return logits

    def latents(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents z of v, both (..., D), and log |det ∂z/∂v|, (...): v and 0 or a flow.

        Where v ~ q(v|x), z is a draw from q(z|x), and log q(z|x) = log q(v|x) − log |det ∂z/∂v|.
        """
        return (v, v.new_zeros(v.shape[:-1])) if self.flow is None else self.flow(v)

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw v = mean + exp(logvar/2)·eps, decode.

        Args:
            x: pixels (B, 784) in [0, 1].
            eps: standard normal noise (B, D); zeros give the reconstruction from the mean.

        Returns:
            logits (B, 784), mean (B, D), logvar (B, D).
        """
        features, maps = self.encoder(x)
        mean, logvar = self._posterior(features)
        v = mean + torch.exp(0.5 * logvar) * eps
        return self.decoder(v, maps if self.skip else ()), mean, logvar

    def _posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            mean, logvar = self.posterior(features.to(self.posterior.weight.dtype)).chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR_RANGE)


def check_model(config: VaeModelConfig) -> None:
    """Hold the settings of a network against its `arch`.

    Raises:
        ConfigError: a list of sizes has the wrong length, or a setting has no meaning here.
    """
    if config.prior == "flow" and config.latent_dim < 2:
        raise ConfigError(
            "--prior flow has nothing to tell one latent dimension from.",
            hint="Use --latent-dim 2 or more, or --prior normal.",
        )
    usual = VaeModelConfig()
    as_usual = (config.flow_layers, config.flow_hidden) == (usual.flow_layers, usual.flow_hidden)
    if config.prior != "flow" and not as_usual:
        raise ConfigError(
            "--flow-layers and --flow-hidden have no meaning for --prior normal.",
            hint="Add --prior flow, or leave them out (a grid over priors takes the usual sizes).",
        )
    if config.arch == "mlp":
        given = {"--skip": config.skip, f"--norm {config.norm}": config.norm != "batch"}
        given["--dense"] = bool(config.dense)
        for name in (name for name, said in given.items() if said):
            raise ConfigError(
                f"{name} has no meaning for --arch mlp, which has neither feature maps nor "
                "normalisation.",
                hint="Add --arch conv.",
            )
        if not config.hidden:
            raise ConfigError("--hidden is empty.", hint="Name at least one size, such as 350.")
        return
    fewest = 2 if config.dense else 4
    for flag, sizes, counts, where in (
        ("--channels", config.channels, (fewest, 4), "28, 14, 7 and 3"),
        ("--decoder-channels", config.decoder_channels, (3, 3), "4, 7 and 14"),
    ):
        least, most = counts
        if not least <= len(sizes) <= most:
            raise ConfigError(
                f"{flag} has {len(sizes)} sizes and needs "
                f"{most if least == most else f'{least} to {most}'}.",
                hint=f"Name the numbers of feature maps at {where} pixels.",
            )


def build_model(config: VaeModelConfig) -> VAE:
    """Build the networks, on the CPU, with torch's default initialisation.

    The weights come from torch's global generator: call `torch.manual_seed` before.

    Raises:
        ConfigError: see `check_model`.
    """
    check_model(config)
    encoder: MlpEncoder | ConvEncoder
    decoder: MlpDecoder | ConvDecoder
    if config.arch == "mlp":
        encoder = MlpEncoder(hidden=config.hidden)
        decoder = MlpDecoder(latent_dim=config.latent_dim, hidden=config.hidden)
    else:
        encoder = ConvEncoder(channels=config.channels, norm=config.norm, dense=config.dense)
        decoder = ConvDecoder(
            latent_dim=config.latent_dim,
            channels=config.decoder_channels,
            norm=config.norm,
            skipped=[config.channels[i] if config.skip else 0 for i in SKIPPED],
        )
    vae = VAE(encoder, decoder, latent_dim=config.latent_dim, skip=config.skip)
    if config.prior == "flow":  # drawn last: a seed gives the other weights with and without it
        vae.flow = Flow(config.latent_dim, layers=config.flow_layers, hidden=config.flow_hidden)
    return vae
