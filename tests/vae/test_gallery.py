"""Pictures say what their pixels are, and draws average to the means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.vae import objective as continuous_bernoulli
from dlcli.vae.generation import Reconstruction, decode_gallery, label_of, paired_rows, pixel_values
from tests.vae.conftest import MakeVae


def test_pixels_are_the_decoders_means_and_lie_in_order(make_vae: MakeVae) -> None:
    vae = make_vae().train()
    z = torch.randn(7, 3, generator=generator(0))
    found = decode_gallery(vae, z, columns=4)
    assert vae.training
    with torch.no_grad():
        expected = torch.sigmoid(vae.eval().decode(z)).view(7, 28, 28)
    assert np.array_equal(found.images, expected.numpy())
    assert np.array_equal(found.z, z.numpy())
    assert found.images.dtype == np.float32
    assert (found.columns, found.label) == (4, "mean of p(x|z)")
    assert decode_gallery(vae, z).columns == 3


def test_chunks_leave_no_seam(make_vae: MakeVae) -> None:
    vae, z = make_vae(), torch.randn(1003, 3, generator=generator(0))
    whole = decode_gallery(vae, z).images
    assert np.allclose(whole[498:503], decode_gallery(vae, z[498:503]).images, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_draws_average_to_the_means(likelihood: str) -> None:
    logits = torch.linspace(-4, 4, 9).expand(20_000, 9)
    drawn = pixel_values(logits, draw=True, generator=generator(0), likelihood=likelihood)
    means = pixel_values(logits[0], draw=False, likelihood=likelihood)
    error = (drawn.mean(0) - means) / (drawn.std(0) / 20_000**0.5)
    assert error.abs().max() < 4
    assert (set(drawn.unique().tolist()) == {0.0, 1.0}) == (likelihood == "bernoulli")


def test_the_mean_of_a_continuous_bernoulli_is_not_its_parameter() -> None:
    logits = torch.tensor([2.0])
    found = pixel_values(logits, draw=False, likelihood="continuous-bernoulli")
    assert torch.equal(found, continuous_bernoulli.mean(logits))
    assert found.item() < torch.sigmoid(logits).item()


def test_labels_tell_means_from_draws() -> None:
    assert label_of(draw=False) == "mean of p(x|z)"
    assert label_of(draw=True) == "Bernoulli draw from p(x|z)"
    named = label_of(draw=True, likelihood="continuous-bernoulli")
    assert named == "continuous Bernoulli draw from p(x|z)"
    with pytest.raises(ValueError, match="generator"):
        pixel_values(torch.zeros(1), draw=True)


def test_inputs_lie_above_their_reconstructions() -> None:
    inputs = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 28, 28), np.float32)
    found = Reconstruction(inputs=inputs, images=-inputs, z=inputs[:, 0, :2], label="")
    rows, names = paired_rows(found, columns=3)
    assert names == ("input", "output", "input", "output")
    assert rows[..., 0, 0].tolist() == [[0, 1, 2], [0, -1, -2], [3, 4, 0], [-3, -4, 0]]
    assert paired_rows(found)[0].shape == (2, 5, 28, 28)
    assert paired_rows(found, columns=4)[0].shape == (4, 3, 28, 28)
