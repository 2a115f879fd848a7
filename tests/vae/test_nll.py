"""`dl vae eval`: its stages, fields and images, grey pixels, and stopping half-way."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlcli.engine.settings import MachineConfig
from dlcli.errors import DataError, UsageFault
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig
from dlcli.evidence.estimate import run
from dlcli.vae import bounds as bounds_module
from dlcli.vae import judge as judge_module
from dlcli.vae import nll as nll_module
from dlcli.vae.bounds import FlowedGaussian
from dlcli.vae.config import VaeEvalConfig
from dlcli.vae.images import load_test_images
from dlcli.vae.nll import (
    TestImages,
    VaeEvaluation,
    choose_images,
    evaluate_run,
    sign_trained,
    trained_cases,
    with_true_data,
)
from dlcli.vae.trained import Trained


def results(trained: Trained, **settings: Any) -> list[VaeEvaluation]:
    config = VaeEvalConfig(device="cpu", threads=1, **settings)
    return list(evaluate_run(trained, config, notice=lambda _: None))


def with_pixels(trained: Trained, *, binarize: str, likelihood: str) -> Trained:
    config = trained.config
    return dataclasses.replace(
        trained,
        config=dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, binarize=binarize),
            objective=dataclasses.replace(config.objective, likelihood=likelihood),
        ),
    )


def test_binary_pixels_have_an_nll(trained: Trained) -> None:
    found = results(trained, k=60)[-1]
    assert found.complete
    assert found.images == 20
    assert found.nll_binarized is None
    assert found.nll is not None
    assert (found.nll.estimator, found.nll.k) == ("iwae", 60)
    assert found.gap == pytest.approx(-found.elbo - found.nll.value, abs=1e-9)
    assert found.gap > 0
    assert found.elbo == pytest.approx(-(found.reconstruction + found.kl), abs=1e-9)
    assert [bound.name for bound in found.nll.bounds] == ["ELBO", "IWAE-5", "IWAE-50", "IWAE-60"]
    assert found.nll.rises
    assert len(found.kl_per_dim) == 3
    assert sum(found.kl_per_dim) == pytest.approx(found.kl)
    for part in ("split:test", "images:20", "k:60", "pixels:binarized-dynamically"):
        assert part in found.signature.split("|")


def test_a_long_stage_tells_how_far_all_of_it_is(trained: Trained) -> None:
    told: list[tuple[str, float]] = []
    config = VaeEvalConfig(
        device="cpu", threads=1, k=20, ais=True, ais_images=2, ais_chains=4, ais_temperatures=50
    )
    tell = lambda stage, done: told.append((stage, done))  # noqa: E731
    found = list(evaluate_run(trained, config, notice=lambda _: None, progress=tell))
    assert found[-1].ais is not None
    begun = next(step for step in found if step.stage == "AIS")
    assert (begun.ais, begun.done) == (None, 0.5), "one who stops now is told what is missing"
    assert {stage for stage, _ in told} == {"AIS"}
    assert (told[0][1], told[-1][1]) == (0.5, 1.0)


def test_grey_pixels_have_none_and_say_so(trained: Trained) -> None:
    grey = with_pixels(trained, binarize="none", likelihood="bernoulli")
    found = results(grey, k=20)[-1]
    assert found.nll is None
    assert found.nll_binarized is not None
    assert found.gap == pytest.approx(-found.nll_binarized.elbo - found.nll_binarized.value)
    assert found.nll_binarized.elbo != found.elbo
    assert (found.pixels, "nll-pixels:binarized-dynamically" in found.signature) == ("grey", True)


def test_a_continuous_bernoulli_gives_grey_pixels_an_nll(trained: Trained) -> None:
    continuous = with_pixels(trained, binarize="none", likelihood="continuous-bernoulli")
    found = results(continuous, k=20)[-1]
    assert found.nll is not None
    assert found.nll_binarized is None
    assert "nll-pixels" not in found.signature


def test_the_seed_fixes_everything_but_the_time(trained: Trained) -> None:
    first, second, other = (results(trained, k=5, seed=seed)[-1] for seed in (0, 0, 1))
    timeless = {"elapsed_s": 0.0, "evaluations_per_s": 0.0}
    assert dataclasses.replace(first, **timeless) == dataclasses.replace(second, **timeless)
    assert first.elbo != other.elbo


def test_results_grow_so_that_one_can_stop(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds_module, "LATENTS_BATCH", 50)
    found = results(trained, k=5, images=15)
    assert [result.images for result in found] == [10, 15, 15]
    assert [result.complete for result in found] == [False, True, True]
    assert "images:10" in found[0].signature


def test_every_stage_adds_to_the_result(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "UPDATES_OF_SMALL_SETS", 2)
    monkeypatch.setattr(judge_module, "EPOCHS", 1)
    found = results(
        trained,
        k=10,
        images=5,
        ais=True,
        ais_images=2,
        ais_chains=3,
        ais_temperatures=20,
        checkpoints="all",
        checkpoints_k=10,
        judge=True,
        judge_images=7,
    )
    done = [result.done for result in found]
    assert done == sorted(done)
    assert done[-1] == 1
    last = found[-1]
    assert last.ais is not None
    assert last.ais.images == 2
    assert [row.epoch for row in last.checkpoints] == [0, 2]
    assert all(row.gap.value >= 0 for row in last.checkpoints)
    assert last.checkpoints[1].elbo.value > last.checkpoints[0].elbo.value
    for part in ("ais-images:2", "ais-chains:3", "ais-temperatures:20", "judge-images:7"):
        assert part in last.signature.split("|")
    assert last.ambiguity is not None
    assert last.ambiguity.real.images == 20
    assert last.ambiguity.generated.images == 7
    assert last.nll == found[0].nll


# -- Which images


def pixels(trained: Trained, *, count: int | None = None, seed: int = 0) -> TestImages:
    return choose_images(trained, count=count, seed=seed, notice=print)


def with_data(trained: Trained, name: str) -> Trained:
    data = dataclasses.replace(trained.config.data, name=name)
    return dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))


def test_fewer_images_are_the_first_of_more(trained: Trained) -> None:
    every, some = pixels(trained), pixels(trained, count=6)
    assert sorted(every.numbers.tolist()) == list(range(20))
    assert torch.equal(some.numbers, every.numbers[:6])
    assert torch.equal(some.seen, every.seen[:6])
    assert len(pixels(with_data(trained, "glyphs:50")).numbers) == 10
    with pytest.raises(UsageFault, match="20 test images, not 21"):
        pixels(trained, count=21)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_pixels_are_those_of_the_training(trained: Trained, likelihood: str) -> None:
    black = pixels(trained)
    assert set(black.seen.unique().tolist()) == {0, 1}
    assert torch.equal(black.seen, black.dense)
    assert not torch.equal(black.seen, pixels(trained, seed=1).seen)
    grey = pixels(with_pixels(trained, binarize="none", likelihood=likelihood))
    test = load_test_images(trained.config.data, notice=print).view(20, 784).float() / 255
    assert torch.equal(grey.seen, test[grey.numbers])
    assert torch.equal(grey.dense, black.dense if likelihood == "bernoulli" else grey.seen)


def test_auto_becomes_the_name_it_was_trained_on_or_is_refused(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto, found = with_data(trained, "auto"), "glyphs:100"
    monkeypatch.setattr(nll_module, "load_images", lambda *_, **__: SimpleNamespace(name=found))
    assert with_true_data(auto, notice=print).config.data.name == "glyphs:100"
    assert with_true_data(trained, notice=print) is trained
    found = "mnist"
    with pytest.raises(DataError, match="trained on glyphs:100"):
        with_true_data(auto, notice=print)


# -- Test images under a trained VAE through the evidence estimators (`mc-estimate --run`)

CONFIG = EvidenceConfig(
    estimators=("importance", "ais"),
    samples=(200,),
    repeats=2,
    annealing=AnnealingConfig(chains=32, temperatures=50),
    compute=MachineConfig(device="cpu"),
)


def test_importance_and_ais_agree_on_test_images(trained: Trained) -> None:
    cases = trained_cases(trained, CONFIG, images=2, notice=print)
    *_, found = run(CONFIG, cases=cases)
    assert [result.dim for result in found.results] == [3, 3]
    assert len({result.case for result in found.results}) == 2
    for result in found.results:
        assert result.truth is None
        iwae, ais = (each.estimate for each in result.estimators)
        spread = (iwae.std_error**2 + ais.std_error**2) ** 0.5
        assert abs(iwae.log_p - ais.log_p) < 5 * spread
        assert iwae.log_p < result.ceiling == 0


def test_the_signature_is_the_runs_and_not_a_simulated_models(trained: Trained) -> None:
    parts = sign_trained(trained, CONFIG, images=2).split("|")
    for part in (
        "measure:log-evidence", "data:glyphs:100", "split:test", "images:2", "checkpoint:last",
        "estimators:importance,ais", "samples:200", "chains:32", "temperatures:50", "epochs:2",
        "pixels:binarized-dynamically", "latent-dim:3", "sampling-seed:0",
    ):  # fmt: skip
        assert part in parts
    assert not {"model", "dims", "noise-variance"} & {part.split(":")[0] for part in parts}
    cases = trained_cases(trained, CONFIG, images=1, notice=print)
    signature = sign_trained(trained, CONFIG, images=1)
    assert next(run(CONFIG, cases=cases, signature=signature)).signature == signature


def test_a_learned_priors_posterior_is_the_proposal(flowed: Trained) -> None:
    cases = list(trained_cases(flowed, CONFIG, images=1, notice=print))
    assert isinstance(cases[0].proposal, FlowedGaussian)
    *_, found = run(CONFIG, cases=iter(cases))
    importance, ais = (each.estimate for each in found.results[0].estimators)
    spread = (importance.std_error**2 + ais.std_error**2) ** 0.5
    assert abs(importance.log_p - ais.log_p) < 5 * spread
