""""""

from __future__ import annotations

import pytest
import torch

from dlcli.assignment.lab import Lab
from dlcli.assignment.nmt import ATTENTION, FORCING, MEMORY, interval_of_aer, uniform_attention
from dlcli.nmt.networks import AttentionGru
from tests.assignment.answers import number


def test_the_paper_s_example_runs_against_the_diagonal(lab: Lab) -> None:
    answer = ATTENTION.answer(lab)
    assert number(answer, "steps against the diagonal").value == 2
    for kind in ("attention", "the posterior"):
        rate = number(answer, f"alignment error rate of {kind}, 12 sentences")
        assert rate.value is not None
        assert rate.ci95 is not None
        low, high = rate.ci95
        assert low is not None
        assert high is not None
        assert 0 <= low <= rate.value <= high < 20
        assert "task:align|data:grammar-test" in rate.signature
        assert f"links-from:{kind.split()[-1]}|" in rate.signature


def test_the_interval_of_a_rate_is_around_it() -> None:
    known = [frozenset({(0, 0), (1, 1)})] * 100
    half = [frozenset({(0, 0), (1, 0)}) if place % 2 else known[0] for place in range(100)]
    low, high = interval_of_aer(half, known)
    assert low < 0.25 < high
    assert interval_of_aer(known, known) == (0, 0)
    assert interval_of_aer(half, known) == pytest.approx((low, high))


def test_the_stored_losses_give_the_exposure_gap(lab: Lab) -> None:
    answer = FORCING.answer(lab)
    forced, free, gap = (
        number(answer, beginning).value
        for beginning in ("loss after the true", "loss after its own", "exposure gap")
    )
    assert forced is not None
    assert free is not None
    assert gap == pytest.approx(free - forced)
    assert "compare-forcing" in answer.commands[1]


def test_a_decoder_robbed_of_its_attention_is_worse(lab: Lab) -> None:
    answer = MEMORY.answer(lab)
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
    assert isinstance(trained.model, AttentionGru)
    assert trained.model.decoder.attention is not None
    assert trained.model.decoder.attention.v.abs().max() > 0
