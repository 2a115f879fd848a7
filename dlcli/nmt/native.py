"""The compiled form of the operations between products, where this machine has a C++ compiler.

`elementwise.cpp` is compiled once, in two seconds, into the user's cache folder, and loaded through
ctypes. Where that is not possible, for whatever reason, or `DL_COMPILE=0` is set, or the tensors
are not float32 ones on a CPU, the plain operations do the same more slowly.

Legend: B batch, S source length, A attention size, C context, N hidden, M words, V vocabulary.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("elementwise.cpp")
FLAGS = [
    *("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    *("-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
    *("-fassociative-math", "-freciprocal-math"),
]
"""Sums may be reordered for vectors; NaN and infinity keep their meaning."""
COMPILERS = ("g++", "c++", "clang++")
LIMIT_S = 60.0
"""A compiler that takes longer is not waited for."""


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
    ) -> None:
        """Attend, see `Elementwise`."""
        B, S, A = keys.size()
        self.library.dl_attend(
            self.low,
            torch.get_num_threads(),
            *(B, S, A, values.size(2)),
            *(query.data_ptr(), query.stride(0)),
            *(keys.data_ptr(), v.data_ptr(), values.data_ptr(), mask.data_ptr()),
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
    library = load_library()
    return None if library is None else NativeElementwise(library, low=low)


@cache
def load_library() -> ctypes.CDLL | None:
    """Compile where that has not been done before, and load; None where it cannot be done."""
    if os.environ.get("DL_COMPILE", "1") == "0":
        return None
    try:
        return _declare(ctypes.CDLL(str(_compiled())))
    except (OSError, subprocess.SubprocessError, AttributeError):
        return None


def _compiled() -> Path:
    """Return the library for this source, compiler and processor; make it if need be.

    Raises:
        OSError: there is no compiler, or no folder to write to.
        SubprocessError: it failed.
    """
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise OSError("There is no C++ compiler.")
    made_of = (SOURCE.read_text(encoding="utf-8"), *FLAGS, compiler, _processor())
    name = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    folder = Path(platformdirs.user_cache_dir("dl", appauthor=False)) / "compiled"
    library = folder / f"elementwise-{name}.so"
    if not library.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = Path(place) / library.name
            subprocess.run(
                [compiler, *FLAGS, "-o", str(made), str(SOURCE)],
                check=True,
                timeout=LIMIT_S,
                capture_output=True,
                stdin=subprocess.DEVNULL,
            )
            made.replace(library)
    return library


def _processor() -> str:
    """Describe what `-march=native` depends on: a home folder may serve several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise OSError("This system does not describe its processor.") from error
    wanted = ("flags", "Features", "model name", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Say what the functions take, after the precision and the number of threads.

    Raises:
        AttributeError: the library lacks one of them.
    """
    sizes, pointers = ctypes.c_long, ctypes.c_void_p
    signatures = {
        "dl_bend": "n p",
        "dl_attend": "nnnn pn ppppppp n",
        "dl_attend_backward": "nnnn pn ppppp pn pp",
        "dl_gates": "nnn pn p pn pppppp",
        "dl_gates_backward": "nn pppp pn",
        "dl_softmax_grads": "nnf pppp",
        "dl_add_columns": "nn pp",
    }
    kinds = {"n": sizes, "p": pointers, "f": ctypes.c_float}
    for name, letters in signatures.items():
        function = getattr(library, name)
        function.restype = None
        function.argtypes = [
            ctypes.c_int,
            ctypes.c_int,
            *(kinds[letter] for letter in letters.replace(" ", "")),
        ]
    return library
