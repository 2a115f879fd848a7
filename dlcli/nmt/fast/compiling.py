"""C++ files of this folder, compiled where the machine has a compiler.

Each is compiled once, in two seconds, into the user's cache folder, and loaded through ctypes.
Where that is not possible, for whatever reason, or `DL_COMPILE=0` is set, there is no library, and
the caller does the same in PyTorch.
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
from typing import Any

from torch import Tensor

from dlcli.engine.files import cache_folder

FOLDER = Path(__file__).parent
FUNCTIONS: dict[str, dict[str, str]] = {
    "elementwise": {
        "dl_exp_keys": "n p",
        "dl_attend": "nnnn pn pppppppp n",
        "dl_attend_backward": "nnnn pn ppppp pn pp",
        "dl_gates": "nnn pn p pn pppppp",
        "dl_gates_backward": "nn pppp pn",
        "dl_softmax_grads": "nnf pppp",
        "dl_add_columns": "nn pp",
    },
    "searching": {
        "dl_best_tokens": "nnn ppn pp",
        "dl_best_scaled": "nnn ppppp n pp",
        "dl_quantise": "nn ppp",
        "dl_rescale": "nn ppppp",
    },
    "decoding": {
        "dl_has": "p",
        "dl_multiply": "p n pp",
        "dl_search_begin": "pp p",
        "dl_search_step": "p n p",
        "dl_search_sizes": "p n pp",
        "dl_search_result": "p n ppppp",
        "dl_search_end": "p",
    },
}
"""What the functions of each file take after the precision and the number of threads: n a size, p
a pointer, f a float."""
FLAGS = [
    *("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    *("-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
    *("-fassociative-math", "-freciprocal-math"),
]
"""Sums may be reordered for vectors; NaN and infinity keep their meaning."""
COMPILERS = ("g++", "c++", "clang++")
LIMIT_S = 60.0
"""A compiler that takes longer is not waited for."""

_REASONS: dict[str, str] = {}


class Library:
    """A compiled file, whose functions are told what they take.

    Args:
        path: of the library.
        functions: see `FUNCTIONS`.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it lacks one of the functions.
    """

    def __init__(self, path: Path, *, functions: dict[str, str]) -> None:
        self.functions = ctypes.CDLL(str(path))
        kinds = {"n": ctypes.c_long, "p": ctypes.c_void_p, "f": ctypes.c_float}
        for name, letters in functions.items():
            function = getattr(self.functions, name)
            function.restype = None
            taken = [kinds[letter] for letter in letters.replace(" ", "")]
            function.argtypes = [ctypes.c_int, ctypes.c_int, *taken]

    def call(self, name: str, precision: int, threads: int, *arguments: Any) -> None:
        """Call a function; of a tensor it gets the address, of None a null pointer."""
        given = (a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
        getattr(self.functions, name)(precision, threads, *given)


@cache
def load_library(name: str) -> Library | None:
    """Compile `name`.cpp if that was not done before, and load it; None where it cannot be had."""
    if os.environ.get("DL_COMPILE", "1") == "0":
        _REASONS[name] = "DL_COMPILE=0 is set."
        return None
    try:
        return Library(_compiled(name), functions=FUNCTIONS[name])
    except subprocess.TimeoutExpired:
        _REASONS[name] = f"The C++ compiler took more than {LIMIT_S:.0f} s."
    except subprocess.SubprocessError:
        _REASONS[name] = "The C++ compiler failed."
    except (OSError, AttributeError) as error:
        _REASONS[name] = str(error).splitlines()[0]
    return None


def reason(name: str) -> str:
    """Say in a sentence why `load_library` found none; nothing where it did or was not asked."""
    return _REASONS.get(name, "")


def _compiled(name: str) -> Path:
    """Return the library for this source, compiler and processor; make it if need be.

    Raises:
        OSError: there is no compiler, or no folder to write to.
        SubprocessError: it failed.
    """
    compiler = next((found for one in COMPILERS if (found := shutil.which(one))), None)
    if compiler is None:
        raise OSError("There is no C++ compiler.")
    source = FOLDER / f"{name}.cpp"
    texts = [path.read_text(encoding="utf-8") for path in (source, *sorted(FOLDER.glob("*.h")))]
    made_of = (*texts, *FLAGS, compiler, _processor())
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    folder = cache_folder() / "compiled"
    library = folder / f"{name}-{digest}.so"
    if not library.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = Path(place) / library.name
            subprocess.run(
                [compiler, *FLAGS, "-o", str(made), str(source)],
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
