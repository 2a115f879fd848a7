"""The fully connected networks of Question 9."""

from __future__ import annotations

import torch
from torch import nn

from dlcli.vae.networks import MlpDecoder, MlpEncoder, perceptron


def test_a_perceptron_has_a_relu_between_layers_and_none_at_the_end() -> None:
    kinds = [type(layer) for layer in perceptron([3, 5, 7, 2])]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


def test_the_decoder_mirrors_the_encoder() -> None:
    encoder = MlpEncoder(hidden=(7, 5))
    decoder = MlpDecoder(latent_dim=3, hidden=(7, 5))
    weights = [tuple(p.shape) for p in decoder.parameters() if p.dim() == 2]
    assert encoder.features == 5
    assert weights == [(5, 3), (7, 5), (784, 7)]


def test_the_decoder_gives_logits_of_both_signs() -> None:
    torch.manual_seed(0)
    logits = MlpDecoder(latent_dim=3, hidden=(5,))(torch.randn(11, 3))
    assert logits.shape == (11, 784)
    assert logits.min() < 0 < logits.max()
