""""""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlcli.nmt.encoder import Encoder

LENGTHS = (7, 2, 5)


def batch() -> tuple[Tensor, Tensor]:
    embedded = torch.randn(3, 7, 5).double()
    return embedded, torch.arange(7) < torch.tensor(LENGTHS)[:, None]


def torch_gru(encoder: Encoder, *, layers: int) -> nn.GRU:
    """Make torch's own network with the weights of ours."""
    gru = nn.GRU(5, 3, num_layers=layers, bidirectional=True, batch_first=True).double()
    for layer, (ahead, back) in enumerate(zip(encoder.forwards, encoder.backwards, strict=True)):
        for cell, suffix in ((ahead, ""), (back, "_reverse")):
            for name, value in cell.named_parameters():
                getattr(gru, f"{name}_l{layer}{suffix}").data.copy_(value)
    return gru


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_it_equals_torch_s_gru_over_packed_sentences(layers: int, fused: bool) -> None:
    torch.manual_seed(0)
    encoder = Encoder(inputs=5, hidden=3, layers=layers).double()
    encoder.fused = fused
    embedded, mask = batch()
    states, summary = encoder(embedded, mask=mask)
    packed = pack_padded_sequence(
        embedded, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    theirs, last = torch_gru(encoder, layers=layers)(packed)
    expected = pad_packed_sequence(theirs, batch_first=True)[0]
    torch.testing.assert_close(states, expected)
    torch.testing.assert_close(summary, torch.cat([last[-2], last[-1]], dim=1))


def test_dropout_is_between_layers_and_in_training_only() -> None:
    torch.manual_seed(0)
    embedded, mask = batch()
    two = Encoder(inputs=5, hidden=3, layers=2, dropout=0.5).double()
    assert not torch.equal(two(embedded, mask=mask)[0], two(embedded, mask=mask)[0])
    two.eval()
    assert torch.equal(two(embedded, mask=mask)[0], two(embedded, mask=mask)[0])
    one = Encoder(inputs=5, hidden=3, layers=1, dropout=0.5).double()
    assert torch.equal(one(embedded, mask=mask)[0], one(embedded, mask=mask)[0])
