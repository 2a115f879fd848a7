from __future__ import annotations

from dataclasses import replace

import pytest

from dlcli.engine.config import resolve
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.gradients import _holds, check_lemmas


@pytest.fixture(scope="module")
def lemmas():
    layers = {"sweep": {"widths": [64], "seeds": 8}, "layers": {"depth": 5}}
    return check_lemmas(resolve(LnGradientsConfig, [layers]))


def test_lemma_2_holds(lemmas):
    assert lemmas.lemma2_holds
    assert len(lemmas.rows) == 6
    assert lemmas.rows[0].post is None
    assert lemmas.rows[0].pre == pytest.approx(1, abs=0.02)
    for row in lemmas.rows[1:]:
        assert row.post == pytest.approx(1.5, abs=0.2)
        assert row.pre_low * 0.95 <= row.pre <= row.pre_high


def test_lemma_3_is_almost_an_equality_for_centred_input(lemmas):
    low, high = lemmas.lemma3_ratio
    assert 0.999 < low <= high < 1.2


def test_a_norm_outside_the_lemma_fails(lemmas):
    row = lemmas.rows[2]
    assert not _holds(replace(row, post=2.0), slack=0.1)
    assert not _holds(replace(row, pre=1.0), slack=0.1)
    assert not _holds(replace(row, pre=9.0), slack=0.1)
