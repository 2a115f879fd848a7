"""AIS of a trained decoder: held against the IWAE bound, doubtful where below."""

from __future__ import annotations

import pytest
import torch

from dlcli.engine.device import Compute
from dlcli.engine.seed import generator
from dlcli.evidence.diagnostics import Tell, unheard
from dlcli.vae import bounds as room
from dlcli.vae.bounds import AnnealedNll, decoder_of, stream_annealed, stream_bounds
from dlcli.vae.trained import Trained, binarized, chosen_images


def annealed(trained: Trained, *, lift: float = 0.0, tell: Tell = unheard) -> list[AnnealedNll]:
    compute = Compute(device=torch.device("cpu"), precision="fp32", threads=1)
    decoder = decoder_of(trained, compute=compute)
    rows, numbers = chosen_images(trained, count=3, notice=print)
    x = binarized(rows, numbers, seed=0)
    *_, bounds = stream_bounds(trained.model, decoder, x, k=2000, generator=generator(0, "noise"))
    return list(
        stream_annealed(
            decoder,
            x,
            iwae=bounds.best + lift,
            chains=4,
            temperatures=60,
            generator=generator(0, "ais"),
            tell=tell,
        )
    )


def test_agrees_with_a_good_iwae_bound(trained: Trained) -> None:
    (found,) = annealed(trained)
    assert (found.images, found.chains, found.temperatures) == (3, 4, (60,))
    assert abs(found.above_iwae.value) < 0.5
    assert abs(found.value - (found.iwae - found.above_iwae.value)) < 1e-9
    assert sum(found.verdicts.values()) == 3
    assert found.evaluations > 3 * 4 * 60
    assert 0.3 < found.acceptance <= 1


def test_is_doubtful_where_it_is_below(trained: Trained) -> None:
    (found,) = annealed(trained, lift=20.0)
    assert found.doubtful
    assert found.images_below == 3
    assert found.verdict.startswith("doubtful")


def test_batches_add_up(trained: Trained) -> None:
    told: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "IMAGES_AT_ONCE", 2)
        first, second = annealed(trained, tell=lambda _, done: told.append(done))
    assert told == pytest.approx(sorted(told))
    assert (told[0], told[-1]) == pytest.approx((0.0, 1.0))
    assert len(told) > 100, "on the way through a batch, too"
    assert (first.images, second.images) == (2, 3)
    assert second.temperatures == (60, 60)
    assert second.evaluations > first.evaluations
