"""The variational auto-encoder: two networks and the reparametrisation between them (Question 8).

Legend: B images, D latent dimensions, F features, 784 = 28·28 pixels in rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcli.errors import ConfigError
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.conv import SKIPPED, ConvDecoder, ConvEncoder
from dlcli.vae.flow import Flow
from dlcli.vae.mlp import MlpDecoder, MlpEncoder

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
