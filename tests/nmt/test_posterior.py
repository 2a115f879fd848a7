"""The posterior over source positions: Bayes' rule, written out word by word."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dlcli.nmt import model as module
from dlcli.nmt.model import Translation
from dlcli.nmt.tokenizer import BOS, EOS, PAD
from tests.nmt.tiny_model import tiny_model

SOURCE = torch.tensor([[5, 6, 7, 8, EOS], [9, 10, EOS, PAD, PAD]])
TARGET = torch.tensor([[11, 12, 13, EOS], [14, EOS, PAD, PAD]])
TARGET_IN = torch.tensor([[BOS, 11, 12, 13], [BOS, 14, PAD, PAD]])
MASK = SOURCE != PAD
LENGTHS = [(4, 5), (2, 3)]


@pytest.fixture(params=["updated", "previous"])
def model(request: pytest.FixtureRequest) -> Translation:
    return tiny_model(vocabulary=40, attention_query=request.param).double()


def posteriors(model: Translation) -> list[torch.Tensor]:
    with torch.inference_mode():
        return model.posterior(SOURCE, MASK, target_in=TARGET_IN, target_out=TARGET)


def test_it_is_attention_times_what_each_position_makes_likely(model: Translation) -> None:
    found = posteriors(model)
    with torch.inference_mode():
        memory = model.encode(SOURCE, MASK)
        states = model.decoder.unroll(model._embed_target(TARGET_IN), memory)
        for b, (T, S) in enumerate(LENGTHS):
            assert found[b].shape == (T, S)
            for t in range(T):
                joint = []
                for s in range(S):
                    features = model.readout(
                        states.hidden[b, t],
                        embedded=model.target_table.weight[TARGET_IN[b, t]],
                        contexts=memory.values[b, s],
                    )
                    word = model.logits(features).softmax(0)[TARGET[b, t]]
                    joint.append(states.attention[b, t, s] * word)
                wanted = torch.stack(joint) / torch.stack(joint).sum()
                torch.testing.assert_close(found[b][t].double(), wanted, rtol=1e-5, atol=1e-7)


def test_a_few_rows_at_a_time_change_nothing(
    model: Translation, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = posteriors(model)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    for one, other in zip(whole, posteriors(model), strict=True):
        torch.testing.assert_close(one, other)


def test_it_is_attention_where_the_source_says_nothing_of_the_word(model: Translation) -> None:
    linear = model.readout.linear
    with torch.no_grad():
        linear.weight[:, -model.config.encoder_hidden * 2 :] = 0
        forced = model.force(SOURCE, MASK, TARGET_IN).attention
    for found, attention, (T, S) in zip(posteriors(model), forced, LENGTHS, strict=True):
        torch.testing.assert_close(found.double(), attention[:T, :S], rtol=1e-5, atol=1e-7)


def test_a_position_that_is_never_looked_at_stays_at_nothing() -> None:
    model = tiny_model(vocabulary=40)
    readings = []

    def record(reading: module.Reading, **others: object) -> torch.Tensor:
        readings.append(reading)
        return torch.zeros(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dlcli.nmt.model.source_posterior", record)
        posteriors(model)
    with torch.inference_mode():
        attention = readings[0].attention.clone()
        attention[:, 0] = 0.0
        reading = replace(readings[0], attention=attention)
        found = module.source_posterior(
            reading, readout=model.readout, weight=model.output_weight, bias=model.output_bias
        )
    assert not found[:, 0].any()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))
