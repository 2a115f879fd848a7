from __future__ import annotations

import torch

from dlcli.nmt.decoder import Memory, State
from tests.nmt.tiny_model import padded, tiny_model


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
