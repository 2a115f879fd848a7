from __future__ import annotations

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.annealing import as_estimate, sandwich
from dlcli.evidence.diagnostics import assess
from dlcli.evidence.estimators import importance_weights, laplace_proposal
from dlcli.evidence.hmc import choose_schedule
from dlcli.evidence.models import draw_pairs, random_decoder
from tests.evidence.calibration import linear_case


def test_the_truth_lies_between_the_bounds():
    for seed in range(3):
        model, x, z = linear_case(seed, dim=5)
        schedule = choose_schedule(model, x, generator=generator(seed, 1), temperatures=300)
        found = sandwich(
            model, x, z, schedule=schedule, chains=64, generators=(generator(2), generator(3))
        )
        truth = float(model.log_evidence(x))
        assert found.lower.log_p - 3 * found.lower.std_error < truth
        assert truth < found.upper.log_p + 3 * found.upper.std_error
        assert abs(found.width) < 0.5
        assert abs(found.kl_posterior_prior - float(model.kl_posterior_prior(x))) < 1.5
        estimate = as_estimate(found)
        assert estimate.name == "bdmc"
        assert estimate.verdict == "trust"
        assert estimate.ci95[0] < truth < estimate.ci95[1]
        assert estimate.details["width"] == found.width


def test_a_hasty_path_leaves_a_gap_and_doubt():
    model, x, z = linear_case(0, dim=20)
    schedule = choose_schedule(model, x, generator=generator(1), temperatures=20)
    found = sandwich(
        model, x, z, schedule=schedule, chains=64, generators=(generator(2), generator(3))
    )
    truth = float(model.log_evidence(x))
    assert found.lower.log_p < truth < found.upper.log_p
    assert found.width > 1
    assert as_estimate(found).verdict != "trust"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_sandwich_of_a_decoder_holds_every_trusted_estimate():
    """The defaults of `dl mc-estimate --model bernoulli --dims 20`."""
    for seed in range(3):
        model = random_decoder(20, generator=generator(seed, "decoder"))
        z, x = draw_pairs(model, 1, generator=generator(seed, "image"))
        schedule = choose_schedule(model, x, generator=generator(seed, "pilot"))
        pair = (generator(seed, "ahead"), generator(seed, "back"))
        found = sandwich(model, x, z, schedule=schedule, chains=128, generators=pair)
        q = laplace_proposal(model, x, generator=generator(seed, "laplace"))
        (summary,) = importance_weights(
            model, x, proposal=q, samples=[100_000], generator=generator(seed, "importance")
        )
        other = assess(summary, name="importance")
        print(seed, found.lower.log_p, found.upper.log_p, found.width, other.log_p, other.verdict)
        assert found.width <= 0.5
        if other.verdict == "trust":
            slack = 2 * (found.std_error + other.std_error)
            assert found.lower.log_p - slack <= other.log_p <= found.upper.log_p + slack
    assert torch.is_tensor(x)
