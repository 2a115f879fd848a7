"""The compiled form of the operations between products, where this machine has a C++ compiler.

Where there is none, or the tensors are not float32 ones on a CPU, the plain operations do the same
more slowly.

Legend: B batch, S source length, A attention size, C context, N hidden, M words, V vocabulary.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import torch
from torch import Tensor

from dlcli.nmt.fast.compiling import load_library

SIGNATURES = {
    "dl_bend": "n p",
    "dl_attend": "nnnn pn pppppppp n",
    "dl_attend_backward": "nnnn pn ppppp pn pp",
    "dl_gates": "nnn pn p pn pppppp",
    "dl_gates_backward": "nn pppp pn",
    "dl_softmax_grads": "nnf pppp",
    "dl_add_columns": "nn pp",
}
"""Of the functions in `elementwise.cpp`, see `dlcli.nmt.fast.compiling`."""


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


# -- What lies between the products of the decoder's recurrence: gates and attention, there and back
# Each operation fills buffers that the caller made. This is the form for every device and
# precision; `dlcli.nmt.fast.kernels` has the same four compiled for a CPU.
#
# Legend: B batch, S source length, C context, N hidden, A attention size.


class Elementwise(Protocol):
    """The four operations, and how they want the keys."""

    def bend(self, keys: Tensor) -> Tensor:
        """Prepare keys (B, S, A) once for all steps: what the others take as `keys`."""
        ...

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
    ) -> None:
        """Fill weights (B, S), context (B, C) and its copy for products."""
        ...

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
        """Fill the query's gradient (B, A); add to the keys' (B, S, A), but for the factor v.

        v's own gradient is added up by rows, v_rows (B, A).
        """
        ...

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
        """Fill gates (B, 4N), and the new state (B, N) with its copy for products.

        Args:
            inputs: of the word (B, 3N), all biases but the state's of n included.
            contexts: of the context (B, 3N).
            state: of the state (B, 3N), without biases.
            bias_n: (D, N): of the first, second … of D equal groups of rows.
            hidden: the old state (B, N).
            mask: (B,) bool; where False the state stays as it is.
            gates: r, z, n and the state's part of n.
            out: the new state.
            out_low: its copy; may be the same tensor.
        """
        ...

    def gates_backward(
        self,
        grad: Tensor,
        *,
        gates: Tensor,
        hidden: Tensor,
        mask: Tensor | None,
        gates_grad: Tensor,
    ) -> None:
        """Fill gates_grad (B, 4N), as n, r, z, n·r; turn grad (B, N) into the old state's.

        What flows through the products is not in the latter.
        """
        ...


class PlainElementwise:
    """The operations in PyTorch."""

    def bend(self, keys: Tensor) -> Tensor:
        """Leave the keys as they are."""
        return keys.contiguous()

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
    ) -> None:
        """Attend, see `Elementwise`."""
        scores = (query.to(keys.dtype)[:, None] + keys).tanh_() @ v
        torch.softmax(scores.masked_fill_(~mask, -torch.inf), dim=1, out=weights)
        torch.bmm(weights[:, None], values, out=context[:, None])
        if context_low is not None:
            context_low.copy_(context)

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
        grad = torch.bmm(values, context_grad[:, :, None])[:, :, 0]  # (B, S), of the weights
        scores_grad = weights * (grad - (weights * grad).sum(1, keepdim=True))
        bent = (query.to(keys.dtype)[:, None] + keys).tanh_()
        v_rows.add_(torch.bmm(scores_grad[:, None], bent)[:, 0])
        slope = bent.square_().neg_().add_(1).mul_(scores_grad[:, :, None])
        keys_sum.add_(slope)
        query_grad.copy_(slope.sum(1).mul_(v))

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
        B, N = hidden.size()
        both = inputs.to(hidden.dtype)
        both = both if contexts is None else both + contexts
        torch.sigmoid(both[:, : 2 * N] + state[:, : 2 * N], out=gates[:, : 2 * N])
        reset, update, candidate, recurrent = gates.chunk(4, dim=1)
        biases = bias_n.repeat_interleave(B // len(bias_n), dim=0) if len(bias_n) > 1 else bias_n
        torch.add(state[:, 2 * N :], biases, out=recurrent)
        torch.tanh(torch.addcmul(both[:, 2 * N :], reset, recurrent), out=candidate)
        torch.lerp(candidate, hidden, update, out=out)
        if mask is not None:
            out.copy_(torch.where(mask[:, None], out, hidden))
        if out_low is not out:
            out_low.copy_(out)

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
        reset, update, candidate, recurrent = gates.chunk(4, dim=1)
        to_n, to_r, to_z, to_recurrent = gates_grad.chunk(4, dim=1)
        flowing = grad if mask is None else grad * mask[:, None]
        n = flowing * (1 - update) * (1 - candidate * candidate)
        to_n.copy_(n)
        to_recurrent.copy_(n * reset)
        to_r.copy_(n.mul_(recurrent).mul_(reset).mul_(1 - reset))
        to_z.copy_(flowing * (hidden - candidate) * update * (1 - update))
        grad.mul_(update if mask is None else torch.where(mask[:, None], update, 1.0))


def choose_elementwise(like: Tensor, *, low: torch.dtype) -> Elementwise:
    """Return the compiled operations where there are any for such tensors, else the plain ones.

    Args:
        like: a tensor in full precision.
        low: the precision of products.
    """

    return native(like, low=low) or PlainElementwise()
