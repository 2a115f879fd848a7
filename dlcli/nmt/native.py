"""The compiled form of the operations between products, where this machine has a C++ compiler.

Where there is none, or the tensors are not float32 ones on a CPU, the plain operations do the same
more slowly.

Legend: B batch, S source length, A attention size, C context, N hidden, M words, V vocabulary.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from dlcli.nmt.compiling import load_library

SIGNATURES = {
    "dl_bend": "n p",
    "dl_attend": "nnnn pn pppppppp n",
    "dl_attend_backward": "nnnn pn ppppp pn pp",
    "dl_gates": "nnn pn p pn pppppp",
    "dl_gates_backward": "nn pppp pn",
    "dl_softmax_grads": "nnf pppp",
    "dl_add_columns": "nn pp",
}
"""Of the functions in `elementwise.cpp`, see `dlcli.nmt.compiling`."""


class NativeElementwise:
    """The operations of `Elementwise` and of the softmax, on float32 with float32 or bfloat16.

    Args:
        library: `elementwise.cpp`, compiled.
        low: the precision of products.
    """

    def __init__(self, library: ctypes.CDLL, *, low: torch.dtype) -> None:
        self.library, self.low = library, int(low == torch.bfloat16)

    def bend(self, keys: Tensor) -> Tensor:
        """Return e^2k: tanh(q + k) is 1 − 2 / (e^2q · e^2k + 1)."""
        bent = keys.contiguous().clone()
        self.library.dl_bend(self.low, torch.get_num_threads(), bent.numel(), bent.data_ptr())
        return bent

    def attend(
        self,
        query: Tensor,
        *,
        keys: Tensor,
        v: Tensor,
        values: Tensor,
        mask: Tensor,
        weights: Tensor,
        context: Tensor,
        context_low: Tensor | None,
        owner: Tensor | None = None,
    ) -> None:
        """Attend, see `Elementwise`; `owner` (N,) int64 says whose sentence each query looks at."""
        _, S, A = keys.size()
        self.library.dl_attend(
            self.low,
            torch.get_num_threads(),
            *(len(query), S, A, values.size(2)),
            *(query.data_ptr(), query.stride(0)),
            *(keys.data_ptr(), v.data_ptr(), values.data_ptr(), mask.data_ptr()),
            0 if owner is None else owner.data_ptr(),
            *(weights.data_ptr(), context.data_ptr()),
            0 if context_low is None else context_low.data_ptr(),
            0 if context_low is None else context_low.stride(0),
        )

    def attend_backward(
        self,
        query: Tensor,
        *,
        keys: Tensor,
        v: Tensor,
        values: Tensor,
        weights: Tensor,
        context_grad: Tensor,
        query_grad: Tensor,
        keys_sum: Tensor,
        v_rows: Tensor,
    ) -> None:
        """Go back through `attend`."""
        B, S, A = keys.size()
        self.library.dl_attend_backward(
            self.low,
            torch.get_num_threads(),
            *(B, S, A, values.size(2)),
            *(query.data_ptr(), query.stride(0)),
            *(keys.data_ptr(), v.data_ptr(), values.data_ptr(), weights.data_ptr()),
            context_grad.data_ptr(),
            *(query_grad.data_ptr(), query_grad.stride(0)),
            *(keys_sum.data_ptr(), v_rows.data_ptr()),
        )

    def gates(
        self,
        inputs: Tensor,
        *,
        contexts: Tensor | None,
        state: Tensor,
        bias_n: Tensor,
        hidden: Tensor,
        mask: Tensor | None,
        gates: Tensor,
        out: Tensor,
        out_low: Tensor,
    ) -> None:
        """Take a step of the GRU, see `Elementwise`."""
        self.library.dl_gates(
            self.low,
            torch.get_num_threads(),
            *(*hidden.size(), len(bias_n)),
            *(inputs.data_ptr(), inputs.stride(0)),
            0 if contexts is None else contexts.data_ptr(),
            *(state.data_ptr(), state.stride(0)),
            *(bias_n.data_ptr(), hidden.data_ptr()),
            0 if mask is None else mask.data_ptr(),
            *(gates.data_ptr(), out.data_ptr(), out_low.data_ptr()),
        )

    def gates_backward(
        self,
        grad: Tensor,
        *,
        gates: Tensor,
        hidden: Tensor,
        mask: Tensor | None,
        gates_grad: Tensor,
    ) -> None:
        """Go back through `gates`."""
        self.library.dl_gates_backward(
            self.low,
            torch.get_num_threads(),
            *hidden.size(),
            *(grad.data_ptr(), gates.data_ptr(), hidden.data_ptr()),
            0 if mask is None else mask.data_ptr(),
            *(gates_grad.data_ptr(), gates_grad.stride(0)),
        )

    def softmax_grads(self, logits: Tensor, *, targets: Tensor, smoothing: float) -> Tensor:
        """Write the gradient of the loss over the logits (M, V); return loss and nll (2,)."""
        M, V = logits.size()
        sums = logits.new_empty(2, M, dtype=torch.float32)
        self.library.dl_softmax_grads(
            self.low,
            torch.get_num_threads(),
            *(M, V, ctypes.c_float(smoothing)),
            *(logits.data_ptr(), targets.data_ptr(), sums[0].data_ptr(), sums[1].data_ptr()),
        )
        return sums.sum(1)

    def add_columns(self, rows: Tensor, sums: Tensor) -> None:
        """Add the sums of the columns of (M, V) to sums (V,)."""
        self.library.dl_add_columns(
            self.low, torch.get_num_threads(), *rows.size(), rows.data_ptr(), sums.data_ptr()
        )


def native(like: Tensor, *, low: torch.dtype) -> NativeElementwise | None:
    """Return the compiled operations for tensors like this one, or None.

    Args:
        like: a tensor in full precision.
        low: the precision of products.
    """
    fits = like.device.type == "cpu" and like.dtype == torch.float32
    if not fits or low not in (torch.float32, torch.bfloat16):
        return None
    library = load_library("elementwise", tuple(SIGNATURES.items()))
    return None if library is None else NativeElementwise(library, low=low)
