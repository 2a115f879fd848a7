"""Search: against an exhaustive one and a plain one, alone and in a batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch

from dlcli.errors import UsageFault
from dlcli.nmt.beam import NEVER, Hypothesis
from dlcli.nmt.decoder import State
from dlcli.nmt.model import Translation
from dlcli.nmt.search import LEAST_ROWS, WIDEST, longest, search
from dlcli.nmt.tokenizer import BOS, EOS
from tests.nmt.tiny_model import padded, tiny_model

SENTENCES = [[4, 5, 6], [7], [8, 9, 4, 10, 5], [5, 5], [6, 4, 9, 9]]


class Scorer:
    """log p(next | prefix) of one sentence, prefix by prefix."""

    def __init__(self, model: Translation, sentence: list[int]) -> None:
        self._model = model
        self._memory = model.encode(*padded(sentence))
        self._known: dict[tuple[int, ...], tuple[State, list[float]]] = {}

    @torch.inference_mode()
    def __call__(self, prefix: tuple[int, ...]) -> list[float]:
        return self._after(prefix)[1]

    def _after(self, prefix: tuple[int, ...]) -> tuple[State, list[float]]:
        if prefix not in self._known:
            model = self._model
            state = self._after(prefix[:-1])[0] if prefix else model.start(self._memory)
            last = torch.tensor([prefix[-1] if prefix else BOS])
            step = model.step(last, state, self._memory)
            self._known[prefix] = step.state, torch.log_softmax(step.logits, dim=1)[0].tolist()
        return self._known[prefix]


def plain_beam(
    model: Translation, sentence: list[int], *, beam: int, limit: int, penalty: float
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
    source, mask = padded([4, 5])
    log_probs = Scorer(model, [4, 5])
    words = [token for token in range(6) if token not in (*NEVER, EOS)]
    everything = {
        ids: sum(log_probs(ids[:i])[token] for i, token in enumerate((*ids, EOS)))
        for length in range(limit)
        for ids in itertools.product(words, repeat=length)
    }
    (found,) = search(model, source, mask, beam_size=60, n_best=60, max_length=limit)
    finished = [one for one in found if one.finished]
    assert {one.ids for one in finished} == set(everything)
    for one in finished:
        assert one.log_prob == pytest.approx(everything[one.ids], abs=1e-5)
    scores = [total / (len(ids) + 1) for ids, total in everything.items()]
    assert finished[0].score == pytest.approx(max(scores), abs=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
@pytest.mark.parametrize("query", ["updated", "previous"])
def test_agrees_with_a_plain_search(beam: int, penalty: float, query: str) -> None:
    for seed in range(2):
        model = tiny_model(seed=seed, attention_query=query)
        found = search(
            model, *padded(*SENTENCES), beam_size=beam, n_best=beam, max_length=7,
            length_penalty=penalty,
        )  # fmt: skip
        for sentence, hypotheses in zip(SENTENCES, found, strict=True):
            same(hypotheses, plain_beam(model, sentence, beam=beam, limit=7, penalty=penalty))


@pytest.mark.parametrize("n_best", [1, 2])
def test_leaving_early_changes_nothing(n_best: int) -> None:
    for seed in range(2, 5):
        model = tiny_model(seed=seed)
        for penalty in (0.0, 1.0):
            options = {"beam_size": 4, "max_length": 9, "length_penalty": penalty}
            few = search(model, *padded(*SENTENCES), n_best=n_best, **options)
            for sentence, hypotheses in zip(SENTENCES, few, strict=True):
                wanted = plain_beam(model, sentence, beam=4, limit=9, penalty=penalty)
                same(hypotheses, wanted[:n_best])


def test_a_beam_of_one_is_greedy() -> None:
    for seed in range(3):
        model = tiny_model(seed=seed)
        for sentence, (one,) in zip(
            SENTENCES, search(model, *padded(*SENTENCES), max_length=8), strict=True
        ):
            log_probs = Scorer(model, sentence)
            ids: list[int] = []
            while len(ids) < 8:
                row = log_probs(tuple(ids))
                allowed = [token for token in range(len(row)) if token not in NEVER]
                ids.append(max(allowed, key=row.__getitem__))
                if ids[-1] == EOS:
                    break
            assert one.finished == (ids[-1] == EOS)
            assert list(one.ids) == (ids[:-1] if one.finished else ids)


@pytest.mark.parametrize("attention", ["additive", "none"])
@pytest.mark.parametrize("beam", [1, 3])
def test_a_sentence_does_not_depend_on_its_batch(beam: int, attention: str) -> None:
    model = tiny_model(seed=3, attention=attention)
    together = search(model, *padded(*SENTENCES, width=9), beam_size=beam, n_best=beam)
    for sentence, hypotheses in zip(SENTENCES, together, strict=True):
        (alone,) = search(model, *padded(sentence), beam_size=beam, n_best=beam)
        same(hypotheses, alone)


def test_each_sentence_has_its_own_limit() -> None:
    model = tiny_model(seed=1)
    limits = torch.tensor([1, 2, 3, 4, 5])
    found = search(model, *padded(*SENTENCES), beam_size=3, n_best=3, max_length=limits)
    for limit, sentence, hypotheses in zip(limits.tolist(), SENTENCES, found, strict=True):
        assert all(len(one.ids) + one.finished <= limit for one in hypotheses)
        same(hypotheses, plain_beam(model, sentence, beam=3, limit=limit, penalty=1.0))
    assert longest(torch.tensor([4])).tolist() == [18]


def test_unfinished_hypotheses_come_last_and_say_so() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.output_bias[EOS] = -50.0
    ((one,),) = search(model, *padded([4, 5]), max_length=4)
    assert not one.finished
    assert len(one.ids) == 4


def test_a_beam_may_be_larger_than_the_vocabulary() -> None:
    model = tiny_model()
    (found,) = search(model, *padded([4, 5]), beam_size=500, n_best=500, max_length=4)
    same(found[:5], plain_beam(model, [4, 5], beam=500, limit=4, penalty=1.0)[:5])
    assert len({one.ids for one in found}) == len(found)


def test_a_beam_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageFault, match=f"A beam of {WIDEST + 1:,}") as caught:
        search(tiny_model(), *padded([4, 5]), beam_size=WIDEST + 1)
    assert "--beam 5" in caught.value.hint


def test_what_has_ended_takes_no_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(seed=2)
    rows: list[int] = []
    plain = model.step

    def counted(previous: torch.Tensor, *rest: object, **more: object) -> object:
        rows.append(len(previous))
        return plain(previous, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "step", counted)
    found = search(model, *padded(*SENTENCES), beam_size=4, n_best=4, max_length=9)
    lengths = [len(one.ids) + one.finished for many in found for one in many]
    assert rows[0] == len(SENTENCES)
    for step, count in enumerate(rows[1:], start=2):
        assert count == max(LEAST_ROWS, sum(length >= step for length in lengths))


@pytest.mark.parametrize("query", ["updated", "previous"])
def test_hypotheses_see_what_copies_of_their_sentence_would_see(query: str) -> None:
    model = tiny_model(attention_query=query)
    memory = model.encode(*padded(*SENTENCES))
    owner = torch.tensor([0, 0, 0, 2, 3, 3])
    copies = memory.select(owner)
    state, previous = model.start(copies), torch.tensor([4, 5, 6, 7, 8, 4])
    for _ in range(3):
        shared = model.step(previous, state, memory, owner=owner)
        apart = model.step(previous, state, copies)
        torch.testing.assert_close(shared.logits, apart.logits)
        torch.testing.assert_close(shared.attention, apart.attention)
        torch.testing.assert_close(shared.state.context, apart.state.context)
        state = shared.state


def test_projections_of_the_source_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = tiny_model(), 0
    plain = model.encode

    def counted(*args: torch.Tensor) -> object:
        nonlocal calls
        calls += 1
        return plain(*args)

    monkeypatch.setattr(model, "encode", counted)
    search(model, *padded(*SENTENCES), beam_size=4)
    assert calls == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "A beam of 0 holds no"),
        ({"beam_size": 2, "n_best": 3}, "cannot give the 3 best"),
        ({"n_best": 0}, "cannot give the 0 best"),
        ({"length_penalty": -1.0}, "length penalty of -1"),
        ({"length_penalty": math.nan}, "length penalty of nan"),
    ],
)
def test_settings_without_a_meaning_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageFault, match=message):
        search(tiny_model(), *padded([4]), **options)  # type: ignore[arg-type]
