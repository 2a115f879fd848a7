"""Readings of a judge made into numbers."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.vae.judge import Judge, stream_ambiguity, summarize_reading
from dlcli.vae.trained import Trained


def test_known_probabilities_give_known_numbers() -> None:
    sure = torch.zeros(10)
    sure[3] = 1
    halves = torch.zeros(10)
    halves[[4, 5]] = torch.tensor([0.6, 0.4])
    probs = torch.stack([sure, sure, halves, torch.full((10,), 0.1)])
    ink = torch.tensor([0.0, 50.0, 50.0, 50.0])
    found = summarize_reading(probs.log(), ink=ink, least_ink=10.0)
    expected = (-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) + math.log(10)) / 4
    assert found.entropy == pytest.approx(expected, rel=1e-6)
    assert found.ambiguous == 0.5
    assert found.ambiguous_std_error == 0.25
    assert found.nearly_empty == 0.25
    assert found.class_shares == (0.25, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0)
    assert found.balance == pytest.approx(1.5 * math.log(2) / math.log(10))


def test_batches_add_up_to_what_was_asked_for(trained: Trained) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)).eval()
    judge = Judge(network=network, data="glyphs:100", accuracy=0.5, least_ink=0.0)
    real = torch.full((7, 784), 255, dtype=torch.uint8)
    found = list(stream_ambiguity(trained.model, judge, real=real, count=1003, seed=0))
    assert [part.generated.images for part in found] == [1000, 1003]
    last = found[-1].generated
    assert sum(last.class_shares) == pytest.approx(1)
    assert last.nearly_empty == 0
    assert found[-1].judge_accuracy == 0.5
    assert found[0].real == found[-1].real
    assert found[0].real.images == 7
    white = judge.read(torch.ones(1, 784)).exp()
    assert found[0].real.class_shares[int(white.argmax())] == 1
    assert found[0].real.ambiguous == float(white.max() < 0.9)
