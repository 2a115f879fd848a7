"""What lies between the products of the recurrences and in the softmax, there and back.

Each operation fills buffers that the caller made. `Elementwise` is the form for every device and
precision; `CompiledElementwise` is the same compiled for float32 tensors on a CPU.

Legend: B batch, S source length, A attention size, C context, N hidden, M words, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.fast.compiling import Library, find_library

ROWS = 64
"""Rows whose softmax is computed at once in full precision. Callers fill up to a multiple of it:
oneDNN compiles, and keeps, a product for every new number of rows."""
NO_WORD = -1
"""The target of a row that only fills up: it counts for nothing."""


@dataclass(frozen=True, kw_only=True)
class AttentionMemory:
    """What attention looks at: keys (B, S, A), values (B, S, C), mask (B, S), and v (A,)."""

    keys: Tensor
    """As `Elementwise.prepare_keys` returns them."""
    values: Tensor
    mask: Tensor
    v: Tensor


def choose_elementwise(like: Tensor, *, low: torch.dtype) -> Elementwise:
    """Return the compiled operations where there are any for such tensors, else the plain ones.

    Args:
        like: a tensor in full precision.
        low: the precision of products.
    """
    return native(like, low=low) or Elementwise()


def native(like: Tensor, *, low: torch.dtype) -> CompiledElementwise | None:
    """Return the compiled operations for tensors like this one, or None."""
    fits = like.device.type == "cpu" and like.dtype == torch.float32
    if not fits or low not in (torch.float32, torch.bfloat16):
        return None
    library, _ = find_library()
    return None if library is None else CompiledElementwise(library, low=low)


def product_dtype(like: Tensor) -> torch.dtype:
    """Return the type of products: autocast's where autocast is on, else the tensor's own."""
    device = like.device.type
    if like.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return like.dtype


def fold_biases(bias_ih: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor]:
    """Take together a GRU's biases that no gate scales, so that they are added to W x once.

    Args:
        bias_ih: b (3N,).
        bias_hh: c (3N,).

    Returns:
        b + c but for c_n (3N,), and c_n, which the gate r scales (N,).
    """
    N = len(bias_hh) // 3
    return bias_ih + F.pad(bias_hh[: 2 * N], (0, N)), bias_hh[2 * N :]


class Elementwise:
    """The operations in PyTorch."""

    def prepare_keys(self, keys: Tensor) -> Tensor:
        """Prepare keys (B, S, A) once for all steps, as `AttentionMemory` holds them."""
        return keys.contiguous()

    def attend(
        self,
        query: Tensor,
        source: AttentionMemory,
        *,
        weights: Tensor,
        context: Tensor,
        context_low: Tensor | None,
    ) -> None:
        """Fill weights (B, S), context (B, C) and its copy for products, from queries (B, A)."""
        scores = (query.to(source.keys.dtype)[:, None] + source.keys).tanh_() @ source.v
        torch.softmax(scores.masked_fill_(~source.mask, -torch.inf), dim=1, out=weights)
        torch.bmm(weights[:, None], source.values, out=context[:, None])
        if context_low is not None:
            context_low.copy_(context)

    def attend_backward(
        self,
        query: Tensor,
        source: AttentionMemory,
        *,
        weights: Tensor,
        context_grad: Tensor,
        query_grad: Tensor,
        keys_sum: Tensor,
        v_rows: Tensor,
    ) -> None:
        """Fill the query's gradient (B, A); add to the keys' (B, S, A), but for the factor v.

        v's own gradient is added up by rows, v_rows (B, A).
        """
        grad = torch.bmm(source.values, context_grad[:, :, None])[:, :, 0]  # (B, S), of the weights
        scores_grad = weights * (grad - (weights * grad).sum(1, keepdim=True))
        tanh = (query.to(source.keys.dtype)[:, None] + source.keys).tanh_()
        v_rows.add_(torch.bmm(scores_grad[:, None], tanh)[:, 0])
        slope = tanh.square_().neg_().add_(1).mul_(scores_grad[:, :, None])
        keys_sum.add_(slope)
        query_grad.copy_(slope.sum(1).mul_(source.v))

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
        """Take a step of the GRU.

        Args:
            inputs: of the word (B, 3N), all biases but the state's of n included.
            contexts: of the context (B, 3N).
            state: of the state (B, 3N), without biases.
            bias_n: (D, N): of the first, second … of D equal groups of rows.
            hidden: the old state (B, N).
            mask: (B,) bool; where False the state stays as it is.
            gates: filled with r, z, n and the state's part of n (B, 4N).
            out: filled with the new state (B, N).
            out_low: filled with its copy for products; may be the same tensor.
        """
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
        self, grad: Tensor, *, gates: Tensor, hidden: Tensor, mask: Tensor | None, out: Tensor
    ) -> None:
        """Fill the gates' gradients, out (B, 4N), as n, r, z, n·r; turn grad (B, N) into the old
        state's, but for what flows through the products."""
        reset, update, candidate, recurrent = gates.chunk(4, dim=1)
        to_n, to_r, to_z, to_recurrent = out.chunk(4, dim=1)
        flowing = grad if mask is None else grad * mask[:, None]
        n = flowing * (1 - update) * (1 - candidate * candidate)
        to_n.copy_(n)
        to_recurrent.copy_(n * reset)
        to_r.copy_(n.mul_(recurrent).mul_(reset).mul_(1 - reset))
        to_z.copy_(flowing * (hidden - candidate) * update * (1 - update))
        grad.mul_(update if mask is None else torch.where(mask[:, None], update, 1.0))

    def softmax_grads(self, logits: Tensor, *, targets: Tensor, smoothing: float) -> Tensor:
        """Write the gradient of the loss over the logits (M, V); return loss and nll (2,)."""
        V = logits.size(1)
        full = torch.promote_types(logits.dtype, torch.float32)
        sums = logits.new_zeros(2, dtype=full)
        for start in range(0, len(logits), ROWS):
            part = logits[start : start + ROWS]
            counted = targets[start : start + ROWS, None] != NO_WORD
            wanted = targets[start : start + ROWS, None].clamp(min=0)
            log_p = torch.log_softmax(part, dim=1, dtype=full) * counted
            nll = -log_p.gather(1, wanted).sum()
            uniform = -log_p.sum() / V
            sums += torch.stack([(1 - smoothing) * nll + smoothing * uniform, nll])
            grad = log_p.exp_().sub_(smoothing / V)
            grad.scatter_add_(1, wanted, grad.new_full((1, 1), smoothing - 1).expand(len(part), 1))
            part.copy_(grad.mul_(counted))
        return sums

    def add_columns(self, rows: Tensor, sums: Tensor) -> None:
        """Add the sums of the columns of (M, V) to sums (V,)."""
        sums += rows.sum(0, dtype=sums.dtype)


class CompiledElementwise(Elementwise):
    """The operations compiled, on float32 with float32 or bfloat16.

    Args:
        library: see `elementwise.cpp`.
        low: the precision of products.
    """

    def __init__(self, library: Library, *, low: torch.dtype) -> None:
        self._library, self._low = library, int(low == torch.bfloat16)
        self.form = library.form

    def _call(self, name: str, *arguments: object) -> None:
        self._library.call(name, self._low, torch.get_num_threads(), *arguments)

    def prepare_keys(self, keys: Tensor) -> Tensor:
        """Return e^2k: tanh(q + k) is 1 − 2 / (e^2q · e^2k + 1)."""
        prepared = keys.contiguous().clone()
        self._call("dl_exp_keys", prepared.numel(), prepared)
        return prepared

    def attend(
        self,
        query: Tensor,
        source: AttentionMemory,
        *,
        weights: Tensor,
        context: Tensor,
        context_low: Tensor | None,
    ) -> None:
        """See `Elementwise`."""
        self._call(
            "dl_attend",
            *(*source.keys.size(), source.values.size(2)),
            *(query, query.stride(0), source.keys, source.v, source.values, source.mask),
            *(weights, context, context_low, 0 if context_low is None else context_low.stride(0)),
        )

    def attend_backward(
        self,
        query: Tensor,
        source: AttentionMemory,
        *,
        weights: Tensor,
        context_grad: Tensor,
        query_grad: Tensor,
        keys_sum: Tensor,
        v_rows: Tensor,
    ) -> None:
        """See `Elementwise`."""
        self._call(
            "dl_attend_backward",
            *(*source.keys.size(), source.values.size(2)),
            *(query, query.stride(0), source.keys, source.v, source.values, weights),
            *(context_grad, query_grad, query_grad.stride(0), keys_sum, v_rows),
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
        """See `Elementwise`."""
        self._call(
            "dl_gates",
            *(*hidden.size(), len(bias_n)),
            *(inputs, inputs.stride(0), contexts, state, state.stride(0)),
            *(bias_n, hidden, mask, gates, out, out_low),
        )

    def gates_backward(
        self, grad: Tensor, *, gates: Tensor, hidden: Tensor, mask: Tensor | None, out: Tensor
    ) -> None:
        """See `Elementwise`."""
        sizes = hidden.size()
        self._call("dl_gates_backward", *sizes, grad, gates, hidden, mask, out, out.stride(0))

    def softmax_grads(self, logits: Tensor, *, targets: Tensor, smoothing: float) -> Tensor:
        """See `Elementwise`."""
        sums, sizes = logits.new_empty(2, len(logits), dtype=torch.float32), logits.size()
        self._call("dl_softmax_grads", *sizes, smoothing, logits, targets, sums[0], sums[1])
        return sums.sum(1)

    def add_columns(self, rows: Tensor, sums: Tensor) -> None:
        """See `Elementwise`."""
        self._call("dl_add_columns", *rows.size(), rows, sums)
