"""The settings of an evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from dlcli.engine.config import keys, resolve, to_dict
from dlcli.errors import ConfigError
from dlcli.evidence.diagnostics import FEWEST_SAMPLES
from dlcli.vae.config import VaeEvalConfig, VaeTrainConfig, check


def test_the_defaults_are_the_literatures() -> None:
    config = resolve(VaeEvalConfig, [{}])
    assert (config.k, config.images, config.precision) == (5000, None, "fp32")
    assert (config.ais, config.judge, config.checkpoints) == (False, False, "none")
    assert config.judge_images == 10_000


def test_the_default_chains_can_be_trusted() -> None:
    assert resolve(VaeEvalConfig, [{}]).ais_chains >= 2 * FEWEST_SAMPLES


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"images": 0}, {"ais_chains": 1}, {"checkpoints": "some"}, {"kk": 5}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve(VaeEvalConfig, [wrong])


# -- The VAE's settings: they round-trip, and contradictions are refused with a way out


def config(**sections: Any) -> VaeTrainConfig:
    return resolve(VaeTrainConfig, [sections])


def test_defaults_are_the_seeds_and_pass_the_check() -> None:
    default = config()
    check(default)
    assert (default.model.latent_dim, default.model.hidden) == (20, (350,))
    assert (default.loop.epochs, default.loop.batch_size, default.optim.lr) == (80, 64, 1e-3)
    assert default.snapshots == (0, 10, 80)


def test_survives_a_round_trip_through_plain_values() -> None:
    given = config(
        model={"arch": "conv"}, snapshots=[0, 3], objective={"objective": "iwae", "k": 5}
    )
    assert resolve(VaeTrainConfig, [to_dict(given)]) == given


def test_every_flag_is_used_once() -> None:
    flags = [key.flag for key in keys(VaeTrainConfig) if key.flag]
    assert len(flags) == len(set(flags))
    assert all(key.help for key in keys(VaeTrainConfig))


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({"objective": {"k": 5}}, "--k 5"),
        ({"objective": {"objective": "iwae", "beta": 2.0}}, "--beta 2"),
        ({"objective": {"objective": "iwae", "beta_warmup_epochs": 3}}, "--beta-warmup"),
        ({"objective": {"objective": "iwae", "free_bits": 0.1}}, "--free-bits"),
        (
            {
                "objective": {"likelihood": "continuous-bernoulli"},
                "data": {"binarize": "dynamic"},
            },
            "--binarize",
        ),
        ({"objective": {"backward_samples": 2}}, "--backward-samples 2"),
        (
            {"objective": {"objective": "iwae", "k": 3, "backward_samples": 4}},
            "--backward-samples 4",
        ),
        (
            {
                "objective": {"objective": "iwae", "k": 3, "backward_samples": 2},
                "model": {"arch": "conv"},
            },
            "--norm batch",
        ),
        ({"model": {"skip": True}}, "--skip"),
        ({"model": {"prior": "flow"}}, "--prior flow"),
        ({"model": {"arch": "conv", "skip": True}, "objective": {"objective": "iwae"}}, "--skip"),
        ({"loop": {"patience": 3}}, "--patience 3"),
    ],
)
def test_contradictions_name_the_flag_and_a_way_out(sections: Any, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(config(**sections))
    assert names in caught.value.message
    assert caught.value.hint.endswith(".")


def test_snapshots_beyond_the_last_epoch_are_allowed() -> None:
    check(config(loop={"epochs": 2}))
