"""Running statistics of a stream of log-weights whose memory does not grow with the stream.

Kept per column: the largest weight, the first three moments relative to it, and the largest
weights themselves (the 3√N that the Pareto fit reads).

Shapes: `B` columns (images, or replicates of one image), `K` samples of a chunk, `T` tail length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def tail_length(samples: int) -> int:
    """Return the size of the Pareto tail, min(N/5, 3√N) rounded up (Vehtari et al., PSIS)."""
    return math.ceil(min(samples / 5, 3 * math.sqrt(samples)))


@dataclass(frozen=True, eq=False)
class WeightSummary:
    """What is known of N weights a column; all float64.

    Args:
        samples: N.
        log_max: the largest log-weight, (B,); -inf where every weight is zero.
        sums: Σ (w/max w)^k for k = 1, 2, 3: (3, B).
        tail: the largest log-weights in falling order, (T, B), at least those that `pareto_k`
            reads.
    """

    samples: int
    log_max: Tensor
    sums: Tensor
    tail: Tensor

    @property
    def columns(self) -> int:
        """B."""
        return self.log_max.shape[0]

    @property
    def log_mean(self) -> Tensor:
        """The estimate log p̂ = log (1/N) Σ w: (B,)."""
        return self.log_max + self.sums[0].log() - math.log(self.samples)

    @property
    def ess(self) -> Tensor:
        """The effective sample size (Σw)²/Σw²: (B,), between 1 and N."""
        return (self.sums[0].square() / self.sums[1]).nan_to_num(0.0)

    @property
    def max_share(self) -> Tensor:
        """The largest weight's share of their sum: (B,)."""
        return (1 / self.sums[0]).nan_to_num(1.0, posinf=1.0)

    def column(self, index: int) -> WeightSummary:
        """Return one column alone."""
        cut = slice(index, index + 1)
        return WeightSummary(self.samples, self.log_max[cut], self.sums[:, cut], self.tail[:, cut])

    def pooled(self) -> WeightSummary:
        """Read all columns as one set of B·N weights of one image."""
        top = self.log_max.max()
        ratio = (self.log_max - top).nan_to_num(-math.inf).exp()
        powers = torch.stack([ratio, ratio**2, ratio**3])
        samples = self.samples * self.columns
        everything = self.tail.reshape(-1)
        length = min(tail_length(samples) + 1, everything.shape[0])
        tail = everything.topk(length).values[:, None]
        return WeightSummary(samples, top[None], (self.sums * powers).sum(1, keepdim=True), tail)


class RunningWeights:
    """Accumulates chunks of log-weights; `summary()` may be taken at any moment.

    Args:
        columns: B.
        capacity: the largest N for which a summary will be taken (all columns together where they
            will be pooled); it sets how much of the tail is kept.
    """

    def __init__(self, columns: int, *, capacity: int) -> None:
        self.samples = 0
        self._keep = tail_length(capacity) + 1
        self._log_max = torch.full((columns,), -math.inf, dtype=torch.float64)
        self._sums = torch.zeros(3, columns, dtype=torch.float64)
        self._tail = torch.empty(0, columns, dtype=torch.float64)
        self._floor = -math.inf

    def update(self, log_weight: Tensor) -> None:
        """Take in a chunk of log-weights, (K, B), on any device and in any precision."""
        chunk = log_weight.detach().to("cpu", torch.float64)
        if chunk.shape[0] == 0:
            return
        top = torch.maximum(self._log_max, chunk.max(0).values)
        finite = top.clamp_min(torch.finfo(torch.float64).min)  # −inf − (−inf) would be NaN
        scale = (self._log_max - finite).exp()
        weight = (chunk - finite).exp_()
        square = weight * weight
        sums = torch.stack([weight.sum(0), square.sum(0), (square * weight).sum(0)])
        self._sums = self._sums * torch.stack([scale, scale**2, scale**3]) + sums
        self._log_max = top
        self.samples += chunk.shape[0]
        self._collect(chunk)

    def _collect(self, chunk: Tensor) -> None:
        if chunk.shape[1] == 1:
            chunk = chunk[chunk[:, 0] > self._floor]
        merged = torch.cat([self._tail, chunk])
        # One column is cut back only when twice full, which makes the selection's cost vanish.
        limit = 2 * self._keep if chunk.shape[1] == 1 else self._keep
        if merged.shape[0] > limit:
            merged = merged.topk(self._keep, dim=0, sorted=False).values
            self._floor = float(merged.min()) if merged.shape[1] == 1 else -math.inf
        self._tail = merged

    def summary(self) -> WeightSummary:
        """Return what is known so far.

        Raises:
            ValueError: nothing has been seen.
        """
        if self.samples == 0:
            raise ValueError("no weights have been seen")
        tail = self._tail.sort(dim=0, descending=True).values[: self._keep]
        return WeightSummary(self.samples, self._log_max.clone(), self._sums.clone(), tail)


def summarize(log_weight: Tensor) -> WeightSummary:
    """Summarise log-weights that are all at hand: (N, B)."""
    running = RunningWeights(log_weight.shape[1], capacity=log_weight.shape[0])
    running.update(log_weight)
    return running.summary()


def chunks(checkpoints: Sequence[int], *, most: int) -> Iterator[tuple[int, bool]]:
    """Cut a stream into chunks of at most `most` samples that end at every checkpoint.

    Args:
        checkpoints: rising sample counts; the last one ends the stream.

    Yields:
        The chunk's size, and whether a checkpoint is reached with it.
    """
    done = 0
    for goal in checkpoints:
        while done < goal:
            size = min(most, goal - done)
            done += size
            yield size, done == goal
