from __future__ import annotations

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.evidence.cases import integrate_evidence
from dlcli.evidence.models import draw_pairs, log_prior, random_decoder
from tests.evidence.calibration import linear_case
from tests.evidence.test_laplace import TwoBumps


@pytest.mark.parametrize("dim", [1, 2])
def test_agrees_with_the_closed_form(dim: int):
    model, x, _ = linear_case(0, dim=dim)
    found = integrate_evidence(model, x, generator=generator(1))
    assert abs(found.log_evidence - float(model.log_evidence(x))) < 1e-6
    assert abs(found.kl_posterior_prior - float(model.kl_posterior_prior(x))) < 1e-5
    assert abs(found.log_rho - float(model.log_rho(x))) < 1e-5
    assert found.error <= 1e-6


def test_agrees_with_a_fine_grid_where_networks_have_kinks():
    model = random_decoder(
        1, generator=generator(2), hidden=(9,), pixels=20, logit_scale=3.0, dtype=torch.float64
    )
    _, x = draw_pairs(model, 1, generator=generator(3))
    found = integrate_evidence(model, x, generator=generator(4))
    count = 200_000
    z = torch.linspace(-9, 9, count + 1, dtype=torch.float64)[:, None, None]
    joint = model.log_likelihood(x, z)[:, 0] + log_prior(z)[:, 0]
    fine = float(joint.logsumexp(0)) + float(torch.tensor(18 / count).log())
    assert abs(found.log_evidence - fine) < 1e-6


def test_refining_changes_less_than_the_stated_error():
    model = random_decoder(
        2, generator=generator(5), hidden=(7,), pixels=15, logit_scale=3.0, dtype=torch.float64
    )
    _, x = draw_pairs(model, 1, generator=generator(6))
    coarse = integrate_evidence(model, x, generator=generator(7), tolerance=1e-5)
    fine = integrate_evidence(model, x, generator=generator(7), tolerance=1e-7)
    assert fine.evaluations > coarse.evaluations
    assert abs(coarse.log_evidence - fine.log_evidence) < 1e-5


def test_many_dimensions_are_refused():
    model, x, _ = linear_case(0, dim=3)
    with pytest.raises(UsageFault, match="over 3"):
        integrate_evidence(model, x, generator=generator(1))


def test_a_peak_between_the_nodes_is_not_missed():
    """The right bump, 0.02 wide, is nearly invisible from the first cells' nodes."""
    model = TwoBumps(places=(-1.5, 1.1), heights=(0.0, 0.0), widths=(0.02, 0.02))
    variance = model.widths.square()
    logs = 0.5 * (variance / (1 + variance)).log() - 0.5 * model.places.square() / (1 + variance)
    x = torch.zeros(1, 1, dtype=torch.float64)
    found = integrate_evidence(model, x, generator=generator(1))
    assert abs(found.log_evidence - float(logs.logsumexp(0))) < 1e-6
