"""The compiled beam search of a batch, where this machine has a C++ compiler and AVX-512.

Legend: B sentences, S source length, N hidden, C context, A attention size, V vocabulary.
"""

from __future__ import annotations

import ctypes
from types import TracebackType

import torch
from torch import Tensor

from dlcli.nmt.beam import Hypothesis
from dlcli.nmt.compiling import load_library, reason
from dlcli.nmt.panels import KINDS, Kind, Panels, PanelsPointers

SIGNATURES = {
    "dl_has": "p",
    "dl_multiply": "p n pp",
    "dl_search_begin": "pp p",
    "dl_search_step": "p n p",
    "dl_search_sizes": "p n pp",
    "dl_search_result": "p n ppppp",
    "dl_search_end": "p",
}
"""Of the functions in `decoding.cpp`, see `dlcli.nmt.compiling`."""
SIZES = ("V", "E", "N", "C", "A", "R", "maxout", "updated")
PRODUCTS = ("word", "state", "context", "query", "seen", "output")


class NativeNetwork(ctypes.Structure):
    """`Network` of `decoding.cpp`: a decoder, as it stays from batch to batch."""

    _fields_ = [
        *((name, ctypes.c_long) for name in SIZES),
        *((name, PanelsPointers) for name in PRODUCTS),
        ("bias_n", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("embeddings", ctypes.c_void_p),
        ("table", ctypes.c_void_p),
        ("known", ctypes.c_void_p),
        ("never", ctypes.c_void_p),
        ("nevers", ctypes.c_long),
    ]


class NativeBatch(ctypes.Structure):
    """`Batch` of `decoding.cpp`: what is to be translated, and how."""

    _fields_ = [
        ("B", ctypes.c_long),
        ("S", ctypes.c_long),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("hidden", ctypes.c_void_p),
        ("contexts", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("limit", ctypes.c_void_p),
        ("beam_size", ctypes.c_long),
        ("n_best", ctypes.c_long),
        ("first", ctypes.c_long),
        ("last", ctypes.c_long),
        ("length_penalty", ctypes.c_float),
    ]


class NativeDecoding:
    """The functions of `decoding.cpp`.

    Args:
        library: it, compiled.
        kind: what products are of.
    """

    def __init__(self, library: ctypes.CDLL, *, kind: Kind) -> None:
        self.library, self.kind = library, KINDS.index(kind)

    def multiply(self, panels: Panels, rows: Tensor) -> Tensor:
        """Map rows (N, K) float32 to (N, M)."""
        out, rows = rows.new_empty(len(rows), panels.shape[0]), rows.contiguous()
        self.library.dl_multiply(
            self.kind,
            1,
            ctypes.byref(panels.pointers()),
            *(len(rows), rows.data_ptr(), out.data_ptr()),
        )
        return out

    def begin(self, network: NativeNetwork, batch: NativeBatch) -> Walk:
        """Begin to search; what both point to has to stay where it is."""
        return Walk(self, network=network, batch=batch)


class Walk:
    """A search under way; a context manager, which frees its memory.

    Args:
        decoding: the functions.
        network: the decoder.
        batch: of B sentences.
    """

    def __init__(
        self, decoding: NativeDecoding, *, network: NativeNetwork, batch: NativeBatch
    ) -> None:
        self._library, self._sentences = decoding.library, int(batch.B)
        self._search = ctypes.c_void_p()
        self._library.dl_search_begin(
            decoding.kind, 1, *map(ctypes.byref, (network, batch, self._search))
        )

    def __enter__(self) -> Walk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._library.dl_search_end(0, 1, self._search)

    def step(self, steps: int = 1) -> int:
        """Take steps; return how many hypotheses live on."""
        live = ctypes.c_int64()
        self._library.dl_search_step(0, 1, self._search, steps, ctypes.byref(live))
        return live.value

    def ranked(self) -> list[list[Hypothesis]]:
        """Return the n best of each sentence, finished ones first, by falling score."""
        B = self._sentences
        counts, total = torch.empty(B, dtype=torch.int64), torch.empty(1, dtype=torch.int64)
        self._library.dl_search_sizes(0, 1, self._search, B, counts.data_ptr(), total.data_ptr())
        M = int(counts.sum())
        log_probs, scores = torch.empty(2, M).unbind()
        finished, lengths = torch.empty(M, dtype=torch.bool), torch.empty(M, dtype=torch.int64)
        tokens = torch.empty(int(total), dtype=torch.int64)
        columns = (log_probs, scores, finished, lengths)
        self._library.dl_search_result(
            0, 1, self._search, B, *(column.data_ptr() for column in (*columns, tokens))
        )
        ids = iter(tokens.tolist())
        made = (
            Hypothesis(
                ids=tuple(next(ids) for _ in range(length)),
                log_prob=log_prob,
                score=score,
                finished=ended,
            )
            for log_prob, score, ended, length in zip(*(c.tolist() for c in columns), strict=True)
        )
        return [[next(made) for _ in range(count)] for count in counts.tolist()]


def compiled_search() -> tuple[dict[str, bool], str]:
    """Say for which products the search is compiled on this machine, and else why not."""
    one = torch.zeros(1)
    found: dict[str, bool] = {}
    for kind in KINDS:
        found[kind] = native_decoding(one, kind=kind) is not None
    if any(found.values()):
        return found, ""
    return found, reason("decoding") or "This processor lacks AVX-512."


def native_decoding(like: Tensor, *, kind: Kind) -> NativeDecoding | None:
    """Return the compiled functions for tensors like this one, or None.

    Args:
        like: a weight.
        kind: what products are to be of.
    """
    if like.device.type != "cpu" or like.dtype != torch.float32:
        return None
    library = load_library("decoding", tuple(SIGNATURES.items()))
    if library is None:
        return None
    found = ctypes.c_int64()
    library.dl_has(KINDS.index(kind), 1, ctypes.byref(found))
    return NativeDecoding(library, kind=kind) if found.value else None
