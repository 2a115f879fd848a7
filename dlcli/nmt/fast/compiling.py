"""The C++ of this folder, compiled for this processor where the machine has a compiler.

The source is written once, in plain loops and in the vector extensions of GCC and Clang, and is
compiled for AVX-512, AVX2 or NEON by flags alone. (Weighed: a SIMD library such as Highway or xsimd
would have to be shipped and takes as many lines for the one kernel that needs it; Numba pins the
versions of Python and NumPy; `torch.compile` makes no beam search, and needs a compiler too.)

The library is made once, in some seconds, and kept in the user's cache folder, under a name that
says what it was made of and what it holds. Where that is not possible, for whatever reason, the
caller does the same in PyTorch. `DL_SIMD` chooses a form; `DL_SIMD=none` or `DL_COMPILE=0` does
without.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcli.engine.files import cache_folder
from dlcli.errors import UsageFault

FOLDER = Path(__file__).parent
FORMS = {
    "avx512_bf16": "avx512_f avx512_bw avx512_dq avx512_vl avx512_bf16 avx2 fma3",
    "avx512": "avx512_f avx512_bw avx512_dq avx512_vl avx2 fma3",
    "avx2": "avx2 fma3",
    "neon": "neon",
}
"""What a processor has to have for each form, in torch's words; the best form first."""
FUNCTIONS: dict[str, str] = {
    "dl_exp_keys": "n p",
    "dl_attend": "nnnn pn ppppppp n",
    "dl_attend_backward": "nnnn pn ppppp pn pp",
    "dl_gates": "nnn pn p pn pppppp",
    "dl_gates_backward": "nn pppp pn",
    "dl_softmax_grads": "nnf pppp",
    "dl_add_columns": "nn pp",
    "dl_describe": "pp",
    "dl_multiply": "p n pp",
    "dl_search_begin": "pp p",
    "dl_search_step": "p n p",
    "dl_search_sizes": "p n pp",
    "dl_search_result": "p n ppppp",
    "dl_search_end": "p",
}
"""What the functions take after the precision and the number of threads: n a size, p a pointer, f a
float."""
FLAGS = [
    *("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math"),
    *("-fno-signed-zeros", "-fassociative-math", "-freciprocal-math", "-ffp-contract=fast"),
]
"""Sums may be reordered for vectors; NaN and infinity keep their meaning."""
COMPILERS = ("g++", "c++", "clang++")
LIMIT_S = 60.0
"""A compiler that takes longer is not waited for."""


class NoLibrary(Exception):
    """There is no compiled library, for the reason that it states."""


class Library:
    """The compiled functions, with the types of what they take.

    Args:
        path: of the library.
        form: see `FORMS`.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it lacks one of the functions.
    """

    def __init__(self, path: Path, *, form: str) -> None:
        self.form = form
        self._functions = ctypes.CDLL(str(path))
        kinds = {"n": ctypes.c_long, "p": ctypes.c_void_p, "f": ctypes.c_float}
        for name, letters in FUNCTIONS.items():
            function = getattr(self._functions, name)
            function.restype = None
            taken = [kinds[letter] for letter in letters.replace(" ", "")]
            function.argtypes = [ctypes.c_int, ctypes.c_int, *taken]

    def call(self, name: str, precision: int, threads: int, *arguments: Any) -> None:
        """Call a function; of a tensor it gets the address, of None a null pointer."""
        given = (a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
        getattr(self._functions, name)(precision, threads, *given)


@cache
def find_library() -> tuple[Library | None, str]:
    """Return the compiled functions, made now if that was not done before, or why there are none.

    Raises:
        UsageFault: see `choose_form`.
    """
    try:
        form, compiler = choose_form(), find_compiler()
        try:
            return Library(compiled(form, compiler), form=form), ""
        except (OSError, AttributeError):  # not one that this machine can use
            return Library(compiled(form, compiler, anew=True), form=form), ""
    except subprocess.TimeoutExpired:
        return None, f"The C++ compiler took more than {LIMIT_S:.0f} s."
    except subprocess.SubprocessError:
        return None, "The C++ compiler failed."
    except (NoLibrary, OSError, AttributeError) as error:
        return None, str(error).splitlines()[0]


def available_forms() -> list[str]:
    """Return the forms that this processor can run, the best first."""
    # NEON is part of every 64-bit ARM processor, whatever torch says of it.
    has = {"neon"} if platform.machine().lower() in ("arm64", "aarch64") else set()
    has |= {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    return [form for form, needed in FORMS.items() if has.issuperset(needed.split())]


def choose_form() -> str:
    """Return the best form for this processor, or the one that `DL_SIMD` names.

    Raises:
        NoLibrary: there is none, or none is wanted.
        UsageFault: `DL_SIMD` names none that this processor can run.
    """
    if os.environ.get("DL_COMPILE", "1") == "0":
        raise NoLibrary("DL_COMPILE=0 is set.")
    wanted, forms = os.environ.get("DL_SIMD", ""), available_forms()
    if wanted == "none":
        raise NoLibrary("DL_SIMD=none is set.")
    if wanted and wanted not in forms:
        known = "This processor cannot run" if wanted in FORMS else "There is no form"
        raise UsageFault(
            f"{known} '{wanted}', which DL_SIMD asks for.",
            hint=f"Unset DL_SIMD, or set it to one of: {', '.join([*forms, 'none'])}.",
        )
    if not forms:
        raise NoLibrary("This processor has neither AVX2 nor NEON.")
    return wanted or forms[0]


def find_compiler() -> str:
    """Return the path of a C++ compiler.

    Raises:
        NoLibrary: there is none.
    """
    found = next((path for one in COMPILERS if (path := shutil.which(one))), None)
    if found is None:
        raise NoLibrary("There is no C++ compiler.")
    return found


def target_flags(form: str) -> list[str]:
    """Return what makes a compiler write the instructions of a form."""
    if form == "neon":
        return []
    names = [name.replace("fma3", "fma").replace("_", "") for name in FORMS[form].split()]
    return [*(f"-m{name}" for name in names), "-mprefer-vector-width=512"]


def compiled(form: str, compiler: str, *, anew: bool = False) -> Path:
    """Return the library for this source, compiler and form; make it if need be.

    Raises:
        OSError: there is no folder to write to.
        SubprocessError: the compiler failed.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.[ch]*"))]
    flags, place = [*FLAGS, *target_flags(form)], Path(compiler).resolve()
    made_of = "\n".join([*texts, *flags, str(place), str(place.stat().st_mtime_ns)])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    folder = cache_folder() / "compiled"
    for found in folder.glob(f"{form}-{digest}-*.so"):
        if found.stem.endswith(_digest_of(found)) and not anew:
            return found
        found.unlink(missing_ok=True)  # damaged: to load it could end the program
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work) / "made.so"
        _compile(compiler, flags, made)
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        return made.replace(folder / f"{form}-{digest}-{_digest_of(made)}.so")


def _digest_of(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()[:16]


def _compile(compiler: str, flags: list[str], made: Path) -> None:
    """Compile, with OpenMP (for training) where the compiler has it; Apple's has not."""
    sources = [str(path) for path in sorted(FOLDER.glob("*.cpp"))]
    for threads in (["-fopenmp"], []):
        done = subprocess.run(
            [compiler, *flags, *threads, "-o", str(made), *sources],
            timeout=LIMIT_S,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=not threads,
        )
        if done.returncode == 0:
            return
