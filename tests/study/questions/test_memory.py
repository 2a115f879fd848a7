from __future__ import annotations

import torch

from dlcli.assignment.lab import Lab
from dlcli.assignment.nmt import MEMORY as QUESTION
from dlcli.assignment.nmt import uniform_attention
from tests.study.questions.answers import number


def test_a_decoder_robbed_of_its_attention_is_worse(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    with_it = number(answer, "BLEU with attention").value
    without = number(answer, "BLEU with attention made uniform")
    assert with_it is not None
    assert without.value is not None
    assert with_it > without.value + 10
    assert "attention-weights:uniform" in without.signature
    assert "does not train a second translator" in answer.notes[0]


def test_uniform_attention_looks_at_all_words_alike(lab: Lab) -> None:
    trained, _ = lab.translator
    robbed = uniform_attention(trained)
    source = torch.tensor([[5, 6, 7, 8]])
    found = robbed.model.force(source, source > 0, torch.tensor([[1, 9, 10]])).attention
    assert torch.allclose(found, torch.full_like(found, 0.25), atol=1e-3)
    assert trained.model.decoder.attention is not None
    assert trained.model.decoder.attention.v.abs().max() > 0
