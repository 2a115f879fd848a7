"""How ambiguous generated images are (Questions 10 and 11), by a classifier.

`find_judge` trains the classifier once, on the real images and labels of a set alone, and keeps it:
three convolutions with batch normalisation, which err on fewer than 0.8% of MNIST's test digits.
`stream_ambiguity` lets it read real images and generated ones.

Legend: N images, B of a batch, M numbers of an image, K classes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.data.pixels import ImageData
from dlcli.data.storage import cache
from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.events import NoticeCallback
from dlcli.engine.seed import generator
from dlcli.errors import CheckpointError, RunFailed, UsageFault
from dlcli.vae.images import grey
from dlcli.vae.networks import VAE

SURE = 0.9
"""An image whose largest class probability is below this is ambiguous."""
DRAWN_BATCH = 1000
READING_BATCH = 500

KIND = "judge"
VERSION = 1
"""Of recipe and network: raised where either changes, so that no old judge is taken for a new."""
SEED = 0
EPOCHS = 4
BATCH = 100
PEAK_LR = 6e-3
SHIFT = 2
"""Training images are moved by up to this many pixels."""
UPDATES_OF_SMALL_SETS = 400
"""Small data sets are gone through more often."""


@dataclass(frozen=True, kw_only=True)
class Ambiguity:
    """Generated images as a judge reads them."""

    generated: Reading
    real: Reading
    """Of the data set's test images: what is ambiguous about them as such."""
    pixels: str
    """What was read: means of p(x|z), z from the prior."""
    judge_accuracy: float
    """On the data set's test images."""
    judge_data: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a judge makes of some images; shares are 0 to 1."""

    images: int
    entropy: float
    """Mean entropy of the judge's class probabilities, nats; log K at most, 2.30 for digits."""
    ambiguous: float
    """Share of images whose largest class probability is below 0.9."""
    ambiguous_std_error: float
    nearly_empty: float
    """Share of images with less ink than 99.5% of the real training images."""
    class_shares: tuple[float, ...]
    """How many images are read as each class."""

    @property
    def balance(self) -> float:
        """Entropy of the class shares over log K: 1 where all classes are equally frequent."""
        terms = [share * math.log(share) for share in self.class_shares if share > 0]
        return -math.fsum(terms) / math.log(len(self.class_shares))


@torch.inference_mode()
def stream_ambiguity(
    model: VAE,
    judge: Judge,
    *,
    real: Tensor,
    count: int,
    seed: int,
) -> Iterator[Ambiguity]:
    """Let the judge read real images, then images generated now.

    Args:
        model: in evaluation mode.
        judge: trained on the model's data set.
        real: test images, (N, M) uint8.
        count: images to generate.
        seed: of their latents.

    Yields:
        What is known after each batch.
    """
    device = next(model.parameters()).device
    stream = generator(seed, "ambiguity")
    summarize = functools.partial(summarize_reading, least_ink=judge.least_ink)
    baseline = summarize(judge.read(real), ink=ink_of(real))
    log_probs, inks = [], []
    for start in range(0, count, DRAWN_BATCH):
        size = min(DRAWN_BATCH, count - start)
        z = torch.randn(size, model.latent_dim, generator=stream)
        logits = model.decode(z.to(device)).float().cpu()
        pixels = model.likelihood.mean(logits)
        log_probs.append(judge.read(pixels))
        inks.append(ink_of(pixels))
        yield Ambiguity(
            generated=summarize(torch.cat(log_probs), ink=torch.cat(inks)),
            real=baseline,
            pixels="mean of p(x|z)",
            judge_accuracy=judge.accuracy,
            judge_data=judge.data,
        )


def summarize_reading(log_probs: Tensor, *, ink: Tensor, least_ink: float) -> Reading:
    """Summarise a judge's log class probabilities (N, K) and the images' ink (N,)."""
    N, K = log_probs.shape
    wide = log_probs.double()
    probs = wide.exp()
    share = float((probs.max(1).values < SURE).double().mean())
    shares = torch.bincount(probs.argmax(1), minlength=K).double() / N
    return Reading(
        images=N,
        entropy=float(-torch.special.xlogy(probs, probs).sum(1).mean()),
        ambiguous=share,
        ambiguous_std_error=math.sqrt(share * (1 - share) / N),
        nearly_empty=float((ink < least_ink).double().mean()),
        class_shares=tuple(shares.tolist()),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """A trained judge."""

    network: nn.Module
    data: str
    accuracy: float
    """On the data set's test images, 0 to 1."""
    least_ink: float
    """The 0.5th percentile of ink (sum of the pixels) among training images."""
    shape: tuple[int, ...]
    """Of an image, (H, W) or (H, W, 3)."""

    @torch.inference_mode()
    def read(self, pixels: Tensor) -> Tensor:
        """Return log class probabilities (N, K) of pixels (N, M), bytes or floats in [0, 1]."""
        parts = torch.split(pixels.reshape(-1, *self.shape), READING_BATCH)
        logits = (self.network(maps_of(_floats(part))) for part in parts)
        return torch.cat([F.log_softmax(part, dim=1) for part in logits])


def ink_of(pixels: Tensor) -> Tensor:
    """Sum the pixels of each image, (N,) float64, of pixels (N, M), bytes or floats in [0, 1]."""
    parts = torch.split(pixels, READING_BATCH)  # a sum in float64 copies its bytes
    total = torch.cat([part.sum(1, dtype=torch.float64) for part in parts])
    return total / 255 if pixels.dtype == torch.uint8 else total


def _floats(pixels: Tensor) -> Tensor:
    return grey(pixels) if pixels.dtype == torch.uint8 else pixels


def find_judge(data: ImageData, *, notice: NoticeCallback) -> Judge:
    """Return the judge of a data set: from the cache, or trained now and kept there.

    Args:
        data: images with labels.
        notice: called with a sentence where training begins.

    Raises:
        UsageFault: the set has no labels.
    """
    require_labels(data)
    path = judge_file(data.name, shape=data.shape)
    try:
        return _read(path, name=data.name, shape=data.shape)
    except CheckpointError:
        notice(f"Training a judge of {data.name}, once: a minute or two on a CPU.")
        judge = train_judge(data)
        _keep(judge, path, notice=notice)
        return judge


def require_labels(data: ImageData) -> None:
    """Refuse a set that no judge can be trained on.

    Raises:
        UsageFault: it has no labels, or one class only.
    """
    labels = data.train_labels
    if labels is None or data.test_labels is None or not bool((labels != labels[0]).any()):
        found = "no labels" if labels is None or data.test_labels is None else "only one class"
        raise UsageFault(
            f"{data.name} has {found} to train a judge on.",
            hint="Leave out --judge, or sort the images into folders, one a class.",
        )


def _read(path: Path, *, name: str, shape: tuple[int, ...]) -> Judge:
    state = load_checkpoint(path, kind=KIND)
    try:
        *_, bias = state["model"].values()
        network = JudgeNetwork(shape, classes=len(bias))
        network.load_state_dict(state["model"])
        accuracy, least_ink = float(state["accuracy"]), float(state["least_ink"])
        known = state["data"] == name
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError):
        known = False
    if not known:
        raise CheckpointError(f"{path} is no judge of {name}.", hint="It will be trained again.")
    return Judge(
        network=network.eval(), data=name, accuracy=accuracy, least_ink=least_ink, shape=shape
    )


def _keep(judge: Judge, path: Path, *, notice: NoticeCallback) -> None:
    state = {
        "model": judge.network.state_dict(),
        "data": judge.data,
        "accuracy": judge.accuracy,
        "least_ink": judge.least_ink,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(path, state, kind=KIND)
    except (OSError, RunFailed) as error:
        notice(f"The judge could not be kept at {path}: {error}")


def judge_file(name: str, *, shape: tuple[int, ...]) -> Path:
    """Return where the judge of a data set is kept: under its name, of another size beside it."""
    of = name if shape == (28, 28) else f"{name} {shape}"
    digest = hashlib.sha256(of.encode()).hexdigest()[:12]
    return cache().path.parent / "judges" / f"{digest}-v{VERSION}.pt"


def train_judge(data: ImageData, *, epochs: int = EPOCHS, seed: int = SEED) -> Judge:
    """Train a judge; torch's global random state is left as it was.

    Args:
        data: training images with labels, and test images to measure the accuracy on.
        epochs: passes over the training images; more where they are few.
        seed: of weights, order and shifts.

    Raises:
        RunFailed: there are fewer than two training images.
        UsageFault: the set has no labels.
    """
    if len(data.train) < 2:
        raise RunFailed(
            f"{data.name} has too few images to train a judge.", hint="Use a larger data set."
        )
    require_labels(data)
    assert data.train_labels is not None
    assert data.test_labels is not None
    classes = 1 + int(max(data.train_labels.max(), data.test_labels.max()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = JudgeNetwork(data.shape, classes=classes)
    _fit(network, data.train, data.train_labels, epochs=epochs, seed=seed)
    network.eval()
    least_ink = float(ink_of(data.train.flatten(1)).quantile(0.005))
    judge = Judge(
        network=network, data=data.name, accuracy=0.0, least_ink=least_ink, shape=data.shape
    )
    found = judge.read(data.test).argmax(1)
    accuracy = float((found == data.test_labels).double().mean())
    return dataclasses.replace(judge, accuracy=accuracy)


class JudgeNetwork(nn.Sequential):
    """Pixels (B, 1 or 3, H, W) in [0, 1] → logits (B, K).

    Args:
        shape: of an image, (H, W) or (H, W, 3).
        classes: K.
    """

    def __init__(self, shape: tuple[int, ...], *, classes: int) -> None:
        channels = 3 if len(shape) == 3 else 1
        super().__init__(*_block(channels, 16), *_block(16, 32), *_block(32, 64), nn.Flatten())
        self.append(nn.Linear(64 * (shape[0] // 8) * (shape[1] // 8), classes))


def maps_of(images: Tensor) -> Tensor:
    """View images (B, H, W) or (B, H, W, 3) as maps (B, 1 or 3, H, W)."""
    return images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def _fit(network: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, seed: int) -> None:
    """Run one cycle of learning rates (Smith & Topin 2019), every batch shifted as a whole."""
    N = len(images)
    per_epoch = max(1, N // BATCH)
    epochs = max(epochs, -(-UPDATES_OF_SMALL_SETS // per_epoch))
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PEAK_LR, total_steps=epochs * per_epoch
    )
    network.train()
    for epoch in range(epochs):
        stream = generator(seed, "judge", epoch)
        order = torch.randperm(N, generator=stream)
        shifts = torch.randint(-SHIFT, SHIFT + 1, (per_epoch, 2), generator=stream).tolist()
        for step, shift in enumerate(shifts):
            rows = order[step * BATCH : (step + 1) * BATCH]
            x = maps_of(grey(torch.roll(images[rows], shift, dims=(1, 2))))
            loss = F.cross_entropy(network(x), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
