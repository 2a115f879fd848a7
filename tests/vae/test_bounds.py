"""AIS of a trained decoder: held against the IWAE bound, doubtful where below."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from dlcli.engine.device import Compute
from dlcli.engine.events import ProgressCallback, no_progress
from dlcli.engine.seed import generator
from dlcli.engine.settings import MachineConfig
from dlcli.errors import RunFailed, UsageFault
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig
from dlcli.evidence.estimate import run
from dlcli.evidence.models import log_likelihood as log_likelihood_of
from dlcli.evidence.models import log_prior
from dlcli.vae import bounds as bounds_module
from dlcli.vae.bounds import (
    AnnealedNll,
    Bounds,
    FlowedGaussian,
    average,
    decoder_of,
    encoded,
    group_sizes,
    grouped_bound,
    posterior_of,
    stream_annealed,
    stream_bounds,
    trained_cases,
)
from dlcli.vae.elbo import evaluate
from dlcli.vae.objective import iwae_bound
from dlcli.vae.trained import Trained, choose_images
from tests.vae.conftest import with_pixels

CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)


def annealed(
    trained: Trained, *, lift: float = 0.0, progress: ProgressCallback = no_progress
) -> list[AnnealedNll]:
    decoder = decoder_of(trained, compute=CPU)
    x = choose_images(trained, count=3, seed=0, notice=print).dense
    *_, bounds = stream_bounds(trained.model, decoder, x, k=2000, generator=generator(0, "noise"))
    return list(
        stream_annealed(
            decoder,
            x,
            iwae=bounds.best + lift,
            chains=4,
            temperatures=60,
            generator=generator(0, "ais"),
            progress=progress,
        )
    )


def test_agrees_with_a_good_iwae_bound(trained: Trained) -> None:
    (found,) = annealed(trained)
    assert (found.images, found.chains, found.temperatures) == (3, 4, (60,))
    assert abs(found.above_iwae.value) < 0.5
    assert abs(found.value - (found.iwae - found.above_iwae.value)) < 1e-9
    assert sum(found.verdicts.values()) == 3
    assert found.evaluations > 3 * 4 * 60
    assert 0.3 < found.acceptance <= 1


def test_is_doubtful_where_it_is_below(trained: Trained) -> None:
    (found,) = annealed(trained, lift=20.0)
    assert found.doubtful
    assert found.images_below == 3
    assert found.verdict.startswith("doubtful")


def test_batches_add_up(trained: Trained) -> None:
    seen: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds_module, "ANNEALING_BATCH", 2)
        first, second = annealed(trained, progress=lambda done, _: seen.append(done))
    assert seen == pytest.approx(sorted(seen))
    assert (seen[0], seen[-1]) == pytest.approx((0.0, 1.0))
    assert len(seen) > 100, "on the way through a batch, too"
    assert (first.images, second.images) == (2, 3)
    assert second.temperatures == (60, 60)
    assert second.evaluations > first.evaluations


def pixels(count: int) -> torch.Tensor:
    return (torch.rand(count, 784, generator=generator(0, "x")) < 0.2).float()


def measured(trained: Trained, x: torch.Tensor, *, k: int, seed: int = 0) -> Bounds:
    decoder = decoder_of(trained, compute=CPU, of_encoded=True)
    *_, last = stream_bounds(trained.model, decoder, x, k=k, generator=generator(seed, "noise"))
    return last


def test_bounds_rise_for_every_image(trained: Trained) -> None:
    found = measured(trained, pixels(7), k=500)
    assert list(found.iwae) == [5, 50, 500]
    assert (found.iwae[5] <= found.iwae[50]).all()
    assert (found.iwae[50] <= found.iwae[500]).all()
    assert found.rises()
    assert ((found.ess >= 1) & (found.ess <= 500)).all()
    assert ((found.max_weight > 0) & (found.max_weight <= 1)).all()


@pytest.mark.parametrize("name", ["trained", "flowed"])
def test_agrees_with_the_evaluation(name: str, request: pytest.FixtureRequest) -> None:
    trained: Trained = request.getfixturevalue(name)
    x, k = pixels(3), 4000
    found = measured(trained, x, k=k)
    grey = (x * 255).to(torch.uint8)
    other = evaluate(trained.model, grey, generator=generator(1, "noise"), noise_samples=k)
    if name == "trained":  # the KL is in closed form
        assert found.kl.mean().item() == pytest.approx(other.kl, rel=1e-5)
        assert found.latents.kl_per_dim == pytest.approx(other.latents.kl_per_dim, rel=1e-4)
        assert found.latents.active_units == other.latents.active_units
    # A sample's log p(x|z) has a standard deviation of a nat or so: 5 x 4,000 of them.
    assert found.kl.mean().item() == pytest.approx(other.kl, abs=0.1)
    assert found.elbo.mean().item() == pytest.approx(other.elbo, abs=0.2)
    assert found.best.mean().item() == pytest.approx(other.iwae, abs=0.1)
    assert (found.elbo < found.best).all()
    assert found.rises()


def test_blocks_of_images_make_no_difference_to_what_is_exact(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = pixels(7)
    whole = measured(trained, x, k=10)
    monkeypatch.setattr(bounds_module, "LATENTS_BATCH", 20)
    decoder = decoder_of(trained, compute=CPU)
    parts = list(stream_bounds(trained.model, decoder, x, k=10, generator=generator(0, "noise")))
    assert [part.images for part in parts] == [2, 4, 6, 7]
    assert torch.allclose(parts[-1].kl, whole.kl)
    assert torch.equal(parts[1].best, parts[-1].best[:4])
    assert (parts[-1].evaluations, parts[-1].total) == (70, 7)


def test_grouped_bound_is_the_mean_of_group_bounds() -> None:
    log_w = torch.randn(7, 3, generator=generator(0, "w"), dtype=torch.float64)
    expected = (iwae_bound(log_w[:3]) + iwae_bound(log_w[3:6])) / 2
    assert torch.allclose(grouped_bound(log_w, size=3), expected)


def test_group_sizes_end_at_k_and_averages_have_errors() -> None:
    assert group_sizes(5000) == [5, 50, 500, 5000]
    assert [group_sizes(k) for k in (7, 5, 1)] == [[5, 7], [5], [1]]
    assert average(torch.tensor([2.0])).std_error is None
    assert average(torch.tensor([1.0, 3.0])).std_error == pytest.approx(1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "logistic"])
def test_its_likelihood_is_that_of_the_model(trained: Trained, likelihood: str) -> None:
    changed = with_pixels(trained, binarize="none", likelihood=likelihood)
    decoder = decoder_of(changed, compute=CPU)
    z = torch.randn(5, 2, 3, generator=generator(0, "z"))
    x = torch.rand(2, 784, generator=generator(0, "x"))
    with torch.no_grad():
        logits = trained.model.decode(z.view(10, 3)).view(5, 2, 784)
        found = decoder.log_likelihood(x, z)
    expected = changed.model.likelihood.log_prob(logits.double(), x.double())
    assert torch.allclose(found.double(), expected, atol=2e-3)


def test_bf16_is_near_and_gives_float32(trained: Trained) -> None:
    z = torch.randn(5, 1, 3, generator=generator(0, "z"))
    x = torch.ones(2, 784)
    with torch.no_grad():
        exact, rough = (
            decoder_of(trained, compute=compute).log_likelihood(x, z)
            for compute in (CPU, dataclasses.replace(CPU, precision="bf16"))
        )
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert torch.allclose(exact, rough, rtol=0.01)


def test_a_decoder_that_sees_x_is_refused(trained: Trained) -> None:
    model = dataclasses.replace(trained.config.model, arch="conv", skip=True)
    config = dataclasses.replace(trained.config, model=model)
    with pytest.raises(UsageFault, match="feature maps"):
        decoder_of(dataclasses.replace(trained, config=config), compute=CPU)


def test_an_encoder_that_returns_nan_is_named(trained: Trained) -> None:
    x = torch.zeros(3, 784)
    x[1] = torch.nan
    with pytest.raises(RunFailed, match="encoder returned NaN or infinity for 1 of 3 images"):
        encoded(trained.model, x)
    mean, logvar = encoded(trained.model, x[:1])
    assert mean.shape == logvar.shape == (1, 3)


def test_a_flows_posterior_is_a_density_and_finds_the_evidence(flowed: Trained) -> None:
    decoder = decoder_of(flowed, compute=CPU)
    x = torch.rand(1, 784, generator=generator(0, "x")).round()
    with torch.no_grad():
        mean, logvar = encoded(flowed.model, x)
    posterior = posterior_of(flowed.model, mean, logvar=logvar)
    axis = torch.linspace(-9, 9, 301)
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


CONFIG = EvidenceConfig(
    estimators=("importance", "ais"),
    samples=(200,),
    repeats=2,
    annealing=AnnealingConfig(chains=32, temperatures=50),
    compute=MachineConfig(device="cpu"),
)


@pytest.mark.parametrize(("name", "dims"), [("trained", [3, 3]), ("flowed", [2])])
def test_importance_and_ais_agree_on_test_images(
    name: str, dims: list[int], request: pytest.FixtureRequest
) -> None:
    run_of: Trained = request.getfixturevalue(name)
    cases, _ = trained_cases(run_of, CONFIG, images=len(dims), notice=print)
    *_, found = run(CONFIG, cases=cases)
    assert [result.dim for result in found.results] == dims
    assert len({result.case for result in found.results}) == len(dims)
    for result in found.results:
        assert result.truth is None
        iwae, ais = (each.estimate for each in result.estimators)
        spread = (iwae.std_error**2 + ais.std_error**2) ** 0.5
        assert abs(iwae.log_p - ais.log_p) < 5 * spread
        assert iwae.log_p < result.ceiling == 0


def test_a_learned_priors_posterior_is_the_proposal(flowed: Trained) -> None:
    cases, _ = trained_cases(flowed, CONFIG, images=1, notice=print)
    assert isinstance(next(cases).proposal, FlowedGaussian)


def test_the_signature_is_the_runs_and_not_a_simulated_models(trained: Trained) -> None:
    cases, signature = trained_cases(trained, CONFIG, images=2, notice=print)
    parts = signature.split("|")
    for part in (
        "measure:log-evidence", "data:glyphs:100", "split:test", "images:2", "checkpoint:last",
        "estimators:importance,ais", "samples:200", "chains:32", "temperatures:50", "epochs:2",
        "pixels:binarized-dynamically", "latent-dim:3", "sampling-seed:0",
    ):  # fmt: skip
        assert part in parts
    assert not {"model", "dims", "noise-variance"} & {part.split(":")[0] for part in parts}
    assert next(run(CONFIG, cases=cases, signature=signature)).signature == signature
