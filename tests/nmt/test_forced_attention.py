"""Forced decoding in batches: as one by one, in order, a row and a column for `</s>`."""

from __future__ import annotations

import pytest
import torch

from dlcli.errors import UsageFault
from dlcli.nmt import alignment as module
from dlcli.nmt.alignment import KINDS, Kind, forced_attention
from dlcli.nmt.tokenizer import BOS, EOS, Subwords
from tests.nmt.sentences import pairs
from tests.nmt.tiny_model import tiny_model

FOUND = pairs(0, 40)
TEXTS = list(zip(FOUND.source, FOUND.target, strict=True))


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.learn([*FOUND.source, *FOUND.target], size=320)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_change_nothing(
    subwords: Subwords, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    model = tiny_model(vocabulary=subwords.size)
    texts = [*TEXTS[:9], ("", "Le roi."), ("The king.", ""), ("", "")]
    together = list(forced_attention(model, subwords, texts, kind=kind))
    monkeypatch.setattr(module, "AT_ONCE", 5)
    monkeypatch.setattr(module, "BATCH_TOKENS", 60)
    for found, apart, text in zip(
        together, forced_attention(model, subwords, texts, kind=kind), texts, strict=True
    ):
        alone = next(forced_attention(model, subwords, [text], kind=kind))
        torch.testing.assert_close(found.rows, alone.rows)
        torch.testing.assert_close(apart.rows, alone.rows)
        assert [piece.id for piece in found.source] == subwords.encode(text[0])
        assert found.rows.shape == (len(found.target) + 1, len(found.source) + 1)
        torch.testing.assert_close(found.rows.sum(dim=1), torch.ones(len(found.rows)))


@pytest.mark.parametrize("query", ["updated", "previous"])
def test_rows_are_those_of_decoding_step_by_step(subwords: Subwords, query: str) -> None:
    model = tiny_model(vocabulary=subwords.size, attention_query=query)
    source, target = TEXTS[3]
    found = next(forced_attention(model, subwords, [(source, target)]))
    ids = torch.tensor([[*subwords.encode(source), EOS]])
    with torch.inference_mode():
        memory = model.encode(ids, torch.ones_like(ids, dtype=torch.bool))
        state = model.start(memory)
        for t, word in enumerate([BOS, *subwords.encode(target)]):
            step = model.step(torch.tensor([word]), state, memory)
            torch.testing.assert_close(found.rows[t], step.attention[0].float())
            state = step.state


def test_a_model_without_attention_is_refused(subwords: Subwords) -> None:
    model = tiny_model(vocabulary=subwords.size, attention="none")
    with pytest.raises(UsageFault, match="--attention none"):
        next(forced_attention(model, subwords, TEXTS[:1]))


def test_no_pairs_no_attention(subwords: Subwords) -> None:
    assert list(forced_attention(tiny_model(vocabulary=subwords.size), subwords, [])) == []
