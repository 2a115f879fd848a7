"""From pieces to tokens: by hand, and what must hold of every cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcli.nmt.alignment import ForcedAttention, shares, token_attention
from dlcli.nmt.tokenizer import Piece


def pieces(*ends: int) -> tuple[Piece, ...]:
    starts = (0, *ends)
    return tuple(
        Piece(id=9, text="", start=start, end=end) for start, end in zip(starts, ends, strict=False)
    )


def test_an_example_by_hand() -> None:
    """Source "ab cde" in three pieces, target "du x" in three, of tokens "de" "le" "x"."""
    rows = torch.tensor(
        [
            [0.1, 0.2, 0.3, 0.4],
            [0.2, 0.2, 0.2, 0.4],
            [0.5, 0.1, 0.1, 0.3],
            [0.0, 0.0, 0.5, 0.5],
        ]
    )
    found = ForcedAttention(rows=rows, source=pieces(2, 4, 6), target=pieces(1, 2, 4))
    spans = {"source": [(0, 2), (3, 6)], "target": [(0, 2), (0, 2), (3, 4)]}
    wanted = torch.tensor([[0.15, 0.45], [0.15, 0.45], [0.5, 0.2]])
    torch.testing.assert_close(token_attention(found, **spans), wanted)
    later = torch.tensor([[0.35, 0.3], [0.35, 0.3], [0.0, 0.5]])
    torch.testing.assert_close(token_attention(found, **spans, shift=1), later)


def test_a_piece_over_several_tokens_is_shared_out_by_characters() -> None:
    found = shares(pieces(8), spans=[(0, 2), (2, 8)])
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.75]]))
    same = shares(pieces(2), spans=[(0, 2), (0, 2)])
    torch.testing.assert_close(same, torch.tensor([[1.0, 1.0]]))


def test_spaces_and_empty_pieces_belong_to_nobody() -> None:
    found = shares(pieces(0, 2, 3, 5), spans=[(0, 2), (3, 5)])
    assert found.tolist() == [[0, 0], [1, 0], [0, 0], [0, 1]]
    assert shares((), spans=[(0, 1)]).shape == (0, 1)
    assert shares(pieces(3), spans=[]).shape == (1, 0)


def test_nothing_to_align() -> None:
    empty = ForcedAttention(rows=torch.ones(1, 1), source=(), target=())
    assert token_attention(empty, source=[], target=[]).shape == (0, 0)
    assert token_attention(empty, source=[(0, 1)], target=[(0, 1)]).tolist() == [[0.0]]


@given(data=st.data())
def test_rows_sum_to_what_is_not_on_the_end(data: st.DataObject) -> None:
    """Whatever the cuts: tokens that cover the text get all that `</s>` does not."""

    def cut(length: int) -> tuple[int, ...]:
        inner = data.draw(st.sets(st.integers(1, length - 1), max_size=4))
        return (*sorted(inner), length)

    S, T = 7, 6
    source, target = pieces(*cut(S)), pieces(*cut(T))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    rows = torch.rand(len(target) + 1, len(source) + 1, generator=generator).softmax(dim=1)
    spans = [[(p.start, p.end) for p in pieces(*cut(length))] for length in (S, T)]
    found = ForcedAttention(rows=rows, source=source, target=target)
    for shift in (0, 1):
        matrix = token_attention(found, source=spans[0], target=spans[1], shift=shift)
        assert matrix.shape == (len(spans[1]), len(spans[0]))
        left = 1 - rows[shift : shift + len(target), -1]
        for row, (start, end) in zip(matrix, spans[1], strict=True):
            mine = [t for t, p in enumerate(target) if p.start < end and p.end > start]
            assert float(row.sum()) == pytest.approx(float(left[mine].mean()), abs=1e-5)
