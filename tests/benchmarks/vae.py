"""Training speed of the VAE against the usual way of writing it.

The other side of `vae-mlp` is pytorch/examples' program: images transformed one by one in a
DataLoader, eager float32. That of `vae-conv` is the same network in plain layers, eager float32,
from images in memory. Nothing of them is tuned, and nothing is made slow on purpose. Ours is
`dl vae train`. Evaluation and checkpoints count for neither side.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.data.images import load_images
from dlcli.data.vision import torchvision_module
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.networks import VAE, build_model
from tests.benchmarks.table import Comparison, Options, Side, precisions
from tests.cli.tiny import dl_json

ONE_EPOCH = ["--epochs", "1", "--validation", "0", "--snapshots", "0", "--device", "cpu", "--force"]


def mlp(options: Options) -> Iterator[Comparison]:
    """Train the MLP VAE: 784-400-20, batches of 128, against pytorch/examples."""
    data, images = load(256 if options.quick else 12_800, quick=options.quick)
    model, batches = ExamplesVae(), examples_batches(images, batch_size=128)
    peer = Side(name="pytorch/examples", run=partial(train, model, batches))
    words = ["--arch", "mlp", "--hidden", "400", "--batch-size", "128"]
    yield training("MLP VAE training", words, data=data, images=len(images), peer=peer)


def conv(options: Options) -> Iterator[Comparison]:
    """Train the default convolutional VAE, batches of 64, against the same in plain layers."""
    data, images = load(64 if options.quick else 3_200, quick=options.quick)
    config = VaeModelConfig(arch="conv")
    model = PlainConv(config).start_from(build_model(config))
    batches = MemoryBatches(images, batch_size=64)
    peer = Side(name="plain layers, eager fp32", run=partial(train, model, batches))
    words = ["--arch", "conv", "--batch-size", "64"]
    yield training("conv VAE training", words, data=data, images=len(images), peer=peer)


SIZES = [
    "--channels 16 32 64 128 --decoder-channels 128 64 32",
    "--channels 8 16 64 128 --decoder-channels 128 64 16",
    "--channels 16 32 64 128 --decoder-channels 128 32 16",
    "--channels 8 16 48 128 --decoder-channels 96 48 16",
    "--channels 8 16 32 128 --decoder-channels 128 32 16",
    "--channels 8 16 32 128 --decoder-channels 64 32 16",
]
"""Feature maps of encoder and decoder: those of version 0.1.0, and what was tried beside them."""


def sizes(options: Options) -> Iterator[Comparison]:
    """Train convolutional VAEs of several sizes, against the default of version 0.1.0."""
    images = 64 if options.quick else 3_200
    common = ["--arch", "conv", "--precision", "fp32"]
    peer, *sides = (
        dl_side([*common, *flags.split()], data=f"glyphs:{images}", images=images)
        for flags in SIZES
    )
    yield Comparison(work="sizes of the conv VAE", unit="images/s", sides=sides, peer=peer)


def load(count: int, *, quick: bool) -> tuple[str, Tensor]:
    """Return a name for `--data` and its first training images, (N, 28, 28) uint8."""
    name = f"glyphs:{count}" if quick else "mnist"
    return name, load_images(name, offline=True).train[:count]


def training(work: str, words: Sequence[str], *, data: str, images: int, peer: Side) -> Comparison:
    """Return a comparison with `dl vae train` in each precision."""
    sides = [
        dl_side([*words, "--precision", one], data=data, images=images) for one in precisions()
    ]
    return Comparison(work=work, unit="images/s", sides=sides, peer=peer)


def dl_side(words: Sequence[str], *, data: str, images: int) -> Side:
    """Return `dl vae train` with some words, for one epoch, as a side of a comparison."""
    # The threads are those of the peer, and not those that are free.
    where = ["--data", data, "--train-images", str(images), "--threads"]
    where.append(str(torch.get_num_threads()))

    def run() -> float:
        with TemporaryDirectory() as folder:
            found = dl_json("vae", "train", *words, *where, *ONE_EPOCH, "--out", folder)
        speed: float = found["images_per_s"]
        return speed

    return Side(name=f"dl vae train {' '.join(words)}", run=run)


def train(model: ExamplesVae | PlainConv, batches: Iterable[Tensor]) -> float:
    """Train one pass with a new optimiser; return images/s."""
    return train_epoch(model, torch.optim.Adam(model.parameters(), lr=1e-3), batches)[1]


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


def examples_batches(images: Tensor, *, batch_size: int) -> Iterable[Tensor]:
    """Read images as pytorch/examples does: torchvision, `ToTensor` an image, a `DataLoader`."""
    mnist = torchvision_module("torchvision.datasets.mnist").MNIST
    data = mnist.__new__(mnist)  # its reading of an image, without its reading of files
    data.data, data.targets, data.target_transform = images, torch.zeros(len(images)), None
    data.transform = torchvision_module("torchvision.transforms").ToTensor()
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=True)

    class Rows:
        def __iter__(self) -> Iterator[Tensor]:
            return (x.view(-1, 784) for x, _ in loader)

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


BENCHMARKS = {"vae-mlp": mlp, "vae-conv": conv, "vae-sizes": sizes}
