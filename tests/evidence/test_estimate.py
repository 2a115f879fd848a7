""""""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dlcli.errors import ConfigError, RunFailed
from dlcli.evidence.cases import Case
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig
from dlcli.evidence.estimate import run, sign, to_dict
from dlcli.evidence.models import BernoulliDecoder

SMALL = EvidenceConfig(
    dims=(2, 4),
    pixels=25,
    samples=(10, 1000),
    repeats=3,
    annealing=AnnealingConfig(chains=32, temperatures=40),
)


def test_results_grow_and_the_last_is_complete():
    steps = list(run(SMALL))
    assert [len(step.results) for step in steps] == [1, 1, 1, 2, 2, 2, 2]
    assert [step.complete for step in steps] == [False] * 6 + [True]
    assert [each.estimate.name for each in steps[-1].results[1].estimators] == [
        "prior", "importance", "ais",
    ]  # fmt: skip


def test_fields_that_scripts_rely_on():
    *_, last = run(SMALL)
    found = to_dict(last)
    assert set(found) >= {"model", "results", "signature", "partial"}
    for result in found["results"]:
        assert set(result) >= {
            "dim", "truth", "truth_kind", "kl_posterior_prior", "samples_needed_log10",
            "estimators",
        }  # fmt: skip
        expected = result["kl_posterior_prior"] / math.log(10)
        assert abs(result["samples_needed_log10"] - expected) < 1e-12
        for each in result["estimators"]:
            assert set(each) >= {
                "name", "samples", "log_p", "std_error", "ci95", "ess", "max_weight",
                "pareto_k", "verdict", "slope", "sweep",
            }  # fmt: skip
            assert len(each["ci95"]) == 2
            assert abs(each["bias"] - (each["log_p"] - result["truth"])) < 1e-9
        prior = result["estimators"][0]
        assert [len(point["repeats"]) for point in prior["sweep"]] == [3, 3]


def test_same_seed_same_numbers():
    def logs():
        *_, last = run(SMALL)
        return [each.estimate.log_p for result in last.results for each in result.estimators]

    assert logs() == logs()


def test_the_signature_says_what_matters():
    text = sign(SMALL)
    for part in ("dims:2,4", "samples:10,1000", "chains:32", "noise-variance:0.1", "seed:0"):
        assert part in text
    only_prior = sign(replace(SMALL, estimators=("prior",)))
    assert "chains" not in only_prior
    assert "importance-samples" not in only_prior


def test_empty_lists_are_refused():
    with pytest.raises(ConfigError, match="--dims is empty"):
        next(run(replace(SMALL, dims=())))


def test_a_decoder_that_returns_nan_ends_the_run():
    broken = BernoulliDecoder(lambda z: torch.full((z.shape[0], 3), math.nan), 2, name="my-decoder")
    case = Case(model=broken, precise=broken, x=torch.ones(1, 3))
    with pytest.raises(RunFailed, match="'my-decoder' returned NaN"):
        list(run(SMALL, cases=[case]))


def test_the_price_of_a_standard_error_falls_with_its_square():
    *_, last = run(replace(SMALL, estimators=("prior",)))
    first = last.results[0]
    assert first.truth is not None
    assert first.truth.log_rho is not None
    expected = first.truth.log_rho / math.log(10) + 4
    assert abs(first.samples_for_se_log10(0.01) - expected) < 1e-9
