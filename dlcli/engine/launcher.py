"""What a launcher such as `torchrun` says of this process in the environment; read without torch.

A variable that is empty, or left over from another program, says nothing.
"""

from __future__ import annotations

import os


def number(name: str, default: int = 0) -> int:
    """Return a variable as a number, or the default where it holds none."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def process_count() -> int:
    """Return how many processes were launched to train together."""
    count = number("WORLD_SIZE", 1)
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    return count if count > 1 and all(os.environ.get(name) for name in needed) else 1


def rank() -> int:
    """Return the number of this process among them; 0 is the one that writes and prints."""
    return number("RANK") if process_count() > 1 else 0


def restarts() -> int:
    """Return how often the launcher has started the processes again."""
    return number("TORCHELASTIC_RESTART_COUNT")
