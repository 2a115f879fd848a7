"""What the training loop sees of a VAE: batches of pixels and noise, and an evaluation.

Everything random is drawn for the global batch from generators named by (seed, epoch, batch), and
each process takes its rows: how many processes there are, and where a run was stopped, changes
nothing. The images live on the device as one uint8 tensor (MNIST: 47 MB); a batch is one gather.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from dlcli.engine.learner import Batch
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.evaluation import LatentUse, evaluate, latent_use
from dlcli.vae.objective import ChoosingNoise, VaeNetwork, beta_at
from dlcli.vae.pixels import binarize, flat, grey, threshold_draws

WATCHED_IMAGES = 1000
"""Training images whose latents are watched where there is no validation data."""

Bounds = list[tuple[int, int]]


def plan_batches(images: int, *, batch_size: int, least: int = 1) -> Bounds:
    """Cut an epoch of `images` into batches: (start, stop) positions in the epoch's order.

    The last batch is short; where it has fewer than `least` images it joins the one before.
    """
    starts = list(range(0, images, batch_size))
    if len(starts) > 1 and images - starts[-1] < least:
        starts.pop()
    return list(zip(starts, [*starts[1:], images], strict=True))


def plan_epoch(config: VaeTrainConfig, *, images: int, processes: int = 1) -> Bounds:
    """Cut an epoch into batches that batch normalisation, where it is on, can live with.

    Raises:
        ConfigError: there are no images, or too few in a batch.
    """
    if images < 1:
        raise ConfigError(
            "There are no images to train on.",
            hint="Lower --validation, or choose a larger --train-images.",
        )
    # Statistics of a lone image are its own contrast, which they would normalise away.
    least = 2 * processes if config.model.arch == "conv" and config.model.norm == "batch" else 1
    plan = plan_batches(images, batch_size=config.loop.batch_size, least=least)
    smallest = min(last - first for first, last in plan)
    if smallest < least:
        raise ConfigError(
            f"Batch normalisation needs at least 2 images a batch in each process, and {processes} "
            f"would share a batch of {smallest}.",
            hint="Raise --batch-size or --train-images, or use --norm none.",
        )
    return plan


def share(count: int, *, rank: int, world: int) -> tuple[int, int]:
    """Return the rows (start, stop) of a global batch that belong to one process."""
    return count * rank // world, count * (rank + 1) // world


class VaeLearner:
    """A VAE, its images and its evaluation, for `dlcli.engine.loop.Training`.

    Args:
        network: on `device`.
        train: (N, 28, 28) uint8; for `fixed`, already drawn.
        validation: (M, 28, 28) uint8, M may be 0.
        config: all settings.
        device: where to put the training images.
        processes: how many share each batch.

    Raises:
        ConfigError: see `plan_epoch`.
    """

    unit = "images"

    def __init__(
        self,
        network: VaeNetwork,
        *,
        train: Tensor,
        validation: Tensor,
        config: VaeTrainConfig,
        device: torch.device,
        processes: int = 1,
    ) -> None:
        self.network: nn.Module = network
        self.vae = network.vae
        self.config, self.device = config, device
        self.rows = flat(train).to(device)
        self.validation = validation
        self.plan = plan_epoch(config, images=len(self.rows), processes=processes)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return len(self.rows)

    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.plan)

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield this process's part of each global batch of an epoch (from 0), from `start` on."""
        seed = self.config.compute.seed
        order = torch.randperm(len(self.rows), generator=generator(seed, "order", epoch))
        order = order.to(self.device)
        for index in range(start, len(self.plan)):
            first, last = self.plan[index]
            begin, end = share(last - first, rank=rank, world=world)
            rows = self.rows.index_select(0, order[first + begin : first + end])
            stream = generator(seed, "batch", epoch, index, device=self.device)
            eps = self._noise(last - first, stream)[..., begin:end, :]
            progress = epoch + (index + 1) / len(self.plan)
            pixels = self._pixels(rows, slice(begin, end), last - first, stream)
            beta = torch.tensor(beta_at(self.config.objective, epoch=progress))
            offsets = self._offsets(last - first, stream)
            noise = eps if offsets is None else ChoosingNoise(eps, offsets[begin:end])
            yield Batch(
                payload=(pixels, noise, beta),
                items=end - begin,
                weight=float(last - first),
            )

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        """Measure on the validation images, or watch the latents of some training images.

        The noise is the same at every epoch, so that differences are the model's.
        """
        del epoch
        objective, way = self.config.objective, self.config.data.binarize
        stream = generator(self.config.compute.seed, "validation", device=self.device)
        if not len(self.validation):
            watched = self.rows[:WATCHED_IMAGES]
            return _latent_metrics(latent_use(self.vae, watched, generator=stream, binarize=way))
        found = evaluate(
            self.vae,
            self.validation,
            generator=stream,
            noise_samples=objective.k,
            binarize=way,
            likelihood=objective.likelihood,
        )
        bound = found.iwae if objective.objective == "iwae" else found.elbo
        return {
            "valid_loss": -bound,
            "valid_elbo": found.elbo,
            "valid_reconstruction": found.reconstruction,
            "valid_kl": found.kl,
            **_latent_metrics(found.latents),
        }

    def _noise(self, count: int, stream: torch.Generator) -> Tensor:
        """Draw eps of a global batch: (count, D), or (K, count, D) for `iwae`."""
        shape: tuple[int, ...] = (count, self.vae.latent_dim)
        if self.config.objective.objective == "iwae":
            shape = (self.config.objective.k, *shape)
        return torch.randn(shape, generator=stream, device=self.device)

    def _offsets(self, count: int, stream: torch.Generator) -> Tensor | None:
        """Draw what `objective.resample` needs for a global batch, where samples are chosen."""
        if not self.config.objective.backward_samples:
            return None
        return torch.rand(count, generator=stream, device=self.device)

    def _pixels(self, rows: Tensor, mine: slice, count: int, stream: torch.Generator) -> Tensor:
        if self.config.data.binarize != "dynamic":
            return grey(rows)
        return binarize(rows, draws=threshold_draws(count, generator=stream)[mine])


def _latent_metrics(found: LatentUse) -> dict[str, object]:
    return {"kl_per_dim": list(found.kl_per_dim), "active_units": found.active_units}
