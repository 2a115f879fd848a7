""""""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dlcli.nmt.decoder import AdditiveAttention, Memory, Readout, State, smoothed_cross_entropy
from tests.nmt.tiny_model import padded, tiny_model


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


def memory() -> Memory:
    return tiny_model().encode(*padded([4, 5, 6], [7], [8, 9]))


def test_rows_of_memory_and_state_are_picked_in_order() -> None:
    rows, whole = torch.tensor([2, 0, 0]), memory()
    some = whole.select(rows)
    for name in ("values", "keys", "mask", "summary", "initial"):
        assert torch.equal(getattr(some, name), getattr(whole, name)[rows])
    state = tiny_model().start(whole)
    assert isinstance(state, State)
    picked = state.select(rows)
    for name in ("hidden", "context", "attention"):
        assert torch.equal(getattr(picked, name), getattr(state, name)[rows])


def test_the_previous_query_sees_the_context_that_the_step_consumed() -> None:
    model, known = tiny_model(attention_query="previous"), memory()
    state = model.start(known)
    words = model.embedding(torch.tensor([4, 5, 6]))
    seen, following = model.decoder.advance(words, state=state, memory=known)
    torch.testing.assert_close(seen.context, state.context)
    torch.testing.assert_close(seen.hidden, following.hidden)
    assert not torch.allclose(seen.context, following.context)


def test_the_updated_query_has_seen_the_last_word() -> None:
    model, known = tiny_model(), memory()
    seen, following = model.decoder.advance(
        model.embedding(torch.tensor([4, 5, 6])), state=model.start(known), memory=known
    )
    assert seen is following
    again = model.decoder.look(seen.hidden, known)
    torch.testing.assert_close(seen.attention, again.attention)


def test_the_paper_s_first_state_is_a_tanh() -> None:
    assert memory().initial.abs().max() < 1


def test_hypotheses_may_share_a_sentence() -> None:
    model, known, owner = tiny_model(), memory(), torch.tensor([0, 0, 1, 2, 2])
    words, state = torch.tensor([4, 5, 6, 7, 8]), model.start(known).select(owner)
    shared = model.step(words, state, known, owner=owner)
    copied = model.step(words, state, known.select(owner))
    torch.testing.assert_close(shared.logits, copied.logits)
    torch.testing.assert_close(shared.attention, copied.attention)


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
