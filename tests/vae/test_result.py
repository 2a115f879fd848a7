"""Signatures name what changes a number; results survive run.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from dlcli.engine.config import resolve
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.trained import TestResult, TrainResult, describe, read_result


def config(**given: Any) -> VaeTrainConfig:
    return resolve(VaeTrainConfig, [given])


def test_the_default_signature_reads_well() -> None:
    line = describe(config(), data="mnist", samples=16)
    assert line.startswith(
        "data:mnist|samples:16|pixels:grey|likelihood:bernoulli|arch:mlp|latent-dim:20|"
        "hidden:350|objective:elbo|batch:64|optimizer:adam-0.001-constant|seed:0|version:"
    )


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"data": {"binarize": "dynamic"}}, "pixels:binarized-dynamically"),
        ({"data": {"binarize": "fixed"}}, "pixels:binarized-once-by-dlcli-seed-537"),
        ({"objective": {"objective": "iwae", "k": 5}}, "objective:iwae-5"),
        ({"objective": {"beta": 0.5}}, "beta:0.5"),
        ({"model": {"prior": "flow", "flow_hidden": 9}}, "prior:flow-12-9"),
        ({"objective": {"beta_warmup_epochs": 3}}, "beta-warmup:3"),
        ({"objective": {"free_bits": 0.25}}, "free-bits:0.25"),
        ({"objective": {"likelihood": "continuous-bernoulli"}}, "likelihood:continuous-bernoulli"),
        ({"model": {"arch": "conv", "norm": "none"}}, "norm:none"),
        ({"model": {"arch": "conv", "skip": True}}, "skip:yes"),
        ({"model": {"hidden": [300, 200]}}, "hidden:300,200"),
        ({"model": {"arch": "conv", "channels": [2, 3, 5, 7]}}, "channels:2,3,5,7,128,64,32"),
        (
            {"model": {"arch": "conv", "channels": [2, 3], "dense": [9, 8]}},
            "dense:9,8",
        ),
        ({"optim": {"schedule": "cosine"}}, "optimizer:adam-0.001-cosine"),
        ({"optim": {"accumulate": 4}}, "batch:256"),
        ({"compute": {"seed": 3}}, "seed:3"),
    ],
)
def test_whatever_changes_the_number_is_in_the_signature(given: dict[str, Any], part: str) -> None:
    assert part in describe(config(**given)).split("|")


def test_a_result_survives_json() -> None:
    test = TestResult(elbo=-3.5, reconstruction=3.0, kl=0.5, std_error=None, iwae=-3.25, images=1)
    result = TrainResult(
        run="/r",
        data="glyphs",
        arch="mlp",
        epochs=2,
        images_per_s=12.5,
        train_s=1.0,
        test=test,
        active_units=1,
        kl_per_dim=(0.5, 0.0),
        reason="done",
        signature="s",
    )
    assert read_result(json.loads(json.dumps(asdict(result)))) == result
    with pytest.raises(TypeError):
        read_result({**asdict(result), "unknown": 1})
