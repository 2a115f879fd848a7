"""The compiled form of what a search does with products, where this machine has a C++ compiler.

Legend: N rows, K inputs, M outputs, V vocabulary.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.fast.compiling import load_library

SIGNATURES = {
    "dl_best_tokens": "nnn ppn pp",
    "dl_best_scaled": "nnn ppppp n pp",
    "dl_quantise": "nn ppp",
    "dl_rescale": "nn ppppp",
}
"""Of the functions in `searching.cpp`, see `dlcli.nmt.fast.compiling`."""


class NativeSearch:
    """The functions of `searching.cpp`, on contiguous tensors on the CPU.

    Args:
        library: `searching.cpp`, compiled.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def best_tokens(
        self, logits: Tensor, *, most: int, never: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and tokens, both (N, most), the likeliest of each row first.

        Args:
            logits: (N, V), float32 or bfloat16.
            most: with `never` at most V.
            never: tokens that are not chosen, but have their share of the probability.
        """
        values, tokens, banned = _room(logits, most=most, never=never)
        self.library.dl_best_tokens(
            int(logits.dtype == torch.bfloat16),
            torch.get_num_threads(),
            *(*logits.shape, most),
            *(logits.data_ptr(), banned.data_ptr(), len(never)),
            *(values.data_ptr(), tokens.data_ptr()),
        )
        return values, tokens

    def best_scaled(
        self,
        products: Tensor,
        *,
        rows: Tensor,
        columns: Tensor,
        bias: Tensor,
        most: int,
        never: tuple[int, ...],
    ) -> tuple[Tensor, Tensor]:
        """Do the same with logits products (N, V) int32 · rows (N,) · columns (V,) + bias (V,)."""
        values, tokens, banned = _room(products, most=most, never=never)
        self.library.dl_best_scaled(
            0,
            torch.get_num_threads(),
            *(*products.shape, most),
            *(products.data_ptr(), rows.data_ptr(), columns.data_ptr(), bias.data_ptr()),
            *(banned.data_ptr(), len(never)),
            *(values.data_ptr(), tokens.data_ptr()),
        )
        return values, tokens

    def quantise(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Turn rows (N, K) float32 into int8 (N, K) and what each row's steps are worth (N,)."""
        N, K = rows.shape
        rows = rows.to(torch.float32).contiguous()
        out, scales = torch.empty_like(rows, dtype=torch.int8), rows.new_empty(N)
        self.library.dl_quantise(
            0,
            torch.get_num_threads(),
            *(N, K),
            *(rows.data_ptr(), out.data_ptr(), scales.data_ptr()),
        )
        return out, scales

    def rescale(self, products: Tensor, *, rows: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
        """Return products (N, M) int32 · rows (N,) · columns (M,) + bias (M,), in float32."""
        out = torch.empty_like(products, dtype=torch.float32)
        self.library.dl_rescale(
            0,
            torch.get_num_threads(),
            *products.shape,
            *(products.data_ptr(), rows.data_ptr(), columns.data_ptr(), bias.data_ptr()),
            out.data_ptr(),
        )
        return out


def native_search(like: Tensor) -> NativeSearch | None:
    """Return the compiled functions for tensors like this one, or None."""
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.bfloat16):
        return None
    library = load_library("searching", tuple(SIGNATURES.items()))
    return None if library is None else NativeSearch(library)


def _room(rows: Tensor, *, most: int, never: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return buffers for values and tokens (N, most), and the banned tokens."""
    values = rows.new_empty(len(rows), most, dtype=torch.float32)
    tokens = rows.new_empty(len(rows), most, dtype=torch.int64)
    return values, tokens, rows.new_tensor(never, dtype=torch.int64)


# -- Products of rows with weights that are prepared once: in float32, bfloat16 or 8-bit integers
# In 8 bits, weights have one scale for each output and rows one scale each, found as they come;
# sums are exact, so a row's result does not depend on its neighbours (as in Marian and
# CTranslate2).
#
# Legend: N rows, K inputs, M outputs, V vocabulary.

LARGEST = 127
"""Of the 8-bit integers that are used: as many below zero as above."""


class Product(Protocol):
    """W x + b for each row x."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Map (N, K) to (N, M)."""
        ...


class LowProduct:
    """A product in one floating-point precision.

    Args:
        weight: (M, K).
        bias: (M,) or None.
        low: the precision of inputs and outputs.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, low: torch.dtype) -> None:
        self._weight = weight.to(low)
        self._bias = None if bias is None else bias.to(low)

    def __call__(self, rows: Tensor) -> Tensor:
        """Map (N, K) to (N, M)."""
        return F.linear(rows, self._weight, self._bias)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaled:
    """Rows of products (N, M) int32 that stand for products · rows · columns + bias in float32."""

    operations: NativeSearch
    products: Tensor
    rows: Tensor
    columns: Tensor
    bias: Tensor

    @property
    def shape(self) -> torch.Size:
        """Return (N, M)."""
        return self.products.shape

    def __getitem__(self, rows: slice) -> Scaled:
        """Return some of the rows, which stand together."""
        return Scaled(
            operations=self.operations,
            products=self.products[rows],
            rows=self.rows[rows],
            columns=self.columns,
            bias=self.bias,
        )

    def whole(self) -> Tensor:
        """Return what they stand for (N, M)."""
        return self.operations.rescale(
            self.products, rows=self.rows, columns=self.columns, bias=self.bias
        )

    def best(self, most: int, *, never: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return the best of each row as logits; see `NativeSearch.best_tokens`."""
        return self.operations.best_scaled(
            self.products,
            rows=self.rows,
            columns=self.columns,
            bias=self.bias,
            most=most,
            never=never,
        )


@cache
def int8_is_exact() -> bool:
    """Say whether this processor adds products of 8-bit integers up without cutting them off.

    Without VNNI instructions pairs of them are added in 16 bits, which are too few.
    """
    K = 640
    rows = torch.full((5, K), LARGEST, dtype=torch.int8, device="cpu")
    found = torch._int_mm(rows, rows[:1].expand(33, K).t().contiguous())
    return bool((found == K * LARGEST**2).all())


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Turn weights (M, K) into int8 (M, K) and what each output's steps are worth (M,)."""
    columns = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
    steps = (weight / columns[:, None]).round().clamp(-LARGEST, LARGEST)
    return steps.to(torch.int8), columns


class Int8Product:
    """A product of 8-bit integers, of float32 rows on a CPU.

    Args:
        weight: (M, K).
        bias: (M,) or None.
        operations: the compiled functions.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, operations: NativeSearch) -> None:
        weight = weight.detach().float()
        steps, self._columns = quantise_weight(weight)
        self._weight = steps.t().contiguous()
        self._bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().float()
        self._operations = operations

    def __call__(self, rows: Tensor) -> Tensor:
        """Map (N, K) to (N, M)."""
        return self.scaled(rows).whole()

    def scaled(self, rows: Tensor) -> Scaled:
        """Map (N, K) to (N, M), and leave the scales apart."""
        integers, scales = self._operations.quantise(rows)
        return Scaled(
            operations=self._operations,
            products=torch._int_mm(integers, self._weight),
            rows=scales,
            columns=self._columns,
            bias=self._bias,
        )
