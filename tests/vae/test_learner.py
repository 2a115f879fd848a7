"""The learner: every image once an epoch, the same draws however the batch is shared."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.engine.loop import Batch, Learner
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.images import flat, grey
from dlcli.vae.objective import ChoosingNoise, VaeNetwork
from dlcli.vae.training import VaeLearner, plan_batches, plan_epoch, share
from tests.vae.conftest import MakeVae

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("images", "batch_size", "least", "sizes"),
    [
        (10, 5, 1, [5, 5]),
        (11, 5, 1, [5, 5, 1]),
        (11, 5, 2, [5, 6]),
        (12, 5, 2, [5, 5, 2]),
        (13, 5, 4, [5, 8]),
        (3, 64, 1, [3]),
        (1, 64, 2, [1]),
        (3, 1, 1, [1, 1, 1]),
    ],
)
def test_batches_are_whole_but_the_last(
    images: int, batch_size: int, least: int, sizes: list[int]
) -> None:
    plan = plan_batches(images, batch_size=batch_size, least=least)
    assert [stop - start for start, stop in plan] == sizes
    assert [start for start, _ in plan[1:]] == [stop for _, stop in plan[:-1]]
    assert (plan[0][0], plan[-1][1]) == (0, images)


def test_shares_are_contiguous_and_nearly_equal() -> None:
    for count in (0, 1, 7, 64):
        parts = [share(count, rank=rank, world=3) for rank in range(3)]
        assert parts[0][0] == 0
        assert parts[-1][1] == count
        assert [a for a, _ in parts[1:]] == [b for _, b in parts[:-1]]
        assert max(b - a for a, b in parts) - min(b - a for a, b in parts) <= 1


def learner(
    make_vae: MakeVae, images: torch.Tensor, *, processes: int = 1, held: int = 0, **given: Any
) -> VaeLearner:
    config = resolve(VaeTrainConfig, [{"loop": {"batch_size": 8}}, given])
    return VaeLearner(
        VaeNetwork(make_vae(), objective=config.objective),
        train=images[: len(images) - held],
        validation=images[len(images) - held :],
        config=config,
        device=CPU,
        processes=processes,
    )


def epoch(
    of: Learner, *, number: int = 0, start: int = 0, rank: int = 0, world: int = 1
) -> list[Batch]:
    return list(of.batches(epoch=number, start=start, rank=rank, world=world))


def test_every_image_comes_once_an_epoch_in_a_new_order(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    made = learner(make_vae, images)
    orders = []
    for number in (0, 1):
        batches = epoch(made, number=number)
        assert len(batches) == made.steps_per_epoch() == 7
        assert [batch.items for batch in batches] == [8] * 6 + [5]
        assert [batch.weight for batch in batches] == [8.0] * 6 + [5.0]
        orders.append(torch.cat([batch.payload[0] for batch in batches]))
    expected = grey(flat(images))
    for order in orders:
        assert torch.equal(order.sort(0).values, expected.sort(0).values)
    assert not torch.equal(*orders)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"data": {"binarize": "dynamic"}},
    {"objective": {"objective": "iwae", "k": 3}},
    {"objective": {"objective": "iwae", "k": 3, "backward_samples": 2}},
]
NAMES = ["elbo", "dynamic", "iwae", "chosen"]


def _tensors(batch: Batch) -> list[torch.Tensor]:
    """Pixels, noise (with the offsets of a choice, if any) and beta, in this order."""
    pixels, noise, beta = batch.payload
    return [pixels, *(noise if isinstance(noise, ChoosingNoise) else [noise]), beta]


@pytest.mark.parametrize("given", OPTIONS, ids=NAMES)
def test_two_halves_have_the_noise_and_pixels_of_the_whole(
    make_vae: MakeVae, images: torch.Tensor, given: dict[str, Any]
) -> None:
    made = learner(make_vae, images, processes=2, **given)
    whole = epoch(made)
    halves = zip(epoch(made, rank=0, world=2), epoch(made, rank=1, world=2), strict=True)
    for batch, (left, right) in zip(whole, halves, strict=True):
        assert left.weight == right.weight == batch.weight
        assert left.items + right.items == batch.items
        parts = (_tensors(each)[:-1] for each in (batch, left, right))
        for ours, a, b in zip(*parts, strict=True):
            assert torch.equal(ours, torch.cat([a, b], dim=-2 if ours.dim() > 1 else 0))


@pytest.mark.parametrize("given", OPTIONS, ids=NAMES)
def test_going_on_in_the_middle_gives_the_same_batches(
    make_vae: MakeVae, images: torch.Tensor, given: dict[str, Any]
) -> None:
    made = learner(make_vae, images, **given)
    for a, b in zip(epoch(made)[4:], epoch(made, start=4), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(_tensors(a), _tensors(b), strict=True))


def test_seeds_and_epochs_have_their_own_noise(make_vae: MakeVae, images: torch.Tensor) -> None:
    first = learner(make_vae, images)
    other = learner(make_vae, images, compute={"seed": 1})
    noises = [epoch(first)[0], epoch(first)[1], epoch(first, number=1)[0], epoch(other)[0]]
    for i, a in enumerate(noises):
        for b in noises[i + 1 :]:
            assert not torch.equal(a.payload[1], b.payload[1])


def test_dynamic_pixels_are_drawn_anew_each_epoch(make_vae: MakeVae, images: torch.Tensor) -> None:
    made = learner(make_vae, images, data={"binarize": "dynamic"})
    sums = [torch.cat([b.payload[0] for b in epoch(made, number=n)]).sum() for n in range(30)]
    assert set(epoch(made)[0].payload[0].unique().tolist()) == {0.0, 1.0}
    truth = grey(flat(images))
    spread = (truth * (1 - truth)).sum().sqrt() / 30**0.5
    assert (torch.stack(sums).mean() - truth.sum()).abs() < 4 * spread


def test_beta_warms_up_batch_by_batch(make_vae: MakeVae, images: torch.Tensor) -> None:
    made = learner(make_vae, images, objective={"beta": 2.0, "beta_warmup_epochs": 2.0})
    betas = [b.payload[2].item() for n in (0, 1, 2) for b in epoch(made, number=n)]
    assert betas[:14] == pytest.approx([2 * (i + 1) / 14 for i in range(14)])
    assert betas[14:] == [2.0] * 7


def normed(count: int, *, batch_size: int, processes: int = 1) -> list[int]:
    """Sizes of the batches of a network with batch normalisation."""
    given = {"loop": {"batch_size": batch_size}, "model": {"arch": "conv"}}
    plan = plan_epoch(resolve(VaeTrainConfig, [given]), images=count, processes=processes)
    return [last - first for first, last in plan]


def test_batch_normalisation_never_sees_a_lone_image() -> None:
    assert normed(11, batch_size=5) == [5, 6]
    assert normed(13, batch_size=5, processes=2) == [5, 8]
    assert normed(12, batch_size=5) == [5, 5, 2]


@pytest.mark.parametrize(
    ("count", "batch_size", "processes"), [(1, 64, 1), (9, 1, 1), (9, 3, 2), (3, 64, 2)]
)
def test_too_few_images_for_batch_normalisation_are_refused(
    count: int, batch_size: int, processes: int
) -> None:
    with pytest.raises(ConfigError, match="at least 2 images"):
        normed(count, batch_size=batch_size, processes=processes)


def test_no_images_are_refused(make_vae: MakeVae, images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="no images"):
        learner(make_vae, images[:0])


def test_without_validation_the_latents_are_watched(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    found = learner(make_vae, images).evaluate(epoch=1)
    assert set(found) == {"kl_per_dim", "active_units"}
    assert len(found["kl_per_dim"]) == 3  # type: ignore[arg-type]


def test_validation_is_the_same_at_each_epoch_and_bounds_agree(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    made = learner(make_vae, images, held=13)
    found = made.evaluate(epoch=1)
    assert found == made.evaluate(epoch=2)
    assert found["valid_loss"] == -found["valid_elbo"]  # type: ignore[operator]
    iwae = learner(make_vae, images, held=13, objective={"objective": "iwae", "k": 9})
    bound = iwae.evaluate(epoch=1)
    assert bound["valid_loss"] < -bound["valid_elbo"]  # type: ignore[operator]
