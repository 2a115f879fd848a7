"""A VAE's networks: what encoder and decoder are, and the ones there are to choose from.

`VAE` joins an `Encoder`, a `Decoder` and maybe a `Flow`; the rest of the program knows only `VAE`.
To add a network, write both halves below, name it in `VaeModelConfig.arch` and in `build_model`.

- fully connected (Question 9): `MlpEncoder`, `MlpDecoder`;
- convolutional (Question 11): `ConvEncoder`, `ConvDecoder`;
- a learned prior (Question 1): `Flow`.

Legend: B images, D latent dimensions, F features, M numbers of an image in a row (784 = 28·28
pixels of MNIST; three of each pixel in colour), C feature maps, H × W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, Self, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.config import LikelihoodName, VaeModelConfig, check_model, stages
from dlcli.vae.likelihood import Likelihood, likelihood_named, wide

GREY_28 = (28, 28)
"""The shape of an image of MNIST; one in colour is (H, W, 3)."""
LOGVAR_RANGE = (-30.0, 20.0)
"""log σ² is cut to this, so that exp of it is neither infinite nor 0: the usual road to NaN."""

Norm = Literal["batch", "frozen", "none"]


class Encoder(nn.Module):
    """What every encoder is: pixels (B, M) in [0, 1] → features (B, F)."""

    features: int
    """F. A linear layer of the VAE turns the features into mean and logvar."""

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (B, M) to features (B, F)."""
        raise NotImplementedError


class Decoder(nn.Module):
    """What every decoder is: latents (B, D) → logits (B, M), no sigmoid at the end."""

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (B, D) to logits (B, M)."""
        raise NotImplementedError


class VAE(nn.Module):
    """q(z|x) = N(mean, diag exp(logvar)), p(x|z) a likelihood with the logits, z ~ N(0, I).

    With a flow the Gaussian is in other coordinates, v, which z = flow(v) turns into latents with
    a standard normal prior; without one v is z.

    Under autocast the hidden layers compute in bfloat16; mean and logvar are always float32 or
    wider, because a rounded mean is noise in z and a rounded logvar noise in the KL.

    Args:
        encoder: pixels → features.
        decoder: v → logits.
        latent_dim: D.
        shape: of an image, (H, W) or (H, W, 3).
        likelihood: p(x|z).
    """

    skip = False
    """Whether the decoder also sees the encoder's feature maps; see `SkipVAE`."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        *,
        latent_dim: int,
        shape: tuple[int, ...],
        likelihood: Likelihood,
    ) -> None:
        super().__init__()
        self.latent_dim, self.shape = latent_dim, shape
        self.encoder, self.decoder = encoder, decoder
        self.flow: Flow | None = None
        """A learned prior; see `build_model`."""
        self.posterior = nn.Linear(encoder.features, 2 * latent_dim)
        self.likelihood = likelihood

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logvar of q(v|x), both (B, D), of pixels (B, M) in [0, 1].

        logvar is cut to `LOGVAR_RANGE`; outside it no gradient flows.
        """
        return self._posterior(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Return logits (B, M) given latents (B, D)."""
        return self.decode_encoded(z if self.flow is None else self.flow.inverse(z)[0])

    def decode_encoded(self, v: Tensor) -> Tensor:
        """Return logits (B, M) given v (B, D), where the encoder's Gaussian is."""
        logits: Tensor = self.decoder(v)
        return logits

    def latents(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents z of v, both (..., D), and log |det ∂z/∂v|, (...): v and 0 or a flow.

        Where v ~ q(v|x), z is a draw from q(z|x), and log q(z|x) = log q(v|x) − log |det ∂z/∂v|.
        """
        return (v, v.new_zeros(v.shape[:-1])) if self.flow is None else self.flow(v)

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw v = mean + exp(logvar/2)·eps (Question 8), decode.

        Args:
            x: pixels (B, M) in [0, 1].
            eps: standard normal noise (B, D); zeros give the reconstruction from the mean.

        Returns:
            logits (B, M), mean (B, D), logvar (B, D).
        """
        mean, logvar = self.encode(x)
        return self.decode_encoded(self._draw(mean, logvar, eps)), mean, logvar

    def _posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            mean, logvar = self.posterior(features.to(self.posterior.weight.dtype)).chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR_RANGE)

    def _draw(self, mean: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
        return mean + torch.exp(0.5 * logvar) * eps


class SkipVAE(VAE):
    """A demonstration of the harm that skip connections do: the image goes past the latents.

    `forward` shows the decoder the encoder's feature maps. `decode`, which has no image, puts zeros
    in their place.
    """

    skip = True
    encoder: ConvEncoder

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, mean and logvar, as in `VAE`."""
        maps = self.encoder.maps(x)
        mean, logvar = self._posterior(self.encoder.read(maps[-1]))
        v = self._draw(mean, logvar, eps)
        return self.decoder(v, [maps[i] for i in SKIPPED]), mean, logvar


def build_model(
    config: VaeModelConfig,
    *,
    shape: tuple[int, ...] = GREY_28,
    likelihood: LikelihoodName = "bernoulli",
) -> VAE:
    """Build the networks, on the CPU, with torch's default initialisation.

    The weights come from torch's global generator: call `torch.manual_seed` before.

    Args:
        config: which networks, and how large.
        shape: of an image, (H, W) or (H, W, 3).
        likelihood: the name of p(x|z).

    Raises:
        ConfigError: see `check_model`.
    """
    check_model(config, shape)
    encoder: Encoder
    decoder: Decoder
    if config.arch == "mlp":
        pixels = math.prod(shape)
        encoder = MlpEncoder(hidden=config.hidden, pixels=pixels)
        decoder = MlpDecoder(latent_dim=config.latent_dim, hidden=config.hidden, pixels=pixels)
    elif config.arch == "conv":
        encoder = ConvEncoder(
            channels=config.channels, norm=config.norm, dense=config.dense, shape=shape
        )
        decoder = ConvDecoder(
            latent_dim=config.latent_dim,
            channels=config.decoder_channels,
            norm=config.norm,
            skipped=[config.channels[i] if config.skip else 0 for i in SKIPPED],
            shape=shape,
        )
    else:
        assert_never(config.arch)
    vae = (SkipVAE if config.skip else VAE)(
        encoder,
        decoder,
        latent_dim=config.latent_dim,
        shape=shape,
        likelihood=likelihood_named(likelihood, channels=channels_of(shape)),
    )
    if config.prior == "flow":  # drawn last: a seed gives the other weights with and without it
        vae.flow = Flow(config.latent_dim, layers=config.flow_layers, hidden=config.flow_hidden)
    return vae


def channels_of(shape: tuple[int, ...]) -> int:
    """Return the channels of an image of a shape: 1 of grey, 3 of colour."""
    return 3 if len(shape) == 3 else 1


class MlpEncoder(Encoder):
    """Fully connected, 784-350 by default: the features are the last hidden layer.

    Args:
        hidden: units of the hidden layers, from the pixels on.
        pixels: M.
    """

    def __init__(self, *, hidden: Sequence[int], pixels: int) -> None:
        super().__init__()
        self.features = hidden[-1]
        self.layers = nn.Sequential(perceptron([pixels, *hidden]), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (B, M) to features (B, F)."""
        features: Tensor = self.layers(x)
        return features


class MlpDecoder(Decoder):
    """Fully connected, 20-350-784 by default.

    Args:
        latent_dim: D.
        hidden: units of the hidden layers, in the *encoder's* order.
        pixels: M.
    """

    def __init__(self, *, latent_dim: int, hidden: Sequence[int], pixels: int) -> None:
        super().__init__()
        self.layers = perceptron([latent_dim, *reversed(hidden), pixels])

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (B, D) to logits (B, M)."""
        logits: Tensor = self.layers(z)
        return logits


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Chain linear layers of the given sizes, with a ReLU between two but not after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


SKIPPED = (0, 1)
"""Encoder stages whose maps `SkipVAE` shows the decoder: of MNIST 14 and 7 pixels wide."""


class ConvEncoder(Encoder):
    """Convolutions and pooling from 28×28 pixels to 14×14, 7×7, 3×3 and 1×1.

    Other images are halved likewise until their shorter side is one pixel, and what is left of the
    longer one is pooled at the end. The features are the maps at 1×1; beyond the assignment, the
    encoder may end at larger maps and read them through fully connected layers. Maps are
    channels-last. Weights keep their usual order in memory: channels-last gains nothing there, and
    fused Adam pairs up the wrong elements where a
    weight and its gradient differ in that order.

    Args:
        channels: feature maps after each convolution, as many as the images can be halved or, with
            `dense`, fewer.
        shape: of an image, (H, W) or (H, W, 3).
        norm: `batch`, `frozen` or `none`.
        dense: units of the fully connected layers that follow, if any.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        shape: tuple[int, ...],
        norm: Norm = "batch",
        dense: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.shape = (*shape, 1) if len(shape) == 2 else shape
        H, W = (side >> len(channels) for side in shape[:2])
        self.pooled = not dense
        flat = channels[-1] * (H * W if dense else 1)
        self.features = dense[-1] if dense else flat
        self.dense = fully_connected([flat, *dense], norm=norm)
        self.stages = nn.ModuleList(
            ConvStage(inputs, outputs, norm=norm)
            for inputs, outputs in pairwise([channels_of(shape), *channels])
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (B, M) to features (B, F)."""
        return self.read(self.maps(x)[-1])

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps after each stage, (B, C, H, W), of pixels (B, M)."""
        maps = x.view(-1, *self.shape).permute(0, 3, 1, 2)  # channels-last by its strides
        found = []
        for stage in self.stages:
            maps = stage(maps)
            found.append(maps)
        return found

    def read(self, maps: Tensor) -> Tensor:
        """Turn the last stage's maps into features (B, F)."""
        if self.pooled and max(maps.shape[2:]) > 1:
            maps = maps.amax((2, 3))
        features: Tensor = self.dense(maps.flatten(1))
        return features


class ConvDecoder(Decoder):
    """Transposed convolutions from 1×1 pixel to 4×4, 7×7, 14×14 and 28×28.

    Other images grow likewise: to 4×4, then by a layer without stride to the 4 to 7 pixels that two
    halvings short of the last leave of the shorter side, then by doubling. The first layer makes as
    much of a longer side as the second then needs: 20×48 grows by 4×9, 5×12 and 10×24.

    Maps are channels-last from 4×4 pixels on, as oneDNN wants them.

    Args:
        latent_dim: D.
        channels: feature maps after each layer but the last.
        shape: of an image, (H, W) or (H, W, 3).
        norm: `batch`, `frozen` or `none`.
        skipped: feature maps of the encoder to expect before the last layer and the one before it,
            for the demonstration.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        channels: Sequence[int],
        shape: tuple[int, ...],
        norm: Norm = "batch",
        skipped: Sequence[int] = (0, 0),
    ) -> None:
        super().__init__()
        bias = norm == "none"
        sizes = [(shape[0] >> n, shape[1] >> n) for n in reversed(range(stages(shape) - 1))]
        (H, tall, up), (W, broad, along) = (_first_layers(side) for side in sizes[0])
        self.skipped = [0, 0, *[0] * (len(sizes) - 3), *reversed(skipped)][-len(sizes) - 1 :]
        """Feature maps of the encoder that each layer is shown beside those of the last one."""
        maps = [latent_dim, *channels, channels_of(shape)]
        forms: list[dict[str, Any]] = [
            {"kernel_size": (H, W)},
            {"kernel_size": (tall, broad), "padding": (up, along)},
            *({**DOUBLING, "output_padding": (H % 2, W % 2)} for H, W in sizes[1:]),
        ]
        self.keys = [str(H), *(str(size[0]) for size in sizes)]
        if self.keys[0] == self.keys[1]:
            self.keys[1] += "b"
        for number, (key, form) in enumerate(zip(self.keys, forms, strict=True)):
            inputs, last = maps[number] + self.skipped[number], number == len(channels)
            layer = nn.ConvTranspose2d(inputs, maps[number + 1], bias=bias or last, **form)
            self.add_module(f"to{key}", layer)
            if not last:
                self.add_module(f"norm{key}", normalisation(maps[number + 1], norm=norm))

    def forward(self, z: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """Map latents (B, D) to logits (B, M).

        Args:
            z: (B, D).
            skips: the encoder's maps after its first and second stage; where there are none, zeros
                stand in.
        """
        maps = z[:, :, None, None]
        last = len(self.keys) - 1
        for number, key in enumerate(self.keys):
            if count := self.skipped[number]:
                B, _, H, W = maps.size()
                extra = skips[last - number] if skips else maps.new_zeros(B, count, H, W)
                maps = torch.cat([maps, extra.to(maps.dtype)], dim=1)
            maps = self.get_submodule(f"to{key}")(maps)  # (B, C, H, W)
            if number == 0:
                maps = maps.contiguous(memory_format=torch.channels_last)
            if number < last:
                maps = F.relu(self.get_submodule(f"norm{key}")(maps))
        return maps.permute(0, 2, 3, 1).flatten(1)


DOUBLING: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}
"""A layer from H×W to 2H×2W, or with output padding to one more."""


def _first_layers(side: int) -> tuple[int, int, int]:
    """Return how a decoder comes from one pixel to 4 or more: first kernel, second one, padding."""
    if side > 7:
        return side - 3, 4, 0
    return 4, *{4: (3, 1), 5: (4, 1), 6: (3, 0), 7: (4, 0)}[side]


class ConvStage(nn.Module):
    """3×3 convolution, normalisation, ReLU, 2×2 max-pooling.

    ReLU is taken after pooling: the two commute, and a quarter of the values is left then.

    Args:
        inputs: feature maps in.
        outputs: feature maps out.
        norm: `none` leaves batch normalisation out and gives the convolution a bias; see
            `normalisation` for `frozen`.
    """

    def __init__(self, inputs: int, outputs: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "none")
        self.norm = normalisation(outputs, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', ⌊H/2⌋, ⌊W/2⌋)."""
        return F.relu(F.max_pool2d(self.norm(self.conv(x)), 2))


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


MOST_LOG_SCALE = 1.0
"""log of the most by which one coupling stretches or shrinks a coordinate."""


class Flow(nn.Module):
    """A learned prior: f from the encoder's coordinates v to latents z of a standard normal prior.

    z = f(v) by affine couplings (Dinh et al. 2017, section 3.2): each keeps half of the coordinates
    and shifts and scales the other half by what a small network says of the first. So v has the
    density N(f(v); 0, I) · |det f′(v)|, which is learned, while every latent z that the rest of the
    program sees has a standard normal prior. The encoder's Gaussian is in v: carried along, q(z|x)
    is no longer Gaussian. A richer prior and a richer posterior are the same flow seen from its two
    ends (Chen et al. 2017, "Variational lossy autoencoder", section 3.2).

    Couplings work in pairs. Before the first of a pair the coordinates are reordered, even numbers
    before odd ones, so that each pair splits them by another binary digit of their number; before
    the second they are reversed, so that what was kept moves. At the end they are put back: z_d is
    what became of v_d, and an untrained flow is the identity. Everything is computed in float32 (or
    wider): these are densities.

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
            order = _reordered(order, number)
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
                z, more = coupling(_reordered(z, number))
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
                v, log_det = _restored(v, number), log_det + more
            return v, log_det


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
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, moved * log_scale.exp() + shift], -1), log_scale.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `forward`; the log |det| is that of `forward`."""
        kept, moved = z[..., : self.kept], z[..., self.kept :]
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], -1), log_scale.sum(-1)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(kept).chunk(2, -1)
        return MOST_LOG_SCALE * torch.tanh(log_scale), shift


def _reordered(values: Tensor, number: int) -> Tensor:
    """Order coordinates (..., D) for a coupling."""
    return values.flip(-1) if number % 2 else torch.cat([values[..., ::2], values[..., 1::2]], -1)


def _restored(values: Tensor, number: int) -> Tensor:
    """Undo `_reordered`."""
    if number % 2:
        return values.flip(-1)
    evens = (values.shape[-1] + 1) // 2
    found = torch.empty_like(values)
    found[..., ::2], found[..., 1::2] = values[..., :evens], values[..., evens:]
    return found
