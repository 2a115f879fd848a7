from __future__ import annotations

import math

import pytest
import torch

from dlcli.errors import RunFailed
from dlcli.layernorm.stack import draw_probe, require_finite


def probe(dtype=torch.float32, seed=0):
    return draw_probe(
        batch_size=3,
        tokens=5,
        width=7,
        classes=11,
        generator=torch.Generator().manual_seed(seed),
        dtype=dtype,
    )


def test_shapes_and_ranges():
    p = probe()
    assert p.x.shape == (3, 5, 7)
    assert p.readout.shape == (11, 7)
    assert not p.readout.requires_grad
    assert p.targets.shape == (3, 5)
    assert 0 <= p.targets.min() <= p.targets.max() < 11


def test_loss_is_the_mean_over_tokens():
    p = probe(torch.float64)
    assert p.loss(torch.zeros(3, 5, 7, dtype=torch.float64)).item() == pytest.approx(math.log(11))
    logits = p.x @ p.readout.T
    by_hand = -torch.log_softmax(logits, -1).gather(-1, p.targets[..., None]).mean()
    torch.testing.assert_close(p.loss(p.x), by_hand)


def test_half_precision_computes_its_loss_in_float32():
    assert probe(torch.float16).loss(probe(torch.float16).x).dtype == torch.float32


def test_the_generator_decides():
    assert torch.equal(probe().x, probe().x)
    assert not torch.equal(probe().x, probe(seed=1).x)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_overflow_names_the_number_format(bad):
    with pytest.raises(RunFailed, match="overflowed in float16"):
        require_finite(bad, what="It", dtype=torch.float16)
    require_finite(1.0, what="It", dtype=torch.float16)
