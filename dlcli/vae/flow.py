"""A learned prior: a normalising flow between the encoder's coordinates and a standard normal.

z = f(v) by affine couplings (Dinh et al. 2017, "Density estimation using Real NVP", section 3.2):
each keeps half of the coordinates, and shifts and scales the other half by what a small network
says of the first. So v has the density N(f(v); 0, I) · |det f′(v)|, which is learned, while every
latent z that the rest of the program sees has a standard normal prior. The encoder's Gaussian is in
v: carried along, q(z|x) is no longer Gaussian. A prior and a posterior made richer by one flow are
the same thing seen from its two ends (Chen et al. 2017, "Variational lossy autoencoder", section
3.2).

Legend: D latent dimensions, H units of a coupling's network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
