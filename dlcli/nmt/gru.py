"""The gated recurrent unit, one step and one whole direction, as plain operations.

The gates are those of `torch.nn.GRUCell` (Cho et al. 2014, with the reset gate applied to U h),
which holds the parameters:

    r = σ(W_r x + b_r + U_r h + c_r)      z = σ(W_z x + b_z + U_z h + c_z)
    n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))      h' = (1 − z) ⊙ n + z ⊙ h

This is the reference that the fused recurrences are held against, and what a single step uses.
Under autocast the products are bfloat16; the state stays in the weights' own precision.

Legend: B batch, S length, I inputs, H hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fold_biases(bias_ih: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor]:
    """Take together the biases that no gate scales, so that they are added to W x once.

    Args:
        bias_ih: b (3H,).
        bias_hh: c (3H,).

    Returns:
        b + c but for c_n (3H,), and c_n, which r scales (H,).
    """
    H = len(bias_hh) // 3
    return bias_ih + F.pad(bias_hh[: 2 * H], (0, H)), bias_hh[2 * H :]


def gru_step(cell: nn.GRUCell, projected: Tensor, *, hidden: Tensor) -> Tensor:
    """Take one step.

    Args:
        cell: the parameters.
        projected: W x + b (B, 3H).
        hidden: h (B, H).

    Returns:
        h' (B, H).
    """
    recurrent = F.linear(hidden, cell.weight_hh, cell.bias_hh).to(hidden.dtype)
    x_r, x_z, x_n = projected.to(hidden.dtype).chunk(3, dim=1)
    h_r, h_z, h_n = recurrent.chunk(3, dim=1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    candidate = torch.tanh(x_n + reset * h_n)
    return candidate + update * (hidden - candidate)


def run_gru(
    cell: nn.GRUCell, inputs: Tensor, *, mask: Tensor, backward: bool = False
) -> tuple[Tensor, Tensor]:
    """Read sequences from one end to the other; padding leaves the state as it is.

    The backward direction therefore begins at a sentence's real end, without any packing.

    Args:
        cell: the parameters.
        inputs: (B, S, I).
        mask: (B, S) bool, True where there is a token.
        backward: whether to read from the end.

    Returns:
        The states (B, S, H), zero on padding, and the state after the last token read (B, H).
    """
    B, S, _ = inputs.size()
    projected = F.linear(inputs, cell.weight_ih, cell.bias_ih)  # (B, S, 3H)
    hidden = cell.weight_hh.new_zeros(B, cell.hidden_size)
    states: list[Tensor] = [hidden] * S
    for t in reversed(range(S)) if backward else range(S):
        step = gru_step(cell, projected[:, t], hidden=hidden)
        hidden = torch.where(mask[:, t, None], step, hidden)
        states[t] = hidden
    return torch.stack(states, dim=1) * mask[:, :, None], hidden


# -- Which precision products take inside functions that have a gradient of their own


def product_dtype(like: Tensor) -> torch.dtype:
    """Return autocast's type where autocast is on, else the tensor's own."""
    device = like.device.type
    if like.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return like.dtype
