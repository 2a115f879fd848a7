from __future__ import annotations

import torch

from dlcli.nmt.decoder import AdditiveAttention


def made(seed: int = 0) -> AdditiveAttention:
    torch.manual_seed(seed)
    attention = AdditiveAttention(query_size=7, value_size=6, size=3).double()
    torch.nn.init.normal_(attention.v)
    return attention


def test_it_starts_uniform_over_the_words_that_are_there() -> None:
    attention = AdditiveAttention(query_size=7, value_size=6, size=3)
    values, mask = torch.randn(2, 5, 6), torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    context, weights = attention(
        torch.randn(2, 7), keys=attention.project(values), values=values, mask=mask
    )
    torch.testing.assert_close(weights, mask / mask.sum(1, keepdim=True))
    torch.testing.assert_close(context[1], values[1, :2].mean(0))


def test_weights_sum_to_one_and_are_zero_on_padding() -> None:
    attention = made()
    values, mask = torch.randn(3, 5, 6).double(), torch.arange(5) < torch.tensor([[5], [1], [3]])
    _, weights = attention(
        torch.randn(3, 7).double(), keys=attention.project(values), values=values, mask=mask
    )
    torch.testing.assert_close(weights.sum(1), torch.ones(3).double())
    assert not weights[~mask].any()
    assert weights[mask].min() > 0


def test_it_is_the_paper_s_formula() -> None:
    attention = made()
    values, hidden = torch.randn(1, 4, 6).double(), torch.randn(1, 7).double()
    mask = torch.ones(1, 4, dtype=torch.bool)
    context, weights = attention(hidden, keys=attention.project(values), values=values, mask=mask)
    W, U, b = attention.query.weight, attention.key.weight, attention.key.bias
    energies = [attention.v @ torch.tanh(W @ hidden[0] + U @ h + b) for h in values[0]]
    torch.testing.assert_close(weights[0], torch.softmax(torch.stack(energies), dim=0))
    torch.testing.assert_close(context[0], weights[0] @ values[0])


def test_hypotheses_of_one_sentence_share_its_memory() -> None:
    attention = made()
    values, mask = torch.randn(3, 5, 6).double(), torch.arange(5) < torch.tensor([[5], [1], [3]])
    owner, hidden = torch.tensor([0, 0, 1, 2, 2, 2]), torch.randn(6, 7).double()
    keys = attention.project(values)
    shared = attention(hidden, keys=keys, values=values, mask=mask, owner=owner)
    copied = attention(hidden, keys=keys[owner], values=values[owner], mask=mask[owner])
    for ours, theirs in zip(shared, copied, strict=True):
        torch.testing.assert_close(ours, theirs)
