"""Training speed of the VAE against the usual way of writing it, and what it costs in loss.

    DL_DATA_DIR=… python -m tests.benchmarks.vae_speed --arch mlp    # 784-400-20, batch 128
    DL_DATA_DIR=… python -m tests.benchmarks.vae_speed --arch conv   # the default, batch 64

The other side of `mlp` is pytorch/examples' program: images transformed one by one in a DataLoader,
eager float32. That of `conv` is the same network in plain layers, eager float32, from images in
memory. Our sides go through the engine's own loop. Medians over alternating runs; evaluation and
checkpoints are in nobody's time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from dlcli.data.images import ImageData, load_images
from dlcli.engine.config import merge, resolve
from dlcli.engine.device import prepare
from dlcli.engine.events import Evaluated, Finished
from dlcli.engine.loop import Plan, Training
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.evaluation import evaluate
from dlcli.vae.networks import VAE, build_model
from dlcli.vae.objective import VaeNetwork
from dlcli.vae.training import VaeLearner
from tests.benchmarks.alternating import alternate, report
from tests.benchmarks.plain import (
    ExamplesVae,
    MemoryBatches,
    PlainConv,
    examples_batches,
    train_epoch,
)

SETTINGS = {
    "mlp": {"model": {"arch": "mlp", "hidden": [400]}, "loop": {"batch_size": 128}},
    "conv": {"model": {"arch": "conv"}, "loop": {"batch_size": 64}},
}
PLAIN = {"mlp": "pytorch/examples", "conv": "eager fp32"}
LOSS_EPOCHS = {"mlp": 5, "conv": 3}
IMAGES = {"mlp": 60_000, "conv": 12_800}


class Ours:
    """One VAE and its trainings through the engine's loop.

    Args:
        arch: `mlp` or `conv`.
        precision: `fp32` or `bf16`.
        train: (N, 28, 28) uint8.
        seed: of weights, order and noise.
        compiled: whether to use `torch.compile`.
    """

    def __init__(
        self, arch: str, *, precision: str, train: Tensor, seed: int = 0, compiled: bool = False
    ) -> None:
        self.settings = merge(
            SETTINGS[arch], {"compute": {"precision": precision, "seed": seed, "device": "cpu"}}
        )
        self.train, self.compiled = train, compiled
        torch.manual_seed(seed)
        config = self.config(epochs=1)
        self.network = VaeNetwork(build_model(config.model), objective=config.objective)

    @property
    def vae(self) -> VAE:
        return self.network.vae

    def config(self, *, epochs: int) -> VaeTrainConfig:
        return resolve(VaeTrainConfig, [self.settings, {"loop": {"epochs": epochs}}])

    def run(self, *, epochs: int = 1, each: Callable[[VAE], None] | None = None) -> float:
        """Train with a new optimiser; return images/s as a run reports it."""
        config = self.config(epochs=epochs)
        learner = VaeLearner(
            self.network,
            train=self.train,
            validation=self.train[:0],
            config=config,
            device=torch.device("cpu"),
        )
        plan = Plan(
            optim=config.optim,
            loop=config.loop,
            compute=prepare(config.compute),
            seed=config.compute.seed,
            compiled=self.compiled,
        )
        for event in Training(learner, plan=plan).events():
            if isinstance(event, Evaluated) and each is not None:
                each(self.vae)
            if isinstance(event, Finished):
                return event.rate
        raise AssertionError("a training ends with Finished")


class Plain:
    """The other side: a network and its loop as they are usually written.

    Args:
        arch: `mlp` or `conv`.
        train: (N, 28, 28) uint8.
        root: the data folder.
        seed: of the weights; for `conv` they are those of our side.
    """

    def __init__(self, arch: str, *, train: Tensor, root: str, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model: ExamplesVae | PlainConv
        self.batches: Iterable[Tensor]
        if arch == "mlp":
            self.model = ExamplesVae()
            self.batches = examples_batches(root, images=len(train), batch_size=128)
        else:
            config = resolve(VaeTrainConfig, [SETTINGS[arch]]).model
            vae = build_model(config)
            self.model = PlainConv(config).start_from(vae)
            self.batches = MemoryBatches(train, batch_size=64)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def run(self) -> float:
        """Train one pass; return images/s."""
        return train_epoch(self.model, self.optimizer, self.batches)[1]


def negative_elbo(model: object, images: Tensor) -> float:
    """Return the test −ELBO in nats, over 16 noise samples that are the same for every model."""
    generator = torch.Generator().manual_seed(0)
    return -evaluate(model, images, generator=generator).elbo  # type: ignore[arg-type]


def compare_speed(arch: str, data: ImageData, *, root: str, args: argparse.Namespace) -> None:
    """Print images/s of all sides."""
    train = data.train[: args.images or IMAGES[arch]]
    sides = {
        PLAIN[arch]: Plain(arch, train=train, root=root).run,
        "dl fp32": Ours(arch, precision="fp32", train=train).run,
        "dl bf16": Ours(arch, precision="bf16", train=train).run,
    }
    if args.compile:
        for precision in ("fp32", "bf16"):
            ours = Ours(arch, precision=precision, train=train, compiled=True)
            sides[f"dl {precision} compiled"] = ours.run
    print(f"{arch}: training, {len(train):,} images a run, {torch.get_num_threads()} threads")
    found = alternate(sides, runs=args.runs)
    report(found, unit="images/s", against=PLAIN[arch], faster=True)


def compare_loss(arch: str, data: ImageData, *, root: str, epochs: int) -> None:
    """Print the test −ELBO after each epoch of all sides, at a constant learning rate."""
    curves: dict[str, list[float]] = {}
    plain = Plain(arch, train=data.train, root=root)
    curve = curves[PLAIN[arch]] = []
    for _ in range(epochs):
        plain.run()
        curve.append(negative_elbo(plain.model, data.test))
    for precision in ("fp32", "bf16"):
        curve = curves[f"dl {precision}"] = []
        look = partial(_look, curve, data.test)
        Ours(arch, precision=precision, train=data.train).run(epochs=epochs, each=look)
    print(f"{arch}: test -ELBO in nats after each of {epochs} epochs, constant rate, one seed")
    for name, curve in curves.items():
        behind = curve[-1] - curves[PLAIN[arch]][-1]
        print(f"{name:20}", *(f"{value:7.2f}" for value in curve), f"  {behind:+.2f} at the end")


def _look(curve: list[float], images: Tensor, vae: VAE) -> None:
    curve.append(negative_elbo(vae, images))


def main() -> None:
    """Read the command line and print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", choices=["mlp", "conv"], default="conv")
    parser.add_argument("--runs", type=int, default=5, help="alternating runs (5)")
    parser.add_argument("--images", type=int, default=0, help="images a run (60,000 or 12,800)")
    parser.add_argument("--loss-epochs", type=int, help="epochs of the loss comparison; 0: none")
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    parser.add_argument("--threads", type=int, default=0, help="torch's own choice by default")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    data, root = load_images("mnist", offline=True), os.environ["DL_DATA_DIR"]
    compare_speed(args.arch, data, root=root, args=args)
    epochs = LOSS_EPOCHS[args.arch] if args.loss_epochs is None else args.loss_epochs
    if epochs:
        compare_loss(args.arch, data, root=root, epochs=epochs)


if __name__ == "__main__":
    main()
