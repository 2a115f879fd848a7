"""Test images under a trained VAE through the evidence estimators."""

from __future__ import annotations

import dataclasses

import pytest

from dlcli.errors import UsageFault
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig, PlaceConfig
from dlcli.evidence.estimate import run
from dlcli.vae.bounds import FlowedGaussian
from dlcli.vae.study import sign_trained, trained_cases
from dlcli.vae.trained import Trained

CONFIG = EvidenceConfig(
    estimators=("importance", "ais"),
    samples=(200,),
    repeats=2,
    annealing=AnnealingConfig(chains=32, temperatures=50),
    compute=PlaceConfig(device="cpu"),
)


def quiet(message: str) -> None:
    assert message


def test_importance_and_ais_agree_on_test_images(trained: Trained) -> None:
    cases = trained_cases(trained, CONFIG, images=2, notice=quiet)
    *_, found = run(CONFIG, cases=cases)
    assert [result.dim for result in found.results] == [3, 3]
    assert len({result.case for result in found.results}) == 2
    for result in found.results:
        assert result.truth is None
        iwae, ais = (each.estimate for each in result.estimators)
        spread = (iwae.std_error**2 + ais.std_error**2) ** 0.5
        assert abs(iwae.log_p - ais.log_p) < 5 * spread
        assert iwae.log_p < result.ceiling == 0


def test_more_images_than_there_are_is_an_error(trained: Trained) -> None:
    with pytest.raises(UsageFault, match="test images, not"):
        next(trained_cases(trained, CONFIG, images=10**6, notice=quiet))


def test_grey_runs_are_read_as_black_and_white(trained: Trained) -> None:
    data = dataclasses.replace(trained.config.data, binarize="none")
    grey = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    case = next(trained_cases(grey, CONFIG, images=1, notice=quiet))
    assert set(case.x.unique().tolist()) <= {0.0, 1.0}


def test_the_signature_is_the_runs_and_not_a_simulated_models(trained: Trained) -> None:
    parts = sign_trained(trained, CONFIG, images=2).split("|")
    for part in (
        "measure:log-evidence", "data:glyphs:100", "split:test", "images:2", "checkpoint:last",
        "estimators:importance,ais", "samples:200", "chains:32", "temperatures:50", "epochs:2",
        "pixels:binarized-dynamically", "latent-dim:3", "sampling-seed:0",
    ):  # fmt: skip
        assert part in parts
    assert not {"model", "dims", "noise-variance"} & {part.split(":")[0] for part in parts}
    cases = trained_cases(trained, CONFIG, images=1, notice=quiet)
    signature = sign_trained(trained, CONFIG, images=1)
    assert next(run(CONFIG, cases=cases, signature=signature)).signature == signature


def test_a_learned_priors_posterior_is_the_proposal(flowed: Trained) -> None:
    cases = list(trained_cases(flowed, CONFIG, images=1, notice=quiet))
    assert isinstance(cases[0].proposal, FlowedGaussian)
    *_, found = run(CONFIG, cases=iter(cases))
    importance, ais = (each.estimate for each in found.results[0].estimators)
    spread = (importance.std_error**2 + ais.std_error**2) ** 0.5
    assert abs(importance.log_p - ais.log_p) < 5 * spread
