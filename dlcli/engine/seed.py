"""Randomness by name: one seed reaches everything, and nothing depends on what was drawn before.

Instead of one long stream whose position must be saved, every draw of a training step comes from a
generator seeded by a hash of (seed, purpose, step). A run that is stopped anywhere and resumed
therefore draws exactly what it would have drawn, and processes agree where they use the same names.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive(seed: int, *names: object) -> int:
    """Hash a seed and any names into a new seed in [0, 2**63)."""
    text = "\x1f".join([str(seed), *map(str, names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *names: object, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a fresh generator for one named purpose, such as `generator(0, "noise", step)`."""
    stream = torch.Generator(device=device)
    stream.manual_seed(derive(seed, *names))
    return stream


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (every device) with one number."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def reseed(seed: int, *, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of one device, within a few microseconds.

    `torch.manual_seed` visits every kind of device and, for those not yet in use, formats a stack
    trace each time: 0.3 ms, too much for every update.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """Capture the global random states, as values that `torch.save` keeps without pickled code."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, gauss_next = random.getstate()
    states: dict[str, Any] = {
        "python": [version, torch.tensor(words), gauss_next],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` captured (CUDA states only where the devices match)."""
    version, words, gauss_next = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss_next))
    kind, keys, position, has_gauss, gauss = states["numpy"]
    words32 = keys.numpy().astype(np.uint32)
    np.random.set_state((kind, words32, position, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    cuda = states.get("cuda")
    if cuda is not None and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
