"""What to do when memory runs out: find out which batch would fit, and say so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from dlcli.errors import RunFailed
from dlcli.nmt.batching import cut
from dlcli.nmt.learner import NmtLearner

SAID = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
"""How torch and its allocators say that memory has run out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory has run out."""
    said = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in said for words in SAID))


@contextlib.contextmanager
def explain_memory(learner: NmtLearner) -> Iterator[None]:
    """Turn an exhausted memory into a sentence that says which --batch-size would fit.

    Raises:
        RunFailed: memory ran out.
    """
    failed = False
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    if failed:  # outside of the handler, whose traceback holds the tensors that filled the memory
        loop = learner.config.loop
        fits = fitting_batch_size(learner)
        raise RunFailed(
            f"A batch of {loop.batch_size} {loop.batch_unit} does not fit into the memory of "
            f"{learner.train.device}.",
            hint=f"--batch-size {fits} was tried and fits; add --set "
            f"optim.accumulate={-(-loop.batch_size // fits)} for the same updates."
            if fits
            else "Not even one sentence fits: lower --max-length or the sizes of the network.",
        )


def fitting_batch_size(learner: NmtLearner) -> int | None:
    """Return the largest of half, a quarter … of the batch size that can be trained on."""
    loop = learner.config.loop
    longer = np.sort(learner.train.longer)
    order = np.argsort(learner.train.longer, kind="stable")
    size = loop.batch_size // 2
    while size:
        plan = cut(longer, size=size, unit=loop.batch_unit)
        first, last = max(plan, key=lambda span: (span[1] - span[0]) * int(longer[span[1] - 1]))
        if _can_train(learner, order[first:last]):
            return size
        if last - first == 1:
            return None
        size //= 2
    return None


def _can_train(learner: NmtLearner, chosen: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    network = learner.network.train()
    try:
        for parameter in network.parameters():
            parameter.grad = None
        found = network(learner.train.batch(chosen))
        found["loss"].backward()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        for parameter in network.parameters():
            parameter.grad = None
    return True
