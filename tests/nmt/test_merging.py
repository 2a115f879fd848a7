"""Merging: nothing is lost, and whose it is does not depend on how the text was cut."""

from __future__ import annotations

import pytest
import torch

from dlcli.nmt.attending import merge_columns, merge_rows, word_shares
from dlcli.nmt.tokenizer import UNK, Piece


def pieces(text: str, *parts: str) -> list[Piece]:
    """Cut a text into the given parts, which follow one another without gaps."""
    found, at = [], 0
    for part in parts:
        assert text[at : at + len(part)] == part
        found.append(Piece(id=9, text=part, start=at, end=at + len(part)))
        at += len(part)
    assert at == len(text)
    return found


TEXT = "L'accord a été signé."
CUT = pieces(TEXT, "L'", "acc", "ord", " a", " été", " sign", "é.")


def test_pieces_find_their_words() -> None:
    found = word_shares(TEXT, CUT)
    assert [word.text for word in found.words] == ["L'", "accord", "a", "été", "signé", "."]
    assert found.shares.tolist() == [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0.5, 0.5],
    ]


def test_source_pieces_are_summed_and_target_pieces_averaged() -> None:
    source = word_shares("ab c", pieces("ab c", "a", "b", " c"))
    target = word_shares("x yz", pieces("x yz", "x", " y", "z"))
    matrix = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.8]]
    )
    merged = merge_rows(merge_columns(matrix, source), target)
    wanted = [[0.3, 0.3, 0.4], [0.75, 0.25, 0.0], [0.0, 0.2, 0.8]]
    assert torch.allclose(merged, torch.tensor(wanted, dtype=torch.float64), atol=1e-7)


def test_without_the_end_it_stays_away() -> None:
    source = word_shares("ab c", pieces("ab c", "a", "b", " c"))
    assert merge_columns(torch.ones(2, 3), source).tolist() == [[2, 1], [2, 1]]
    assert merge_rows(torch.ones(3, 2), source).shape == (2, 2)
    with pytest.raises(ValueError, match="5 places for 3 pieces"):
        merge_columns(torch.ones(2, 5), source)


def test_rows_still_sum_to_one() -> None:
    rows = torch.rand(len(CUT) + 1, len(CUT) + 1).softmax(dim=1)
    shares = word_shares(TEXT, CUT)
    merged = merge_rows(merge_columns(rows, shares), shares)
    assert merged.shape == (7, 7)
    assert torch.allclose(merged.sum(dim=1), torch.ones(7, dtype=torch.float64))


def test_pieces_of_spaces_and_bytes_belong_to_a_word() -> None:
    text = "a 🙂 "
    cut = [
        Piece(id=5, text="a", start=0, end=1),
        Piece(id=6, text="▁", start=1, end=2),
        *[Piece(id=7, text=f"<0x{byte:X}>", start=2, end=3) for byte in "🙂".encode()],
        Piece(id=6, text="▁", start=3, end=4),
    ]
    found = word_shares(text, cut)
    assert [word.text for word in found.words] == ["a", "🙂"]
    assert found.shares[:, 1].tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_a_text_without_words_is_one_word() -> None:
    text = "\u200b\u200b"
    found = word_shares(text, pieces(text, "\u200b", "\u200b"))
    assert [word.text for word in found.words] == [text]
    assert found.shares.tolist() == [[1], [1]]
    assert word_shares("", []).shares.shape == (0, 0)


def test_words_that_the_vocabulary_does_not_know_are_named() -> None:
    cut = [
        Piece(id=8, text="Le", start=0, end=2),
        Piece(id=UNK, text=" Zyx", start=2, end=6),
    ]
    assert word_shares("Le Zyx", cut).unknown == (1,)
    assert word_shares("Le Zyx", pieces("Le Zyx", "Le", " Zyx")).unknown == ()


def test_an_unknown_token_that_is_written_out_is_one_word() -> None:
    cut = [
        Piece(id=8, text="le", start=0, end=2),
        Piece(id=UNK, text="<unk>", start=2, end=8),
        Piece(id=UNK, text="<unk>", start=8, end=14),
        Piece(id=8, text=".", start=14, end=15),
    ]
    found = word_shares("le <unk> <unk>.", cut)
    assert [word.text for word in found.words] == ["le", "<unk>", "<unk>", "."]
    assert found.unknown == (1, 2)
    assert found.shares.tolist() == torch.eye(4).tolist()
