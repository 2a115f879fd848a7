"""A trained decoder through the evidence room's Protocol."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from dlcli.engine.device import Compute
from dlcli.engine.seed import generator
from dlcli.errors import RunFailed, UsageFault
from dlcli.evidence.estimators import DiagonalGaussian
from dlcli.evidence.models import log_likelihood as log_likelihood_of
from dlcli.evidence.models import log_prior
from dlcli.vae.bounds import decoder_of, encoded, posterior_of
from dlcli.vae.objective import log_likelihood
from dlcli.vae.trained import Trained


def compute(precision: str = "fp32") -> Compute:
    return Compute(device=torch.device("cpu"), precision=precision, threads=1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_its_likelihood_is_that_of_the_model(trained: Trained, likelihood: str) -> None:
    objective = dataclasses.replace(trained.config.objective, likelihood=likelihood)
    config = dataclasses.replace(trained.config, objective=objective)
    decoder = decoder_of(dataclasses.replace(trained, config=config), compute=compute())
    z = torch.randn(5, 2, 3, generator=generator(0, "z"))
    x = torch.rand(2, 784, generator=generator(0, "x"))
    with torch.no_grad():
        logits = trained.model.decode(z.view(10, 3)).view(5, 2, 784)
        found = decoder.log_likelihood(x, z)
    expected = log_likelihood(logits.double(), x.double(), likelihood=likelihood)
    assert torch.allclose(found.double(), expected, atol=2e-3)


def test_bf16_is_near_and_gives_float32(trained: Trained) -> None:
    z = torch.randn(5, 1, 3, generator=generator(0, "z"))
    x = torch.ones(2, 784)
    with torch.no_grad():
        exact, rough = (
            decoder_of(trained, compute=compute(name)).log_likelihood(x, z)
            for name in ("fp32", "bf16")
        )
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert torch.allclose(exact, rough, rtol=0.01)


def test_a_decoder_that_sees_x_is_refused(trained: Trained) -> None:
    model = dataclasses.replace(trained.config.model, arch="conv", skip=True)
    config = dataclasses.replace(trained.config, model=model)
    with pytest.raises(UsageFault, match="feature maps"):
        decoder_of(dataclasses.replace(trained, config=config), compute=compute())


def test_an_encoder_that_returns_nan_is_named(trained: Trained) -> None:
    x = torch.zeros(3, 784)
    x[1] = torch.nan
    with pytest.raises(RunFailed, match="encoder returned NaN or infinity for 1 of 3 images"):
        encoded(trained.model, x)
    mean, logvar = encoded(trained.model, x[:1])
    assert mean.shape == logvar.shape == (1, 3)


def test_a_flows_posterior_is_a_density_and_finds_the_evidence(flowed: Trained) -> None:
    decoder = decoder_of(flowed, compute=compute())
    x = torch.rand(1, 784, generator=generator(0, "x")).round()
    with torch.no_grad():
        mean, logvar = encoded(flowed.model, x)
    posterior = posterior_of(flowed.model, mean, logvar=logvar)
    axis = torch.linspace(-9, 9, 601)
    grid = torch.cartesian_prod(axis, axis)[:, None]  # (K, 1, 2)
    cell = (axis[1] - axis[0]).double() ** 2
    assert (posterior.log_density(grid).double().exp().sum() * cell).item() == pytest.approx(
        1, abs=1e-3
    )
    given = log_likelihood_of(decoder, x, grid).double() + log_prior(grid.double())
    truth = (torch.logsumexp(given, 0) + cell.log()).item()
    z = posterior.draw(20_000, generator=generator(0, "draws"))
    log_w = log_likelihood_of(decoder, x, z) + log_prior(z) - posterior.log_density(z)
    found = torch.logsumexp(log_w.double(), 0).item() - math.log(20_000)
    assert found == pytest.approx(truth, abs=0.02)


def test_without_a_flow_the_posterior_is_the_encoders(trained: Trained) -> None:
    mean, logvar = torch.zeros(2, 1, 3)
    assert isinstance(posterior_of(trained.model, mean, logvar=logvar), DiagonalGaussian)
