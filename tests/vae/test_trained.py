"""A trained VAE: its signature, its result in run.json, its checkpoint read back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.checkpoint import save_checkpoint
from dlcli.engine.config import resolve, to_dict
from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, ConfigError, DataError, UsageFault
from dlcli.vae import trained as trained_module
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.images import load_test_images
from dlcli.vae.networks import build_model
from dlcli.vae.objective import VaeNetwork
from dlcli.vae.trained import (
    TestImages,
    Trained,
    choose_images,
    describe,
    find_trained,
    load_trained,
    with_true_data,
)
from tests.vae.conftest import with_pixels


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
        ({"model": {"arch": "conv", "channels": [2, 3, 5, 7]}}, "channels:2,3,5,7"),
        ({"model": {"arch": "conv", "decoder_channels": [7, 5, 3]}}, "decoder-channels:7,5,3"),
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


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "checkpoints").mkdir()
    return RunFolder(tmp_path)


def save(run: RunFolder, name: str, *, seed: int = 0, **content: Any) -> None:
    config = resolve(VaeTrainConfig, [{"model": {"latent_dim": 3, "hidden": [7]}}])
    torch.manual_seed(seed)
    network = VaeNetwork(build_model(config.model), objective=config.objective)
    state = {"config": to_dict(config), "model": network.state_dict(), **content}
    save_checkpoint(run.checkpoint(name), state, kind="vae")


def test_comes_back_with_its_settings_and_weights(run: RunFolder) -> None:
    save(run, "last", seed=4)
    found = load_trained(run)
    torch.manual_seed(4)
    original = build_model(found.config.model).state_dict()
    assert found.config.model.latent_dim == found.model.latent_dim == 3
    assert all(torch.equal(original[k], v) for k, v in found.model.state_dict().items())
    assert not found.model.training


def test_epochs_are_those_of_the_checkpoint(run: RunFolder) -> None:
    save(run, "epoch-0010")
    assert (load_trained(run).checkpoint, load_trained(run).epochs) == ("epoch-0010", 10)
    save(run, "last")
    assert (load_trained(run).checkpoint, load_trained(run).epochs) == ("last", 80)


def test_what_is_no_vae_is_refused(run: RunFolder) -> None:
    save(run, "last", model={"vae.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="not those of this network"):
        load_trained(run)
    save(run, "last", config={"model": {"latent_dims": 3}})
    with pytest.raises(ConfigError, match="latent_dims"):
        load_trained(run)


def test_the_run_that_was_taken_is_notices(run: RunFolder) -> None:
    save(run, "last")
    run.config_file.write_text("{}")
    notices: list[str] = []
    found = find_trained(str(run.path), notice=notices.append)
    assert found.run.path == run.path
    assert notices == [f"Using {run.path}, checkpoint last."]
    run.update_record(status="interrupted")
    find_trained(str(run.path), notice=notices.append)
    assert notices[1:] == [
        f"Using {run.path}, checkpoint last, of a training that was interrupted."
    ]
    with pytest.raises(UsageFault):
        find_trained("nowhere", notice=notices.append)


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
    monkeypatch.setattr(trained_module, "true_name", lambda *_, **__: found)
    assert with_true_data(auto, notice=print).config.data.name == "glyphs:100"
    assert with_true_data(trained, notice=print) is trained
    found = "mnist"
    with pytest.raises(DataError, match="trained on glyphs:100"):
        with_true_data(auto, notice=print)
