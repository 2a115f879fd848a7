""""""

from __future__ import annotations

import subprocess
import sys

import pytest

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError
from dlcli.evidence.config import EvidenceConfig, KlConfig, validate


def test_defaults_are_the_seeds_question():
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


def test_empty_lists_are_named():
    with pytest.raises(ConfigError, match="--estimators is empty"):
        validate(EvidenceConfig(estimators=()))


def test_reading_it_needs_no_torch():
    code = "import sys, dlcli.evidence.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
