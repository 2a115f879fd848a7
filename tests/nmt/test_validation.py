"""Validation: losses, scores and translations of its pairs, and the result they stand in."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from dlcli.data.sentences import Pairs
from dlcli.nmt.tokenizer import Subwords
from dlcli.nmt.trained import ValidResult, describe, read_result
from dlcli.nmt.validation import Validation
from tests.nmt.toy import RESULT, VALID, make_config, pairs, tiny_model


@pytest.mark.parametrize("valid", [VALID, None])
def test_a_result_reads_back(valid: ValidResult | None) -> None:
    result = dataclasses.replace(RESULT, valid=valid)
    assert read_result(dataclasses.asdict(result)) == result


@pytest.mark.parametrize("change", [{"valid": {"bleu": 1}}, {"more": 1}])
def test_other_fields_do_not_read(change: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        read_result({**dataclasses.asdict(RESULT), **change})


CHANGES: dict[str, dict[str, object]] = {
    "data": {"direction": "fr-en", "tokenizer": "word", "lowercase": True},
    "model": {"embedding": 11, "encoder_hidden": 11, "encoder_layers": 2, "hidden": 11}
    | {"attention": "none", "attention_query": "previous", "attention_size": 11}
    | {"readout": "tanh", "tie_embeddings": False, "dropout_context": 0.7},
    "objective": {"label_smoothing": 0.2, "teacher_forcing": 0.5, "teacher_forcing_end": 0.5},
    "optim": {"lr": 0.02, "schedule": "linear", "accumulate": 2},
    "loop": {"batch_size": 13, "batch_unit": "tokens", "average": 2},
    "compute": {"seed": 1},
}


def test_what_changes_the_number_is_in_the_signature() -> None:
    plain = describe(make_config())
    for section, changes in CHANGES.items():
        for name, value in changes.items():
            assert describe(make_config(**{section: {name: value}})) != plain, name


def test_a_signature_begins_with_what_was_measured() -> None:
    found = describe(make_config(), data="toy", split="valid")
    assert found.startswith("data:toy|split:valid|direction:en-fr|")
    assert "forcing" not in found


SOME = pairs(0, 20)
SUBWORDS = Subwords.learn([*SOME.source, *SOME.target], size=300)


def _validation(some: Pairs = SOME, *, longest: int = 100) -> Validation:
    return Validation(
        some,
        tokenizer=SUBWORDS,
        device=torch.device("cpu"),
        longest=longest,
        lowercase=False,
    )


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
    assert dataclasses.asdict(again) == pytest.approx(dataclasses.asdict(whole))


def test_measuring_leaves_the_mode_alone_and_has_no_dropout() -> None:
    model = tiny_model(vocabulary=300, dropout_embedding=0.5)
    found = []
    for training in (True, False):
        model.train(training)
        found.append(_validation().measure(model))
        assert model.training is training
    assert found[0] == found[1]
    assert all(math.isfinite(value) for value in found[0].metrics().values())
