"""The tests of the alignment code, the estimators and the VAE notice faults in them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.mutants import CHAPTERS, MUTANTS, ROOT


def test_every_fault_is_one_of_todays_code() -> None:
    assert len({mutant.text for mutant in MUTANTS}) == len(MUTANTS)
    for chapter in CHAPTERS:
        assert sum(mutant.chapter == chapter for mutant in MUTANTS) >= 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_fault_goes_unnoticed() -> None:
    words = [sys.executable, "-m", "tests.mutants"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["survivors"] == []
