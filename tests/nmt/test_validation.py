from __future__ import annotations

import math

import pytest
import sacrebleu
import torch

from dlcli.data.sentences import Pairs
from dlcli.nmt.tokenizer import Subwords
from dlcli.nmt.validation import Validation, corpus_scores
from tests.nmt.sentences import pairs
from tests.nmt.tiny_model import tiny_model

SOME = pairs(0, 20)
SUBWORDS = Subwords.learn([*SOME.source, *SOME.target], size=300)


def _validation(some: Pairs = SOME) -> Validation:
    return Validation(some, tokenizer=SUBWORDS, device=torch.device("cpu"), lowercase=False)


def test_scores_are_those_of_sacrebleu() -> None:
    ours, theirs = list(SOME.target), [text.replace("voit", "aime") for text in SOME.target]
    assert corpus_scores(ours, theirs, lowercase=False) == pytest.approx(
        (sacrebleu.corpus_bleu(ours, [theirs]).score, sacrebleu.corpus_chrf(ours, [theirs]).score)
    )
    upper = [text.upper() for text in ours]
    assert corpus_scores(upper, ours, lowercase=True) == pytest.approx((100, 100))


def test_losses_are_means_over_the_tokens_of_all_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(vocabulary=300)
    whole = _validation().measure(model)
    assert whole.sentences == 20
    total = tokens = 0.0
    for source, target in zip(SOME.source, SOME.target, strict=True):
        one = _validation(Pairs(source=[source], target=[target])).measure(model)
        count = len(SUBWORDS.encode(target)) + 1
        total, tokens = total + one.nll_per_token * count, tokens + count
    assert whole.nll_per_token == pytest.approx(total / tokens)
    monkeypatch.setattr("dlcli.nmt.validation.BATCH", 3)
    again = _validation().measure(model)
    assert again.fields() == pytest.approx(whole.fields())


def test_translations_come_in_the_order_of_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(vocabulary=300)
    whole = _validation().translate(model)
    monkeypatch.setattr("dlcli.nmt.validation.BATCH", 3)
    assert _validation().translate(model) == whole
    single = [
        _validation(Pairs(source=[s], target=[t])).translate(model)[0]
        for s, t in zip(SOME.source, SOME.target, strict=True)
    ]
    assert single == whole
    assert len(set(whole)) > 1


def test_measuring_leaves_the_mode_alone_and_has_no_dropout() -> None:
    model = tiny_model(vocabulary=300, dropout_embedding=0.5)
    found = []
    for training in (True, False):
        model.train(training)
        found.append(_validation().measure(model))
        assert model.training is training
    assert found[0] == found[1]
    assert all(math.isfinite(value) for value in found[0].metrics().values())
