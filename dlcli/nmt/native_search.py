"""The compiled form of what a search does with products, where this machine has a C++ compiler.

Legend: N rows, K inputs, M outputs, V vocabulary.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from dlcli.nmt.compiling import load_library

SIGNATURES = {
    "dl_best_tokens": "nnn ppn pp",
    "dl_best_scaled": "nnn ppppp n pp",
    "dl_quantise": "nn ppp",
    "dl_rescale": "nn ppppp",
}
"""Of the functions in `searching.cpp`, see `dlcli.nmt.compiling`."""


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
