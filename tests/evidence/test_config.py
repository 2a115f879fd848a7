"""Settings of `dl mc-estimate` and `dl kl`."""

from __future__ import annotations

import pytest

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError
from dlcli.evidence.config import EvidenceConfig, KlConfig


def test_defaults_are_the_assignments_question():
    config = resolve(EvidenceConfig)
    assert config.dims == (2, 20, 200)
    assert config.estimators == ("prior", "importance", "ais")
    assert max(config.samples) == 1_000_000
    assert config.repeats == 10


@pytest.mark.parametrize(
    "wrong",
    [{"dims": [0]}, {"dims": [1_000_000]}, {"samples": [0]}, {"estimators": ["priors"]},
     {"target_se": 0.0}, {"noise_variance": -1.0}],
)  # fmt: skip
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        resolve(EvidenceConfig, [wrong])


def test_a_width_must_be_positive():
    with pytest.raises(ConfigError, match="sigma_q"):
        resolve(KlConfig, [{"sigma_q": [0.0]}])
