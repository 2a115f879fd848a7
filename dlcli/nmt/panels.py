"""Weights in panels, as `panels.h` multiplies rows with them.

Legend: M outputs, K inputs, P panels of 64 outputs.
"""

from __future__ import annotations

import ctypes
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.products import quantise_weight

Kind = Literal["fp32", "bf16", "int8"]
"""What is multiplied; sums are float32, or exact for 8-bit integers."""
KINDS: tuple[Kind, ...] = ("fp32", "bf16", "int8")
"""In the order of their numbers."""
SHARED = {"fp32": 1, "bf16": 2, "int8": 4}
"""How many inputs share 32 bits."""
WIDTH = 64
"""Outputs of a panel."""


class PanelsPointers(ctypes.Structure):
    """`Panels` of `panels.h`."""

    _fields_ = [
        ("outputs", ctypes.c_long),
        ("inputs", ctypes.c_long),
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
    ]


class Panels:
    """The weights of one product, arranged once.

    Args:
        weight: (M, K) float32.
        bias: (M,) or None.
        kind: what to multiply.
        beyond: the bias of outputs beyond M, up to the last panel's end.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, kind: Kind, beyond: float = 0.0
    ) -> None:
        weight = weight.detach().float()
        self.shape, self.kind = weight.shape, kind
        M, K = weight.shape
        columns = weight.new_ones(M)
        if kind == "int8":
            values, columns = quantise_weight(weight)
        else:
            values = weight.to(torch.bfloat16 if kind == "bf16" else torch.float32)
        bias = weight.new_zeros(M) if bias is None else bias.detach().float()
        self._bias = F.pad(bias, (0, -M % WIDTH), value=beyond)
        self._scales = _filled(columns)
        # Rows of integers come with 128 added, as they may have no sign.
        self._starts = _filled(-128 * values.sum(1, dtype=torch.int32)) if kind == "int8" else None
        shared = SHARED[kind]
        whole = F.pad(values, (0, -K % shared, 0, -M % WIDTH))
        panels = whole.view(-1, WIDTH, whole.shape[1] // shared, shared)  # (P, 64, K / s, s)
        self._weights = panels.transpose(1, 2).contiguous()

    def pointers(self) -> PanelsPointers:
        """Return where they lie; they stay there as long as this object lives."""
        return PanelsPointers(
            *self.shape,
            self._weights.data_ptr(),
            self._bias.data_ptr(),
            self._scales.data_ptr(),
            0 if self._starts is None else self._starts.data_ptr(),
        )


def _filled(values: Tensor) -> Tensor:
    """Return values (M,) with zeros up to the last panel's end."""
    return F.pad(values, (0, -len(values) % WIDTH))
