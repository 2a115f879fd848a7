"""Training speed of the VAE against the usual way of writing it, and what it costs in loss.

    DL_DATA_DIR=… python -m tests.benchmarks.vae_speed --arch mlp    # 784-400-20, batch 128
    DL_DATA_DIR=… python -m tests.benchmarks.vae_speed --arch conv   # the default, batch 64

The other side of `mlp` is pytorch/examples' program: images transformed one by one in a DataLoader,
eager float32. That of `conv` is the same network in plain layers, eager float32, from images in
memory. Nothing of them is tuned, and nothing is made slow on purpose. Our side is `dl vae train`.
Medians over alternating runs; evaluation and checkpoints are in nobody's time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.data.images import ImageData, load_images
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.networks import VAE, build_model
from tests.benchmarks.alternating import compare, precisions
from tests.cli.tiny import dl_json

WORDS = {"mlp": ["--hidden", "400", "--batch-size", "128"], "conv": ["--batch-size", "64"]}
PLAIN = {"mlp": "pytorch/examples", "conv": "eager fp32"}
IMAGES = {"mlp": 60_000, "conv": 12_800}
LOSS_EPOCHS = {"mlp": 5, "conv": 3}
NOISE_SAMPLES = 16


def main() -> None:
    """Read the command line and print both comparisons."""
    parser = argparse.ArgumentParser(description="Training speed of the VAE, and its loss.")
    parser.add_argument("--arch", choices=["mlp", "conv"], default="conv")
    parser.add_argument("--runs", type=int, default=5, help="alternating runs (5)")
    parser.add_argument("--images", type=int, help="images a run (60,000 or 12,800)")
    parser.add_argument("--loss-epochs", type=int, help="epochs of the loss comparison; 0: none")
    args = parser.parse_args()
    data = load_images("mnist", offline=True)
    compare_speed(args.arch, data, images=args.images, runs=args.runs)
    epochs = LOSS_EPOCHS[args.arch] if args.loss_epochs is None else args.loss_epochs
    if epochs:
        compare_loss(args.arch, data, epochs=epochs)


def compare_speed(arch: str, data: ImageData, *, images: int | None, runs: int) -> None:
    """Print images/s of all sides."""
    train = data.train[: images or IMAGES[arch]]
    sides = {PLAIN[arch]: Plain(arch, train=train).run}

    def ours(*words: str) -> float:
        rate: float = train_dl(arch, "--train-images", str(len(train)), *words)["images_per_s"]
        return rate

    for precision in precisions():
        sides[f"dl {precision}"] = partial(ours, "--precision", precision)
    print(f"{arch}: training, {len(train):,} images a run, {torch.get_num_threads()} threads")
    compare(sides, runs=runs, unit="images/s", against=PLAIN[arch])


def compare_loss(arch: str, data: ImageData, *, epochs: int) -> None:
    """Print the test −ELBO of all sides after some epochs at a constant learning rate."""
    print(f"{arch}: test -ELBO in nats after {epochs} epochs, constant rate, one seed")
    plain = Plain(arch, train=data.train)
    for _ in range(epochs):
        plain.run()
    print(f"{PLAIN[arch]}: {negative_elbo(plain.model, data.test):.2f}", flush=True)
    for precision in precisions():
        found = train_dl(arch, "--precision", precision, epochs=epochs)
        print(f"dl {precision}: {-found['test']['elbo']:.2f}", flush=True)


def train_dl(arch: str, *words: str, epochs: int = 1) -> dict[str, Any]:
    """Train by `dl vae train`, in this process and without validation; return its result."""
    train = ["vae", "train", "--data", "mnist", "--validation", "0", "--device", "cpu"]
    with TemporaryDirectory() as folder:
        length = ["--epochs", str(epochs), "--snapshots", "0", "--force", "--out", folder]
        return dl_json(*train, "--arch", arch, *WORDS[arch], *length, *words)


class Plain:
    """The other side: a network and its loop as they are usually written.

    Args:
        arch: `mlp` or `conv`.
        train: (N, 28, 28) uint8.
    """

    def __init__(self, arch: str, *, train: Tensor) -> None:
        torch.manual_seed(0)
        self.model: ExamplesVae | PlainConv
        self.batches: Iterable[Tensor]
        if arch == "mlp":
            self.model = ExamplesVae()
            self.batches = examples_batches(images=len(train), batch_size=128)
        else:
            config = VaeModelConfig(arch="conv")
            self.model = PlainConv(config).start_from(build_model(config))
            self.batches = MemoryBatches(train, batch_size=64)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def run(self) -> float:
        """Train one pass; return images/s."""
        return train_epoch(self.model, self.optimizer, self.batches)[1]


class ExamplesVae(nn.Module):
    """The network of pytorch/examples, `vae/main.py`: 784-400-20, ReLU, sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 400)
        self.fc21 = nn.Linear(400, 20)
        self.fc22 = nn.Linear(400, 20)
        self.fc3 = nn.Linear(20, 400)
        self.fc4 = nn.Linear(400, 784)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.fc4(F.relu(self.fc3(z)))

    def loss(self, x: Tensor) -> Tensor:
        mean, logvar = self.encode(x)
        std = torch.exp(0.5 * logvar)
        pixels = torch.sigmoid(self.decode(mean + torch.randn_like(std) * std))
        reconstruction = F.binary_cross_entropy(pixels, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
        return reconstruction + kl


class PlainConv(nn.Module):
    """The convolutional network of `dlcli.vae.networks`, layer by layer in one `nn.Sequential`.

    Its state has the same tensors in the same order as that of `VAE`.
    """

    def __init__(self, config: VaeModelConfig) -> None:
        super().__init__()
        D = config.latent_dim
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 28, 28))]
        for inputs, outputs in pairwise([1, *config.channels]):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        a, b, c = config.decoder_channels
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (D, 1, 1)),
            *(nn.ConvTranspose2d(D, a, 4, bias=False), nn.BatchNorm2d(a), nn.ReLU()),
            *(nn.ConvTranspose2d(a, b, 4, bias=False), nn.BatchNorm2d(b), nn.ReLU()),
            *(nn.ConvTranspose2d(b, c, 4, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()),
            nn.ConvTranspose2d(c, 1, 4, 2, 1),
            nn.Flatten(),
        )
        self.posterior = nn.Linear(config.channels[-1], 2 * D)

    def start_from(self, vae: VAE) -> PlainConv:
        """Take the weights of a `VAE` of the same sizes."""
        mine, theirs = self.state_dict(), vae.state_dict()
        self.load_state_dict(dict(zip(mine, theirs.values(), strict=True)))
        return self

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.posterior(self.encoder(x)).chunk(2, dim=1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def loss(self, x: Tensor) -> Tensor:
        mean, logvar = self.encode(x)
        std = torch.exp(0.5 * logvar)
        logits = self.decode(mean + torch.randn_like(std) * std)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return reconstruction - 0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())


def examples_batches(*, images: int, batch_size: int) -> Iterable[Tensor]:
    """Read MNIST as pytorch/examples does: torchvision, `ToTensor` an image, a `DataLoader`."""
    from dlcli.data.vision import torchvision_module

    to_tensor = torchvision_module("torchvision.transforms").ToTensor()
    root = os.environ["DL_DATA_DIR"]
    mnist = torchvision_module("torchvision.datasets.mnist").MNIST(root, transform=to_tensor)
    part = torch.utils.data.Subset(mnist, range(images))
    loader = torch.utils.data.DataLoader(part, batch_size=batch_size, shuffle=True)

    class Rows:
        def __iter__(self) -> Iterator[Tensor]:
            return (data.view(-1, 784) for data, _ in loader)

    return Rows()


class MemoryBatches:
    """Batches of images that lie in memory, in a new order at each pass.

    Args:
        images: (N, 28, 28) uint8.
        batch_size: images a batch; the last is short.
    """

    def __init__(self, images: Tensor, *, batch_size: int) -> None:
        self.rows = images.reshape(-1, 784).float() / 255
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for index in torch.randperm(len(self.rows)).split(self.batch_size):
            yield self.rows[index]


def train_epoch(
    model: ExamplesVae | PlainConv, optimizer: torch.optim.Optimizer, batches: Iterable[Tensor]
) -> tuple[float, float]:
    """Train one pass as pytorch/examples does; return mean loss in nats and images/s."""
    model.train()
    count, total, began = 0, 0.0, time.perf_counter()
    for x in batches:
        optimizer.zero_grad()
        loss = model.loss(x)
        (loss / len(x)).backward()
        total += loss.item()
        optimizer.step()
        count += len(x)
    return total / count, count / (time.perf_counter() - began)


@torch.inference_mode()
def negative_elbo(model: ExamplesVae | PlainConv, images: Tensor) -> float:
    """Return the mean loss in evaluation mode, in nats."""
    model.eval()
    batches = MemoryBatches(images, batch_size=500)
    total = sum(model.loss(x).item() for _ in range(NOISE_SAMPLES) for x in batches)
    return total / NOISE_SAMPLES / len(images)


if __name__ == "__main__":
    main()
