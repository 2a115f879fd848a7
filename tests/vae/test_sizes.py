"""Images of any size, grey and in colour: settings, networks, runs and pictures."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dlcli
from dlcli.data.images import load_images
from dlcli.engine.config import load_yaml, resolve
from dlcli.engine.runs import RunFolder, signature_warning
from dlcli.errors import ConfigError, DataError
from dlcli.vae.config import (
    VaeModelConfig,
    VaeTrainConfig,
    check,
    halvings,
    image_shape,
    known_images,
    stages,
    usual_channels,
    with_images,
)
from dlcli.vae.networks import VAE, ConvDecoder, build_model
from dlcli.vae.trained import describe
from dlcli.vae.training import TASK
from tests.cli.tiny import dl, dl_json

SHAPES = [(8, 8), (9, 30), (16, 16), (20, 48), (37, 61, 3), (64, 64), (31, 128, 3), (28, 28, 3)]


def build(shape: tuple[int, ...], **given: Any) -> VAE:
    """Build a small network for a shape, all settings that follow from it filled in."""
    config = resolve(VaeTrainConfig, [{"model": {"latent_dim": 3, "hidden": [7], **given}}])
    config = with_images(config, shape)
    torch.manual_seed(0)
    return build_model(config.model, shape=shape, likelihood=config.objective.likelihood)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_networks_of_every_shape_give_each_pixel_a_logit_and_each_weight_a_gradient(
    arch: str, shape: tuple[int, ...]
) -> None:
    vae = build(shape, arch=arch)
    x = torch.rand(2, math.prod(shape))
    logits, mean, logvar = vae(x, torch.randn(2, 3))
    assert (logits.shape, mean.shape) == (x.shape, (2, 3))
    (vae.likelihood.nll_sum(logits, x.round()) + mean.square().sum() + logvar.sum()).backward()
    without = [name for name, p in vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pixel_of_the_decoder_is_its_own(shape: tuple[int, ...]) -> None:
    depth = stages(shape)
    torch.manual_seed(0)
    decoder = ConvDecoder(latent_dim=2, channels=usual_channels(depth)[1], norm="none", shape=shape)
    one = decoder(torch.tensor([[3.0, -2.0]])).view(shape[0], shape[1], -1)
    assert one.unique().numel() > 0.9 * one.numel()


def test_mnists_network_is_what_it_was() -> None:
    vae = build_model(VaeModelConfig(arch="conv"))
    names = [name for name, _ in vae.decoder.named_children()]
    assert names == ["to4", "norm4", "to7", "norm7", "to14", "norm14", "to28"]
    assert halvings(28) == [28, 14, 7, 3, 1]
    usual = VaeModelConfig()
    assert usual_channels(4) == (usual.channels, usual.decoder_channels)
    assert not [name for name in vae.state_dict() if "likelihood" in name]


def test_other_depths_have_other_feature_maps_by_the_rule() -> None:
    encoder, decoder = VaeModelConfig().channels, VaeModelConfig().decoder_channels
    assert usual_channels(3) == (encoder[1:], decoder[:-1])
    longer = usual_channels(6)
    assert longer[0][2:] == encoder
    assert longer[1][:3] == decoder
    assert longer[0][0] <= longer[0][1] <= longer[0][2]
    assert [stages(shape) for shape in ((8, 99), (31, 31), (32, 40), (128, 128))] == [3, 4, 5, 7]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": {"image_size": "9x200"}}, "outside of 8 to 128"),
        ({"data": {"name": "shapes:9", "image_size": "large"}}, "is no size"),
        (
            {
                "data": {"name": "shapes:9"},
                "model": {"arch": "conv", "channels": [1, 2, 3, 4, 5, 6]},
            },
            "--channels has 6 sizes and needs 5",
        ),
        (
            {"data": {"image_size": "8"}, "model": {"arch": "conv", "skip": True}},
            "16 pixels or more",
        ),
        (
            {
                "data": {"name": "shapes:9", "binarize": "dynamic"},
                "objective": {"likelihood": "logistic"},
            },
            "logistic is of pixels of many levels",
        ),
    ],
)
def test_settings_that_do_not_fit_the_images_are_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(resolve(VaeTrainConfig, [given]))


def test_auto_is_the_likelihood_that_colour_calls_for() -> None:
    likelihoods = {
        name: known_images(resolve(VaeTrainConfig, [{"data": {"name": name, "colour": colour}}]))
        for name, colour in (("mnist", None), ("shapes", None), ("shapes:9", False))
    }
    found = [config.objective.likelihood for config in likelihoods.values() if config]
    assert found == ["bernoulli", "logistic", "bernoulli"]
    assert known_images(resolve(VaeTrainConfig, [{"data": {"name": "./photos.npz"}}])) is None


def test_levels_are_computed_in_float32_by_default() -> None:
    for shape, arch, pays in (
        ((28, 28), "conv", True),
        ((28, 28), "mlp", False),
        ((28, 28, 3), "conv", False),
    ):
        config = resolve(VaeTrainConfig, [{"model": {"arch": arch}}])
        assert TASK.bf16_pays(with_images(config, shape)) == pays


def test_the_signature_has_the_size_and_the_colours_of_all_but_mnists() -> None:
    plain = resolve(VaeTrainConfig)
    assert describe(with_images(plain, (28, 28))) == describe(plain)
    assert "size" not in describe(plain)
    found = describe(with_images(plain, (32, 20, 3)))
    assert "size:32x20|pixels:colour|likelihood:logistic" in found
    black = dataclasses.replace(plain, data=dataclasses.replace(plain.data, binarize="dynamic"))
    assert "size:28x28|colour" not in describe(with_images(black, (28, 28, 3)))
    assert "colour:yes" in describe(with_images(black, (28, 28, 3)))
    rows = [{"signature": describe(with_images(black, shape))} for shape in ((9, 9), (9, 9, 3))]
    assert "differ in colour" in signature_warning(rows)


TINY = ["--epochs", "1", "--batch-size", "20", "--latent-dim", "2", "--hidden", "5"]


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of shapes in colour at 12×20."""
    run = tmp_path_factory.mktemp("sizes") / "run"
    size = ["--image-size", "12x20", "--precision", "fp32", "--snapshots", "0", "1"]
    found = dl_json(
        *("vae", "train", "--data", "shapes:60", "--arch", "conv", *size, *TINY, "--out", str(run))
    )
    assert (found["likelihood"], found["shape"]) == ("logistic", [12, 20, 3])
    return run


def test_a_runs_settings_are_complete_and_its_model_needs_nothing_else(colour_run: Path) -> None:
    saved = load_yaml(colour_run / "config.yaml")
    assert (saved["data"]["image_size"], saved["data"]["colour"]) == ("12x20", True)
    assert saved["objective"]["likelihood"] == "logistic"
    assert image_shape(resolve(VaeTrainConfig, [saved]).data) == (12, 20, 3)
    model = dlcli.load(colour_run)
    images = model.generate(5, seed=1)
    assert images.shape == (5, 12, 20, 3)
    assert model.reconstruct(images).shape == images.shape
    assert model.encode((images * 255).astype(np.uint8)).shape == (5, 2)
    with pytest.raises(ValueError, match=r"\(N, 12, 20, 3\)"):
        model.encode(images[..., 0])


def test_pictures_are_in_colour(colour_run: Path) -> None:
    for name in ("epoch-0001.png", "snapshots.png", "curves.png"):
        with Image.open(colour_run / "figures" / name) as picture:
            assert picture.width > 20
    with Image.open(colour_run / "figures/epoch-0001.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (160, 96))
    for words in (
        ["vae", "generate", "--n", "3", "--mean"],
        ["vae", "generate", "--n", "3", "--draw"],
        ["vae", "reconstruct", "--n", "3"],
        ["vae", "interpolate", "--image", "0", "1"],
        ["vae", "traverse", "--image", "1", "--steps", "3"],
        ["sample", "--n", "2", "--draws", "2"],
    ):
        found = dl_json(*words, "--run", str(colour_run), "--format", "png,npz")
        with np.load(found["files"][1]) as arrays:
            pictures = arrays["means"] if words[0] == "sample" else arrays["images"]
        assert pictures.shape[-3:] == (12, 20, 3)


def test_an_evaluation_has_an_nll_of_levels(colour_run: Path) -> None:
    words = ["--images", "5", "--k", "20", "--ais", "--ais-images", "2", "--ais-chains", "2"]
    found = dl_json(*("vae", "eval", str(colour_run), *words, "--ais-temperatures", "5"))
    assert found["nll"]["value"] <= -found["elbo"] + 1e-6
    assert (found["nll_binarized"], found["pixels"]) == (None, "colour")
    assert "size:12x20|pixels:colour|likelihood:logistic" in found["signature"]


def test_a_picture_file_is_reconstructed_at_the_size_of_the_run(
    colour_run: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (99, 77), (200, 10, 10)).save(tmp_path / "mine.jpg")
    out = tmp_path / "out.npz"
    mine, run = str(tmp_path / "mine.jpg"), ["--run", str(colour_run)]
    dl_json("vae", "reconstruct", "--image", mine, "--out", str(out), *run)
    with np.load(out) as arrays:
        assert arrays["inputs"].shape == (1, 12, 20, 3)
        assert arrays["inputs"][0, 5, 5] == pytest.approx(np.array([200, 10, 10]) / 255, abs=0.05)
    for wrong in ("nowhere.png", str(colour_run / "config.yaml")):
        for command, ends in (("reconstruct", 1), ("interpolate", 2), ("traverse", 1)):
            failed = dl("vae", command, "--image", *[wrong] * ends, *run)
            assert failed.exit_code in (1, 2)
            assert "cannot be read" in failed.stderr


def test_a_walk_starts_from_picture_files_as_from_test_images(
    colour_run: Path, tmp_path: Path
) -> None:
    pictures = load_images("shapes:60", size=(12, 20)).test[:2].numpy()
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for picture, file in zip(pictures, files, strict=True):
        Image.fromarray(picture).save(file)
    run = ["--run", str(colour_run), "--format", "npz"]
    for command, count in (("interpolate", 2), ("traverse", 1)):
        found = []
        for ends in (["0", "1"], files):
            made = dl_json("vae", command, "--image", *ends[:count], *run)
            with np.load(made["files"][0]) as arrays:
                found.append(arrays["z"])
        assert np.array_equal(*found)
        assert files[0] in made["label"]
        assert Path(made["files"][0]).name.endswith("-a-b.npz" if count == 2 else "-imagea.npz")


def test_a_stopped_run_of_colour_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    base = ["vae", "train", "--data", "shapes:40", "--image-size", "9", "--batch-size", "10"]
    base += ["--latent-dim", "2", "--arch", "conv", "--precision", "fp32"]
    dl_json(*base, "--epochs", "2", "--out", str(tmp_path / "whole"))
    dl_json(*base, "--epochs", "1", "--out", str(tmp_path / "part"))
    again = ["vae", "train", "--resume", str(tmp_path / "part"), "--epochs", "2"]
    dl_json(*again)
    whole, part = (dlcli.load(tmp_path / name).generate(3) for name in ("whole", "part"))
    assert np.array_equal(whole, part)


def test_a_folder_of_photos_is_one_command(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(24):
        size = tuple(noise.integers(20, 60, 2))
        pixels = noise.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number}.jpg")
    photos, run = str(tmp_path / "photos"), str(tmp_path / "run")
    failed = dl("vae", "train", "--data", photos, *TINY, "--out", run)
    assert failed.exit_code == 2
    assert "Add --image-size" in failed.stderr
    assert not Path(run).exists()
    (tmp_path / "photos/notes.txt").write_text("mine")
    words = ["--data", photos, "--image-size", "16", *TINY]
    done = dl("vae", "train", *words, "--seeds", "2", "--out", str(tmp_path / "seeds"))
    assert done.stderr.count("1 file without the ending of a picture passed over.") == 1
    found = dl_json("vae", "train", *words, "--out", run)
    assert found["data"].startswith(f"{photos}#")
    saved = load_yaml(RunFolder(Path(run)).config_file)["data"]
    assert (saved["name"], saved["image_size"]) == (found["data"], "16x16")
    again = ["--resume", run, "--data", photos, "--epochs", "2"]
    assert dl_json("vae", "train", *again)["epochs"] == 2
    Image.new("RGB", (30, 30)).save(tmp_path / "photos/new.png")
    failed = dl("vae", "reconstruct", "--run", run)
    assert failed.exit_code == DataError.exit_code
    assert "has changed" in failed.stderr
