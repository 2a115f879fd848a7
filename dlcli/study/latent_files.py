"""Latents from a file, so that one z can be shown to several models."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcli.errors import UsageFault

_FORMS = "An npz with an array `z`, an npy, or text with one latent a line, numbers apart by "
_HINT = _FORMS + "spaces or commas, can be read."


def read_latents(path: Path) -> Tensor:
    """Read latents (N, D) from an npz (its array `z`, or its only one), an npy, or text.

    Text has one latent a line, its numbers apart by spaces or commas; `#` begins a comment.

    Returns:
        float32.

    Raises:
        UsageFault: the file cannot be read, or holds no finite matrix.
    """
    try:
        values = _numbers(path)
    except OSError as error:
        raise UsageFault(
            f"The latents {path} cannot be read: {error.strerror or error}.", hint=_HINT
        ) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UsageFault(f"{path} holds no latents.", hint=_HINT) from None
    if values.ndim != 2 or not values.size:
        raise UsageFault(f"{path} holds an array of shape {values.shape}, not (N, D).", hint=_HINT)
    latents = torch.from_numpy(values.astype(np.float32))
    if not bool(torch.isfinite(latents).all()):
        raise UsageFault(
            f"Not all latents in {path} are finite numbers.", hint="Replace or remove them."
        )
    return latents


def _numbers(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    if path.suffix.lower() not in (".npz", ".npy"):
        return _text(path)
    held = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if isinstance(held, np.ndarray):
        return np.asarray(held, dtype=np.float64)
    with held:
        names = held.files
        name = "z" if "z" in names or len(names) != 1 else names[0]
        return np.asarray(held[name], dtype=np.float64)


def _text(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
    with warnings.catch_warnings(action="ignore"):  # an empty file is refused by its shape
        return np.loadtxt(lines, dtype=np.float64, ndmin=2)
