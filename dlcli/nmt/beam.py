"""The bookkeeping of a search: which hypotheses live, how they grow, what has ended.

Live hypotheses of all sentences stand in one ragged list, sorted by sentence: nothing is done in
Python for each of them, and nothing is computed for what has ended.

Legend: B sentences, N live hypotheses, K extensions of each, V vocabulary, t tokens so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlcli.nmt.fast.products import Scaled, native_search
from dlcli.nmt.tokenizer import BOS, PAD

if TYPE_CHECKING:
    from dlcli.nmt.decoder import State
    from dlcli.nmt.fast.stepping import Logits

NEVER = (PAD, BOS)
"""Tokens that no translation has; the others keep the probabilities that the model gives them."""
BLOCK = 64
"""Tokens among which a row is searched first."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One translation of a sentence."""

    ids: tuple[int, ...]
    """Without `</s>`."""
    log_prob: float
    """Nats, of all tokens, `</s>` among them."""
    score: float
    """`log_prob / length^penalty`: what hypotheses are ranked by."""
    finished: bool
    """Whether it came to `</s>` before it was too long."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """Hypotheses sorted by sentence, those of a sentence from the best to the worst."""

    owner: Tensor
    """(N,) the sentence of each."""
    prefix: Tensor
    """(N, 1 + t) tokens, BOS first."""
    log_prob: Tensor
    """(N,) float32, nats."""
    state: State
    """What the decoder knows after the prefix but for its last token."""

    def where(self, which: Tensor) -> Live:
        """Return the hypotheses where `which` (N,) is True."""
        row = which.nonzero()[:, 0]
        if len(row) == len(which):
            return self
        return Live(
            owner=self.owner[row],
            prefix=self.prefix[row],
            log_prob=self.log_prob[row],
            state=self.state.select(row),
        )


def first(state: State, *, sentences: int, device: torch.device) -> Live:
    """Return one empty hypothesis for each sentence."""
    owner = torch.arange(sentences, device=device)
    return Live(
        owner=owner,
        prefix=torch.full_like(owner, BOS)[:, None],
        log_prob=torch.zeros(sentences, device=device),
        state=state,
    )


def extended(live: Live, *, logits: Logits, state: State, room: Tensor) -> Live:
    """Return the best extensions of each sentence's hypotheses, as many as it has room for.

    A sentence's best k are among the best k of each of its hypotheses.

    Args:
        live: N hypotheses.
        logits: (N, V) after `live.prefix`.
        state: of the N hypotheses after that step.
        room: (B,) places.
    """
    most = min(int(room.max()), logits.shape[1])
    values, tokens = best_tokens(logits, most=most)  # (N, K)
    total = live.log_prob[:, None] + values
    if most == 1:
        row = torch.arange(len(total), device=total.device)
        rank, log_prob = torch.zeros_like(row), total[:, 0]
    else:
        row, rank, log_prob = _best_of_each(total, owner=live.owner, room=room)
    token = tokens[row, rank]
    return Live(
        owner=live.owner[row],
        prefix=torch.cat([live.prefix[row], token[:, None]], dim=1),
        log_prob=log_prob,
        state=state.select(row),
    )


def best_tokens(logits: Logits, *, most: int) -> tuple[Tensor, Tensor]:
    """Return the `most` likeliest tokens of each row, the likeliest first.

    Args:
        logits: (N, V).
        most: K ≤ V.

    Returns:
        Their log-probabilities (N, K) in float32, −inf for what is never chosen, and the tokens
        (N, K).
    """
    few = most + len(NEVER) <= logits.shape[1]
    if isinstance(logits, Scaled):
        if few:
            return logits.best(most, never=NEVER)
        logits = logits.whole()
    compiled = native_search(logits)
    if few and compiled is not None:
        return compiled.best_tokens(logits.contiguous(), most=most, never=NEVER)
    return _best_plainly(logits.float().log_softmax(dim=1), most=most)


def _best_plainly(log_probs: Tensor, *, most: int) -> tuple[Tensor, Tensor]:
    """Do the same in PyTorch.

    The K largest lie in the K blocks of tokens with the largest maxima, and finding these takes one
    pass over the row: three times as fast as sorting it (measured: 320 rows, 8,000 tokens, K = 5).

    Args:
        log_probs: (N, V); what is never chosen is overwritten.
        most: K ≤ V.
    """
    N, V = log_probs.shape
    log_probs[:, NEVER] = -math.inf
    blocks = V // BLOCK
    if most >= blocks:
        return log_probs.topk(most, dim=1)
    whole = log_probs[:, : blocks * BLOCK].view(N, blocks, BLOCK)
    chosen = whole.amax(dim=2).topk(most, dim=1, sorted=False).indices  # (N, K)
    places = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=chosen.device)).flatten(1)
    rest = torch.arange(blocks * BLOCK, V, device=chosen.device).expand(N, -1)
    places = torch.cat([places, rest], dim=1)
    values, index = log_probs.gather(1, places).topk(most, dim=1)
    return values, places.gather(1, index)


def _best_of_each(total: Tensor, *, owner: Tensor, room: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Choose among the extensions of each sentence.

    Args:
        total: (N, K) log-probabilities of K extensions of each hypothesis.
        owner: (N,) ascending.
        room: (B,) how many to choose.

    Returns:
        For each chosen one its row and column in `total` and its log-probability.
    """
    N, K = total.shape
    first = torch.searchsorted(owner, torch.arange(len(room), device=owner.device))  # (B,)
    place = torch.arange(N, device=owner.device) - first[owner]
    table = total.new_full((len(room), int(place.max()) + 1, K), -math.inf)
    table[owner, place] = total
    table = table.flatten(1)
    # Of equals the first, however wide the table is: a sentence does not depend on its batch.
    values, index = table.sort(dim=1, descending=True, stable=True)
    values, index = values[:, : int(room.max())], index[:, : int(room.max())]
    fits = torch.arange(values.shape[1], device=owner.device) < room[:, None]
    sentence, order = (fits & (values > -math.inf)).nonzero(as_tuple=True)
    chosen = index[sentence, order]
    return first[sentence] + chosen // K, chosen % K, values[sentence, order]


class Ended:
    """What has ended so far, sentence by sentence.

    Args:
        limit: (B,) the most tokens a hypothesis may have.
        beam_size: the places of each sentence.
        n_best: how many hypotheses are wanted.
        length_penalty: exponent of the length in the score.
    """

    def __init__(
        self, limit: Tensor, *, beam_size: int, n_best: int, length_penalty: float
    ) -> None:
        self.room = torch.full_like(limit, beam_size)
        """(B,) places that are left."""
        self._reach = limit.float() ** length_penalty
        self._n_best, self._penalty = n_best, length_penalty
        self._finished = torch.full((len(limit), beam_size), -math.inf, device=limit.device)
        """(B, k) scores, in any order."""
        self._hypotheses: list[list[Hypothesis]] = [[] for _ in range(len(limit))]

    def add(self, live: Live, *, finished: bool) -> None:
        """Take in hypotheses, all of the same length, that have come to their end."""
        if not len(live.owner):
            return
        scores = live.log_prob / (live.prefix.shape[1] - 1) ** self._penalty
        tokens = live.prefix[:, 1:-1] if finished else live.prefix[:, 1:]
        columns = (live.owner, tokens, live.log_prob, scores)
        for owner, ids, log_prob, score in zip(*(c.tolist() for c in columns), strict=True):
            made = Hypothesis(ids=tuple(ids), log_prob=log_prob, score=score, finished=finished)
            self._hypotheses[owner].append(made)
        if finished:
            place = torch.arange(len(scores), device=scores.device)
            place -= torch.searchsorted(live.owner, live.owner)
            self._finished[live.owner, self.room[live.owner] - 1 - place] = scores
            self.room -= torch.bincount(live.owner, minlength=len(self.room))

    def settled(self, live: Live) -> Tensor:
        """Return (B,) bool: True where no hypothesis can become one of the n best any more."""
        bar = self._finished.topk(self._n_best, dim=1).values[:, -1]
        reach = torch.full_like(bar, -math.inf)
        reach.scatter_reduce_(0, live.owner, live.log_prob / self._reach[live.owner], "amax")
        return bar >= reach

    def ranked(self) -> list[list[Hypothesis]]:
        """Return the n best of each sentence, finished ones first, by falling score."""
        return [
            sorted(found, key=lambda one: (not one.finished, -one.score))[: self._n_best]
            for found in self._hypotheses
        ]
