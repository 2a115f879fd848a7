"""The other sides of the VAE benchmarks: the same networks in the way they are usually written.

Nothing here is tuned, and nothing is made slow on purpose.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.config import VaeModelConfig
from dlcli.vae.networks import VAE


class ExamplesVae(nn.Module):
    """The network of pytorch/examples, `vae/main.py`: 784-400-20, ReLU, sigmoid at the end."""

    latent_dim, skip = 20, False

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

    skip = False

    def __init__(self, config: VaeModelConfig) -> None:
        super().__init__()
        self.latent_dim = D = config.latent_dim
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


def examples_batches(root: str, *, images: int, batch_size: int) -> Iterable[Tensor]:
    """Read MNIST as pytorch/examples does: torchvision, `ToTensor` an image, a `DataLoader`."""
    from dlcli.data.vision import torchvision_module

    to_tensor = torchvision_module("torchvision.transforms").ToTensor()
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
