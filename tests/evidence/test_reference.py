from __future__ import annotations

import torch

from dlcli.engine.seed import generator
from dlcli.evidence.hmc import Turned, find_reference
from dlcli.evidence.models import draw_pairs
from tests.evidence.calibration import linear_case


def test_a_gaussian_likelihood_is_its_own_reference():
    model, _, _ = linear_case(0, dim=3, pixels=11)
    _, x = draw_pairs(model, 2, generator=generator(1))
    found = find_reference(model, x, generator=generator(2))
    turned = Turned(model, found)
    u = torch.randn(4, 2, 3, generator=generator(3), dtype=torch.float64)
    value, gradient = turned.log_likelihood_and_gradient(x, u)
    expected = found.slope - found.curvatures * u
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(value, model.log_likelihood(x, found.from_axes(u)))
    torch.testing.assert_close(found.from_axes(found.to_axes(u)), u)


def test_widths_are_those_of_the_tempered_posterior():
    model, x, _ = linear_case(1, dim=3, pixels=11)
    found = find_reference(model, x, generator=generator(2))
    _, covariance = model.posterior(x)
    torch.testing.assert_close(
        found.widths(1.0)[0].sort().values,
        torch.linalg.eigvalsh(covariance).sqrt(),
        rtol=1e-5,
        atol=0,
    )
    assert found.widths(0.0).tolist() == [[1.0] * 3]
