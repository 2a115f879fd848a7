from __future__ import annotations

import dataclasses

import pytest

from dlcli.nmt.validation import NmtResult, ValidResult, describe, read_result
from tests.nmt.runs import make_config

VALID = ValidResult(nll_per_token=1.5, free_nll_per_token=2.5, bleu=30.0, chrf=50.0, sentences=12)
RESULT = NmtResult(
    run="/runs/x",
    data="toy",
    direction="en-fr",
    vocabulary=330,
    parameters=1000,
    epochs=2,
    updates=8,
    tokens_per_s=1000.0,
    train_s=1.0,
    checkpoint="best",
    valid=VALID,
    reason="done",
    signature="data:toy|seed:0|version:x",
)


@pytest.mark.parametrize("valid", [VALID, None])
def test_a_result_reads_back(valid: ValidResult | None) -> None:
    result = dataclasses.replace(RESULT, valid=valid)
    assert read_result(dataclasses.asdict(result)) == result


@pytest.mark.parametrize("change", [{"valid": {}}, {"more": 1}])
def test_other_fields_do_not_read(change: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        read_result({**dataclasses.asdict(RESULT), "valid": {"bleu": 1}, **change} | {"more": 1})


@pytest.mark.parametrize(
    "settings",
    [
        {"data": {"direction": "fr-en"}},
        {"data": {"tokenizer": "word"}},
        {"data": {"lowercase": True}},
        {"model": {"embedding": 11}},
        {"model": {"encoder_hidden": 11}},
        {"model": {"encoder_layers": 2}},
        {"model": {"hidden": 11}},
        {"model": {"attention": "none"}},
        {"model": {"attention_query": "previous"}},
        {"model": {"attention_size": 11}},
        {"model": {"readout": "tanh"}},
        {"model": {"tie_embeddings": False}},
        {"model": {"dropout_context": 0.7}},
        {"objective": {"label_smoothing": 0.2}},
        {"objective": {"teacher_forcing": 0.5}},
        {"objective": {"teacher_forcing_end": 0.5}},
        {"optim": {"lr": 0.02}},
        {"optim": {"schedule": "linear"}},
        {"optim": {"accumulate": 2}},
        {"loop": {"batch_size": 13}},
        {"loop": {"batch_unit": "tokens"}},
        {"loop": {"average": 2}},
        {"compute": {"seed": 1}},
    ],
    ids=str,
)
def test_what_changes_the_number_is_in_the_signature(settings: dict[str, object]) -> None:
    assert describe(make_config(**settings)) != describe(make_config())


def test_a_signature_begins_with_what_was_measured() -> None:
    found = describe(make_config(), data="toy", split="valid")
    assert found.startswith("data:toy|split:valid|direction:en-fr|")
    assert "forcing" not in found
