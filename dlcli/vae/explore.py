"""`dl vae explore`: a page in which the trained network itself runs, to play with.

The page gets the layers of encoder, decoder and flow with their weights as base64 float16, batch
normalisation folded into the layers before it, and test images with their latents. In `pages/` is
what runs in the browser: `networks.js` computes what the layers below say.

The exporter claims the exact modules it was written for and refuses others.

Legend: N images, D latent dimensions, C feature maps, H × W pixels.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from dlcli.data.pixels import fitted
from dlcli.display.images import png_bytes
from dlcli.display.page import assemble, templates
from dlcli.engine.events import NoticeCallback
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.vae.generation import latent_weights, posterior_means, prior_latents
from dlcli.vae.images import images_of, pick_test_images
from dlcli.vae.likelihood import Likelihood, Logistic
from dlcli.vae.networks import (
    LOGVAR_RANGE,
    MOST_LOG_SCALE,
    VAE,
    ConvDecoder,
    ConvEncoder,
    Flow,
    MlpDecoder,
    MlpEncoder,
)
from dlcli.vae.trained import Trained, describe, with_true_data

PAGES = Path(__file__).parent / "pages"
MOST_IMAGES = 1000
"""Test images whose latents the page shows."""
LARGEST_TILE = 32
"""Pixels of the longer side up to which the page has the test images, beyond it thumbnails."""
SIZE_HINT = "A page holds all weights: a smaller network makes a smaller one."

Fields = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExplorePage:
    """The page of a trained VAE."""

    text: str
    images: int
    """Test images in it; 0 where none can be had."""
    signature: str


def explore_page(
    trained: Trained, *, command: str, offline: bool = False, notice: NoticeCallback
) -> ExplorePage:
    """Make the page of a trained VAE.

    Args:
        trained: its run.
        command: that makes the page again.
        offline: never use the network for test images.
        notice: called with a sentence where the user should know something.

    Raises:
        UsageFault: the page cannot run a network of this kind.
    """
    model = rounded(trained.model)
    trained = dataclasses.replace(trained, model=model)
    layers = network(model)
    tests: TestSet | None = None
    try:
        tests = _test_set(trained, offline=offline, notice=notice)
        start = tests.z[0]
    except (ConfigError, DataError) as error:
        notice(f"{error.message} The page has no test images.")
        start = prior_latents(model, count=1, generator=generator(0, "explore"))[0]
    weights, is_kl = latent_weights(trained, start)
    H, W, *three = model.shape
    is_bernoulli = model.likelihood.name == "bernoulli"
    signature = describe(
        trained.config, data=trained.config.data.name, checkpoint=trained.checkpoint, weights="fp16"
    )
    data = {
        **layers,
        "shape": [H, W, 3 if three else 1],
        "sees": "grey" if trained.is_grey or not is_bernoulli else "black and white",
        "likelihood": _likelihood(model.likelihood),
        "start": start,
        "weights": weights,
        "is_kl": is_kl,
        "tests": tests and tests.fields(),
    }
    template = templates(PAGES).get_template("explore.html.j2")
    name = trained.run.path.name
    body = template.render(
        name=name,
        config=trained.config,
        likelihood=model.likelihood.title,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        command=command,
        signature=signature.replace("|", "|\u200b"),
        tests=tests,
        is_colour=bool(three),
        is_bernoulli=is_bernoulli,
        is_grey=trained.is_grey,
        has_flow=model.flow is not None,
        D=model.latent_dim,
    )
    text = assemble(
        Markup(body),
        title=f"{name}: explore its latent space",
        description="A trained variational auto-encoder that runs in this page.",
        styles=[PAGES / "explore.css"],
        script=PAGES / "explore.js",
        data=data,
    )
    return ExplorePage(text=text, images=tests.count if tests else 0, signature=signature)


def rounded(model: VAE) -> VAE:
    """Return the network that the page runs: batch normalisation folded in, weights in float16.

    The numbers are those of float16, kept as float32.
    """
    found = copy.deepcopy(model).double().eval()
    if isinstance(found.encoder, ConvEncoder):
        for stage in found.encoder.stages:
            assert isinstance(stage, nn.Module)
            _fold(stage, "conv", "norm")
        dense = found.encoder.dense
        for name, layer in dense.named_children():
            if isinstance(layer, nn.Linear):
                _fold(dense, name, str(int(name) + 1))
    if isinstance(found.decoder, ConvDecoder):
        for key in found.decoder.keys[:-1]:
            _fold(found.decoder, f"to{key}", f"norm{key}")
    for parameter in found.parameters():
        parameter.data = parameter.data.half().double()
    return found.float()


def _fold(parent: nn.Module, layer_name: str, norm_name: str) -> None:
    """Fold a batch normalisation, if it is one, into the layer before it."""
    layer, norm = parent.get_submodule(layer_name), parent.get_submodule(norm_name)
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        return
    if isinstance(layer, nn.Linear):
        parent.register_module(layer_name, fuse_linear_bn_eval(layer, norm))
    else:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        transpose = isinstance(layer, nn.ConvTranspose2d)
        parent.register_module(layer_name, fuse_conv_bn_eval(layer, norm, transpose=transpose))
    parent.register_module(norm_name, nn.Identity())


def network(model: VAE) -> Fields:
    """Describe a network of `rounded` as `networks.js` reads it.

    Raises:
        UsageFault: it has modules that the page does not know.
    """
    encoder, decoder = model.encoder, model.decoder
    if type(model) is not VAE:
        raise UsageFault(
            "The decoder of this run also sees the encoder's feature maps, which latents do not "
            "say.",
            hint="Choose a run without --skip.",
        )
    if type(encoder) is MlpEncoder:
        features = list(_perceptron(encoder.layers))
    elif type(encoder) is ConvEncoder:
        features = list(_conv_encoder(encoder))
    else:
        raise _unknown(encoder)
    if type(decoder) is MlpDecoder:
        layers = list(_perceptron(decoder.layers))
    elif type(decoder) is ConvDecoder:
        layers = list(_conv_decoder(decoder))
    else:
        raise _unknown(decoder)
    return {
        "latent_dim": model.latent_dim,
        "logvar_range": LOGVAR_RANGE,
        "encoder": [*features, _linear(model.posterior)],
        "decoder": layers,
        "flow": None if model.flow is None else _flow(model.flow),
    }


def _unknown(module: nn.Module) -> UsageFault:
    return UsageFault(
        f"The page cannot run a {type(module).__name__}.",
        hint="It runs the networks of --arch mlp and --arch conv.",
    )


def _perceptron(layers: nn.Module) -> Iterator[Fields]:
    """Yield linear layers, each with the ReLU that follows it."""
    plain = (nn.Sequential, nn.Identity)
    modules = [one for one in layers.modules() if type(one) not in plain]
    for module, after in zip(modules, [*modules[1:], None], strict=True):
        if type(module) is nn.Linear:
            yield _linear(module, relu=type(after) is nn.ReLU)
        elif type(module) is not nn.ReLU:
            raise _unknown(module)


def _linear(layer: nn.Linear, *, relu: bool = False) -> Fields:
    return {"kind": "linear", "relu": relu, **_packed(layer.weight.t(), layer.bias)}


def _conv_encoder(encoder: ConvEncoder) -> Iterator[Fields]:
    H, W, _ = encoder.shape
    C = 0
    for stage in encoder.stages:
        conv = stage.get_submodule("conv")
        assert isinstance(conv, nn.Conv2d)
        weight = conv.weight.permute(2, 3, 1, 0)  # (3, 3, C, C')
        yield {"kind": "conv", "size": [H, W], "relu": True, **_packed(weight, conv.bias)}
        C, H, W = conv.out_channels, H // 2, W // 2
    if encoder.pooled:
        if H * W > 1:
            yield {"kind": "amax", "relu": False, "channels": C}
        return
    dense = copy.deepcopy(encoder.dense)
    first = next(one for one in dense if isinstance(one, nn.Linear))
    maps = first.weight.data.view(-1, C, H, W)  # the page has channels last
    first.weight.data = maps.permute(0, 2, 3, 1).flatten(1)
    yield from _perceptron(dense)


def _conv_decoder(decoder: ConvDecoder) -> Iterator[Fields]:
    H = W = 1
    for key in decoder.keys:
        layer = decoder.get_submodule(f"to{key}")
        assert isinstance(layer, nn.ConvTranspose2d)
        origin = [H, W]
        (tall, broad), (stride, _), (more, wider) = (
            (int(pair[0]), int(pair[1]))
            for pair in (layer.kernel_size, layer.stride, layer.output_padding)
        )
        up, left = (int(side) for side in layer.padding)
        H = (H - 1) * stride - 2 * up + tall + more
        W = (W - 1) * stride - 2 * left + broad + wider
        yield {
            "kind": "transposed",
            "from": origin,
            "size": [H, W],
            "kernel": [tall, broad],
            "stride": stride,
            "padding": [up, left],
            "relu": key != decoder.keys[-1],
            **_packed(layer.weight.permute(2, 3, 0, 1), layer.bias),  # (kernel, C, C')
        }


def _flow(flow: Flow) -> Fields:
    couplings = [list(_perceptron(one.get_submodule("network"))) for one in flow.couplings]
    return {"couplings": couplings, "most_log_scale": MOST_LOG_SCALE}


def _packed(weight: Tensor, bias: Tensor | None) -> Fields:
    """Write weights, their output channels last, and biases."""
    assert bias is not None
    return {"weight": base64_halves(weight), "bias": base64_halves(bias)}


def base64_halves(values: Tensor) -> str:
    """Write numbers as base64 of little-endian float16."""
    content = values.detach().contiguous().numpy().astype("<f2").tobytes()
    return base64.b64encode(content).decode()


def _likelihood(likelihood: Likelihood) -> Fields:
    """Describe p(x|z); the logistic with the scale s of each channel."""
    scales = []
    if isinstance(likelihood, Logistic):
        scales = (likelihood.PACE * likelihood.scale.detach()).exp().tolist()
    return {"name": likelihood.name, "scales": scales}


@dataclass(frozen=True, kw_only=True, eq=False)
class TestSet:
    """The first test images of a run's data set, and where the encoder puts them."""

    __test__ = False  # not a test case, whatever its name says to pytest

    images: Tensor
    """(N, H, W) or (N, H, W, 3) uint8."""
    labels: list[int] | None
    z: Tensor
    """(N, D)."""
    whole: bool
    """Whether the images are of their own size; else they are thumbnails."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.images)

    def fields(self) -> Fields:
        """Describe them: one PNG of all, as many a row as there are rows, from the left."""
        return {
            "count": self.count,
            "tile": list(self.images.shape[1:3]),
            "sheet": base64.b64encode(png_bytes(self.images)).decode(),
            "whole": self.whole,
            "labels": self.labels,
            "z": base64_halves(self.z),
            "principal": principal_axes(self.z),
        }


def _test_set(trained: Trained, *, offline: bool, notice: NoticeCallback) -> TestSet:
    """Load test images, by number from 0, and encode them.

    Raises:
        ConfigError, DataError: they cannot be had.
    """
    config = trained.config
    data = dataclasses.replace(config.data, offline=offline or config.data.offline)
    trained = dataclasses.replace(trained, config=dataclasses.replace(config, data=data))
    trained = with_true_data(trained, notice=notice)
    data = trained.config.data
    found = images_of(data, notice=notice)
    numbers = range(min(MOST_IMAGES, len(found.test)))
    images = pick_test_images(data, numbers, notice=notice)
    H, W = images.shape[1:3]
    shrink = max(1.0, max(H, W) / LARGEST_TILE)
    tile = (max(1, round(H / shrink)), max(1, round(W / shrink)))
    return TestSet(
        images=fitted(images, size=tile, colour=None),
        labels=None if found.test_labels is None else found.test_labels[: len(numbers)].tolist(),
        z=posterior_means(trained, numbers, notice=notice),
        whole=shrink == 1,
    )


def principal_axes(z: Tensor) -> list[list[float]]:
    """Return the two directions of latents (N, D) in which they vary most, each of length 1.

    None where there are fewer than three latents or images, for which they show nothing new.
    """
    N, D = z.shape
    if D < 3 or N < 3:
        return []
    _, _, axes = torch.linalg.svd((z - z.mean(0)).double(), full_matrices=False)
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    found: list[list[float]] = (axes * signs)[:2].tolist()
    return found
