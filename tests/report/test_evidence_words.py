"""What `dl mc-estimate` and `dl kl` say in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlcli.display.tables import ResultTable
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig, KlConfig
from dlcli.evidence.display import evidence_words, kl_words
from dlcli.evidence.estimate import McEstimate, run
from dlcli.evidence.gaussians import run_kl


@pytest.fixture(scope="module")
def found() -> McEstimate:
    config = EvidenceConfig(
        dims=(2,),
        pixels=25,
        samples=(10, 1000),
        repeats=3,
        annealing=AnnealingConfig(chains=32, temperatures=40),
    )
    *_, last = run(config)
    return last


def spoken(found: McEstimate) -> str:
    parts = []
    for item in evidence_words(found):
        parts += item.lines() if isinstance(item, ResultTable) else [str(item)]
    return "\n".join(parts)


def test_one_row_an_estimator_with_its_verdict(found: McEstimate):
    table = next(iter(evidence_words(found)))
    assert isinstance(table, ResultTable)
    assert [row[1] for row in table.rows] == ["prior", "importance", "ais"]
    verdicts = [each.estimate.verdict for each in found.results[0].estimators]
    assert [row[-1] for row in table.rows] == verdicts
    assert table.signatures == found.signature


def test_says_why_and_which_way_it_errs(found: McEstimate):
    text = spoken(found)
    for each in found.results[0].estimators:
        assert each.estimate.reason in text
    assert "low on average" in text
    assert "for a standard error of 0.01" in text
    assert "PARTIAL" not in text


def test_partial_results_say_so(found: McEstimate):
    assert spoken(replace(found, complete=False)).startswith("PARTIAL")


def test_without_a_truth_there_is_no_bias(found: McEstimate):
    bare = replace(found, results=(replace(found.results[0], truth=None, case="test-3"),))
    assert "D = 2, test-3: log p(x) is not known beforehand." in spoken(bare)


def test_kl_of_equal_laws_is_zero_with_zero_error():
    table, gradient, examples = kl_words(run_kl(KlConfig(samples=10)))
    assert isinstance(table, ResultTable)
    assert [row[1:] for row in table.rows] == [[0.0, 0.0, 0.0, 0.0]] * 2
    assert "holds" in str(gradient)
    assert "50 for mu_p = 10" in str(examples)
