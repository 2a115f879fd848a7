from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dlcli.nmt.decoder import Readout, smoothed_cross_entropy


def test_maxout_takes_the_larger_of_two_linear_maps() -> None:
    torch.manual_seed(0)
    readout = Readout(inputs=3 + 5 + 2, size=7, kind="maxout")
    s, y, c = torch.randn(4, 3), torch.randn(4, 5), torch.randn(4, 2)
    both = readout.linear(torch.cat([s, y, c], dim=1))
    expected = torch.stack([both[:, :7], both[:, 7:]]).max(0).values
    torch.testing.assert_close(readout(s, embedded=y, contexts=c), expected)


def test_tanh_is_bounded() -> None:
    readout = Readout(inputs=10, size=7, kind="tanh")
    found = readout(99 * torch.randn(4, 3), embedded=torch.zeros(4, 5), contexts=torch.zeros(4, 2))
    assert found.size() == (4, 7)
    assert found.abs().max() <= 1


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torch_s_own(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 7), torch.randint(7, (5,))
    loss, nll = smoothed_cross_entropy(logits, targets, label_smoothing=smoothing)
    theirs = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, theirs)
    torch.testing.assert_close(nll, F.cross_entropy(logits, targets, reduction="sum"))
