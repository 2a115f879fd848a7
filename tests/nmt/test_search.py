"""Search: against an exhaustive one and a plain one, alone and in a batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from dlcli.nmt.model import TranslationModel
from dlcli.nmt.search import (
    BLOCK,
    NEVER,
    Hypothesis,
    best_of_each,
    best_tokens,
    longest,
    search,
)
from dlcli.nmt.tokenizer import BOS, EOS
from tests.nmt.toy import SENTENCES, other_model, padded, tiny_model, tiny_transformer

NETWORKS = ["updated", "previous", "none", "transformer", "self-attention"]


def network(kind: str, *, seed: int = 0) -> TranslationModel:
    if kind == "self-attention":
        return other_model(seed=seed)
    if kind == "transformer":
        return tiny_transformer(seed=seed)
    if kind == "none":
        return tiny_model(seed=seed, attention="none")
    return tiny_model(seed=seed, attention_query=kind)


class Scorer:
    """log p(next | prefix) of one sentence, prefix by prefix."""

    def __init__(self, model: TranslationModel, sentence: list[int]) -> None:
        self._model = model
        self._memory = model.encode(*padded(sentence))
        self._known: dict[tuple[int, ...], tuple[Any, list[float]]] = {}

    @torch.inference_mode()
    def __call__(self, prefix: tuple[int, ...]) -> list[float]:
        return self._after(prefix)[1]

    def _after(self, prefix: tuple[int, ...]) -> tuple[Any, list[float]]:
        if prefix not in self._known:
            model = self._model
            state = self._after(prefix[:-1])[0] if prefix else model.start(self._memory)
            last = torch.tensor([prefix[-1] if prefix else BOS])
            step = model.step(last, state, self._memory)
            self._known[prefix] = step.state, torch.log_softmax(step.logits, dim=1)[0].tolist()
        return self._known[prefix]


def plain_beam(
    model: TranslationModel, sentence: list[int], *, beam: int, limit: int, penalty: float = 1.0
) -> list[Hypothesis]:
    """Search as the module says it does, one hypothesis at a time and without leaving early."""
    log_probs = Scorer(model, sentence)
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[Hypothesis] = []

    def end(total: float, ids: tuple[int, ...], *, finished: bool) -> None:
        length = len(ids) + finished
        score = total / length**penalty
        ended.append(Hypothesis(ids=ids, log_prob=total, score=score, finished=finished))

    for length in range(1, limit + 1):
        grown = [
            (total + value, (*ids, token))
            for total, ids in live
            for token, value in enumerate(log_probs(ids))
            if token not in NEVER
        ]
        room = beam - sum(one.finished for one in ended)
        best = sorted(grown, reverse=True)[:room]
        live = [(total, ids) for total, ids in best if ids[-1] != EOS]
        for total, ids in best:
            if ids[-1] == EOS:
                end(total, ids[:-1], finished=True)
        if length == limit:
            for total, ids in live:
                end(total, ids, finished=False)
    return sorted(ended, key=lambda one: (not one.finished, -one.score))


def same(found: Sequence[Hypothesis], wanted: Sequence[Hypothesis]) -> None:
    assert [one.ids for one in found] == [one.ids for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.finished == other.finished


def test_a_beam_of_all_prefixes_finds_the_best_translation_there_is() -> None:
    model, limit = tiny_model(vocabulary=6), 3
    log_probs = Scorer(model, [4, 5])
    words = [token for token in range(6) if token not in (*NEVER, EOS)]
    everything = {
        ids: sum(log_probs(ids[:i])[token] for i, token in enumerate((*ids, EOS)))
        for length in range(limit)
        for ids in itertools.product(words, repeat=length)
    }
    (found,) = search(model, *padded([4, 5]), beam_size=60, n_best=60, max_length=limit)
    finished = [one for one in found if one.finished]
    assert {one.ids for one in finished} == set(everything)
    for one in finished:
        assert one.log_prob == pytest.approx(everything[one.ids], abs=1e-5)
    scores = [total / (len(ids) + 1) for ids, total in everything.items()]
    assert finished[0].score == pytest.approx(max(scores), abs=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("kind", NETWORKS)
def test_agrees_with_a_plain_search(beam: int, penalty: float, kind: str) -> None:
    """Beside others, and also where only the best is wanted, so that a sentence is left early."""
    for seed, n_best in itertools.product(range(2), {1, beam}):
        model = network(kind, seed=seed)
        found = search(
            model, *padded(*SENTENCES, width=9), beam_size=beam, n_best=n_best, max_length=7,
            length_penalty=penalty,
        )  # fmt: skip
        for sentence, hypotheses in zip(SENTENCES, found, strict=True):
            wanted = plain_beam(model, sentence, beam=beam, limit=7, penalty=penalty)
            same(hypotheses, wanted[:n_best])


def test_each_sentence_has_its_own_limit() -> None:
    model = tiny_model(seed=1)
    limits = torch.tensor([1, 2, 3, 4, 5])
    found = search(model, *padded(*SENTENCES), beam_size=3, n_best=3, max_length=limits)
    for limit, sentence, hypotheses in zip(limits.tolist(), SENTENCES, found, strict=True):
        assert all(len(one.ids) + one.finished <= limit for one in hypotheses)
        same(hypotheses, plain_beam(model, sentence, beam=3, limit=limit))
    assert longest(torch.tensor([4])).tolist() == [18]


def test_a_beam_may_be_larger_than_the_vocabulary() -> None:
    model = tiny_model()
    (found,) = search(model, *padded([4, 5]), beam_size=500, n_best=500, max_length=4)
    same(found[:5], plain_beam(model, [4, 5], beam=500, limit=4)[:5])
    assert len({one.ids for one in found}) == len(found)


@pytest.mark.parametrize("vocabulary", [11, BLOCK, 3 * BLOCK, 40 * BLOCK + 7])
@pytest.mark.parametrize("most", [1, 2, 5, 11])
def test_the_likeliest_tokens_are_found_block_by_block(vocabulary: int, most: int) -> None:
    rows = torch.randn(7, vocabulary, generator=torch.Generator().manual_seed(most))
    rows[0, -1] = rows[1, BLOCK - 1 if vocabulary > BLOCK else 3] = 9.0
    rows[2, -4:] = torch.tensor([6.0, 7.0, 8.0, 9.0])
    wanted = rows.log_softmax(dim=1)
    wanted[:, NEVER] = -math.inf
    expected, places = wanted.topk(most, dim=1)
    values, tokens = best_tokens(rows, most=most)
    torch.testing.assert_close(values, expected)
    seen = expected > -math.inf
    assert torch.equal(tokens[seen], places[seen])


def test_of_equals_the_first_is_kept_beside_any_neighbour() -> None:
    """Totals of bfloat16 logits are often the same; a neighbour with more room changes nothing."""
    alone = torch.tensor([[-1.0, -2.0], [-2.0, -2.0], [-2.0, -3.0]])
    owner = torch.zeros(3, dtype=torch.int64)
    row, column, total = best_of_each(alone, owner=owner, room=torch.tensor([3]))
    neighbours = torch.full((40, 2), -0.5)
    rows, columns, totals = best_of_each(
        torch.cat([alone, neighbours]),
        owner=torch.cat([owner, torch.ones(40, dtype=torch.int64)]),
        room=torch.tensor([3, 60]),
    )
    assert (row.tolist(), column.tolist()) == ([0, 0, 1], [0, 1, 0])
    assert (rows[:3].tolist(), columns[:3].tolist()) == (row.tolist(), column.tolist())
    assert torch.equal(totals[:3], total)
