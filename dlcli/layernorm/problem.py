"""The probe that gradients are measured with: Gaussian input, random targets, a linear readout.

Shapes: B batch, T tokens, D features, V classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dlcli.errors import RunFailed
from dlcli.layernorm.sublayers import Xavier


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One batch and the loss that is put on the stack's output.

    Attributes:
        x: input x_0 (B, T, D), standard normal.
        targets: classes (B, T), uniform.
        readout: matrix (V, D), Gaussian Xavier; it is not trained.
    """

    x: Tensor
    targets: Tensor
    readout: Tensor

    def loss(self, hidden: Tensor) -> Tensor:
        """Return the token-mean cross-entropy in nats, a scalar, computed in float32 or float64.

        Args:
            hidden: the stack's output (B, T, D).
        """
        logits = F.linear(hidden, self.readout)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return F.cross_entropy(logits.flatten(0, 1), self.targets.flatten())


def draw_probe(
    *,
    batch_size: int,
    tokens: int,
    width: int,
    classes: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Probe:
    """Draw a probe; the same generator state gives the same probe on every device."""
    x = torch.randn(batch_size, tokens, width, generator=generator)
    targets = torch.randint(classes, (batch_size, tokens), generator=generator)
    init = Xavier(law="gaussian", generator=generator, dtype=dtype, device=device)
    readout = init.matrix(classes, width).detach()
    return Probe(x=x.to(device, dtype), targets=targets.to(device), readout=readout)


def require_finite(values: Tensor | float, *, what: str, dtype: torch.dtype) -> None:
    """Refuse infinities and NaN, naming the number format that overflowed.

    Raises:
        RunFailed: some value is not finite.
    """
    if not bool(torch.isfinite(torch.as_tensor(values)).all()):
        name = str(dtype).removeprefix("torch.")
        raise RunFailed(
            f"{what} overflowed in {name}.",
            hint="Use --dtype float32 or float64, or a smaller --gamma.",
        )
