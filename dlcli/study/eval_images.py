"""The test images of an evaluation: which, in what order, and black or white by which draw.

The order is one random permutation for everybody, so that the first N are a fair sample whatever
N is and an interrupted evaluation has seen a fair sample too. Each image's binarisation depends on
the seed and its own place in the test set alone: different runs, and different N, are held against
the same black and white pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from dlcli.data import load_images
from dlcli.engine.seed import generator
from dlcli.errors import DataError, UsageFault
from dlcli.study.eval_config import DEFAULT_IMAGES
from dlcli.vae.pixels import binarize, flat, grey, threshold_draws
from dlcli.vae.splits import load_test_images
from dlcli.vae.trained import Trained

ORDER_SEED = 0


def with_true_data(trained: Trained, *, notice: Callable[[str], object]) -> Trained:
    """Name the data set that a run was trained on, where its settings say only `auto`.

    Raises:
        DataError: `auto` is another data set here than it was there, or none can be had.
    """
    data = trained.config.data
    if data.name != "auto":
        return trained
    name = load_images("auto", offline=data.offline, notice=notice).name
    result = trained.run.record().get("result")
    recorded = result.get("data") if isinstance(result, dict) else None
    if recorded not in (None, name):
        raise DataError(
            f"{trained.run.path} was trained on {recorded}, and what can be had here is {name}.",
            hint=f"Fetch it with `dl data fetch {recorded}`.",
        )
    config = dataclasses.replace(trained.config, data=dataclasses.replace(data, name=name))
    return dataclasses.replace(trained, config=config)


def chosen_images(
    trained: Trained, *, count: int | None, notice: Callable[[str], object]
) -> tuple[Tensor, Tensor]:
    """Choose test images of the run's own data set.

    Returns:
        all of them as rows (M, 784) uint8, and the numbers (N,) of those chosen, in order.

    Raises:
        UsageFault: there are not so many.
        DataError: the run's data set cannot be had.
    """
    rows = flat(load_test_images(trained.config.data, notice=notice))
    wanted = min(DEFAULT_IMAGES, len(rows)) if count is None else count
    if not 1 <= wanted <= len(rows):
        raise UsageFault(
            f"{trained.config.data.name} has {len(rows):,} test images, not {wanted:,}.",
            hint=f"Use --images 1 to {len(rows)}.",
        )
    order = torch.randperm(len(rows), generator=generator(ORDER_SEED, "evaluation order"))
    return rows, order[:wanted]


def seen_pixels(rows: Tensor, numbers: Tensor, *, way: str, seed: int) -> Tensor:
    """Return the pixels of some images as the model is used to seeing them: (N, 784) in [0, 1].

    Args:
        rows: the whole test set.
        numbers: which of it.
        way: `none`, `dynamic` or `fixed`, see `dlcli.vae.pixels`.
        seed: of `dynamic`.
    """
    return binarized(rows, numbers, seed=seed) if way == "dynamic" else grey(rows[numbers])


def binarized(rows: Tensor, numbers: Tensor, *, seed: int) -> Tensor:
    """Draw black and white pixels of some images: (N, 784)."""
    stream = generator(seed, "evaluation pixels")
    return binarize(rows, draws=threshold_draws(len(rows), generator=stream))[numbers]
