"""Attention maps: against the network itself, and merged from pieces to words by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlcli.nmt.attention import (
    AttentionMap,
    Reading,
    attention_map,
    given_reading,
    joined,
    merge,
    piece_axis,
    pieces_of,
    word_axis,
)
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.tokenizer import BOS, EOS, UNK, Piece, Words
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from tests.nmt.toy import pairs, tiny_model

SHORT = SearchConfig(beam_size=2, max_length=12)
SOURCE, TARGET = "The cat sees the dog here.", "Le chat voit le chien ici."


@pytest.fixture
def word_translator(translator: Translator) -> Translator:
    """The same run with a shortlist of words."""
    found = pairs(0, 60)
    words = Words.learn(found.source, found.target, size=40)
    model = tiny_model(vocabulary=words.size, seed=5).float()
    old = translator.trained
    return Translator(
        Trained(
            model=model, tokenizer=words, config=old.config, run=old.run, checkpoint=old.checkpoint
        )
    )


def test_a_given_translation_is_read_along(translator: Translator) -> None:
    found = translator.attend(SOURCE, TARGET)
    assert found.source == ("The", "cat", "sees", "the", "dog", "here", ".", "</s>")
    assert found.target == ("Le", "chat", "voit", "le", "chien", "ici", ".", "</s>")
    assert found.matrix.shape == (8, 8)
    assert np.allclose(found.matrix.sum(axis=1), 1)
    assert found.forced
    assert "target:given|unit:words" in found.signature
    assert len(found.links) == 7


def test_subwords_are_the_networks_own_rows(translator: Translator) -> None:
    found = translator.attend(SOURCE, TARGET, subwords=True)
    tokenizer = translator.trained.tokenizer
    source, target = tokenizer.encode(SOURCE), tokenizer.encode(TARGET)
    read = torch.tensor([[*source, EOS]])
    with torch.no_grad():
        forced = translator.model.force(
            read, torch.ones_like(read, dtype=torch.bool), torch.tensor([[BOS, *target]])
        )
        log_probs = translator.model.logits(forced.features).log_softmax(dim=2)[0]
    assert np.allclose(found.matrix, forced.attention[0].numpy(), atol=1e-6)
    assert found.matrix.shape == (len(target) + 1, len(source) + 1)
    nll = -log_probs[range(len(target) + 1), [*target, EOS]].mean()
    assert found.nll_per_token == pytest.approx(float(nll), abs=1e-5)
    assert found.source[-1] == found.target[-1] == "</s>"


def test_words_of_a_subword_share_its_row(translator: Translator) -> None:
    """Sums over source pieces, means over target pieces, counted by hand for one word."""
    words, pieces = (translator.attend("dogs", "chiens", subwords=raw) for raw in (False, True))
    assert words.matrix.shape == (2, 2)
    raw = pieces.matrix
    assert words.matrix[0, 0] == pytest.approx(raw[:-1, :-1].sum(axis=1).mean())
    assert words.matrix[1, 1] == pytest.approx(raw[-1, -1])


def test_its_own_translation_is_the_best_one(translator: Translator) -> None:
    found = translator.attend(SOURCE, config=SHORT)
    (best,) = translator.translate([SOURCE], config=SHORT)
    assert found.translation == best.translation
    assert not found.forced
    assert np.allclose(found.matrix.sum(axis=1), 1)
    assert (found.target[-1] == "</s>") == best.candidates[0].finished
    assert len(found.target) == len(found.matrix)
    assert "beam:2" in found.signature


def test_a_line_that_is_translated_in_parts_has_one_map(translator: Translator) -> None:
    line = "The king hears the bird here.\u00a0 The cat sees the dog. " * 9
    (best,) = translator.translate([line], config=SHORT)
    found = translator.attend(line, config=SHORT)
    assert found.translation == best.translation
    assert (found.parts, found.finished) == (best.parts, best.candidates[0].finished)
    assert (best.parts, found.signature.count("|parts:18|")) == (18, 1)
    assert found.matrix.shape == (len(found.target), len(found.source))
    assert np.allclose(found.matrix.sum(axis=1), 1)


@pytest.mark.parametrize("subwords", [False, True])
def test_each_part_looks_at_its_own_words(translator: Translator, *, subwords: bool) -> None:
    texts = [("The king hears the bird.", "Le roi entend."), (SOURCE, TARGET)]
    first, last = (translator.attend(*text, subwords=subwords) for text in texts)
    found = attention_map(
        translator.trained,
        [given_reading(*text, tokenizer=translator.tokenizer) for text in texts],
        subwords=subwords,
        how=None,
        precision="fp32",
    )
    assert found.source == first.source[:-1] + last.source
    assert found.target == first.target[:-1] + last.target
    t, s = (len(side) - 1 for side in (first.target, first.source))
    assert np.allclose(found.matrix[:t, :s], first.matrix[:-1, :-1])
    assert np.allclose(found.matrix[:t, -1], first.matrix[:-1, -1])
    assert np.allclose(found.matrix[t:, s:], last.matrix)
    assert np.allclose(found.matrix.sum(axis=1), 1)
    tokens = [len(translator.tokenizer.encode(target)) + 1 for _, target in texts]
    nats = first.nll_per_token * tokens[0] + last.nll_per_token * tokens[1]
    assert found.nll_per_token == pytest.approx(nats / sum(tokens))


@pytest.mark.parametrize("text", ["🙂", "שלום עולם", "\x00The\x00cat", "\u200b"])
def test_any_text_has_a_map(translator: Translator, text: str) -> None:
    found = translator.attend(text, text, config=SHORT)
    assert np.allclose(found.matrix.sum(axis=1), 1)
    assert found.matrix.shape == (len(found.target), len(found.source))
    translator.attend(text, config=SHORT)


def test_what_the_vocabulary_cannot_spell_is_said(word_translator: Translator) -> None:
    found = word_translator.attend("The zyzzyva sees", "Le zyzzyva voit")
    assert found.target == ("Le", "zyzzyva", "voit", "</s>")
    assert found.unknown_source == (1,)
    assert found.unknown_target == (1,)


def test_an_unknown_word_of_its_own_is_one_word(word_translator: Translator) -> None:
    with torch.no_grad():
        word_translator.model.output_bias[UNK] = 50.0
    changed = Translator(word_translator.trained)  # weights are arranged when it is made
    found = changed.attend("The cat", config=replace(SHORT, max_length=3))
    assert found.target == ("<unk>",) * 3
    assert found.unknown_target == (0, 1, 2)
    assert found.matrix.shape == (3, 3)


def test_tokens_that_are_cut_otherwise_than_usual_keep_their_places(
    translator: Translator,
) -> None:
    tokenizer = translator.trained.tokenizer
    usual = tokenizer.encode("le chat 🙂")
    letters = [i for letter in "le chat" for i in tokenizer.encode(letter)[-1:]]
    for ids in (usual, [*letters, *usual[-4:]], usual[:-1], [UNK, *usual]):
        text, pieces = pieces_of(ids, tokenizer=tokenizer)
        assert text == tokenizer.decode(ids)
        assert [piece.id for piece in pieces] == ids
        assert pieces[-1].end == len(text)
        starts = [piece.start for piece in pieces]
        assert starts == sorted(starts)


def map_of(matrix: list[list[float]], *, source: str, target: str) -> AttentionMap:
    return AttentionMap(
        text=source,
        translation=target,
        source=tuple(source.split()),
        target=tuple(target.split()),
        matrix=np.array(matrix),
        unknown_source=(),
        unknown_target=(),
        nll_per_token=1.0,
        forced=True,
        finished=True,
        parts=1,
        unit="words",
        signature="x",
    )


ZONE = map_of(
    [
        [0.6, 0.0, 0.0, 0.4, 0.0],
        [0.0, 0.0, 0.1, 0.9, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.4, 0.0, 0.0, 0.6],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ],
    source="the European Economic Area </s>",
    target="la zone économique européenne </s>",
)


def test_links_leave_the_end_of_the_sentence_out() -> None:
    assert ZONE.links == {(0, 0), (3, 1), (2, 2), (1, 3)}
    assert ZONE.alignment == "0-0 1-3 2-2 3-1"


def test_a_translation_without_an_end_keeps_its_last_word() -> None:
    cut = map_of([[0.2, 0.8, 0.0], [0.9, 0.1, 0.0]], source="a b </s>", target="x y")
    assert cut.links == {(1, 0), (0, 1)}


def test_steps_against_the_diagonal_are_counted() -> None:
    assert ZONE.steps_back == (2, 3)
    one = map_of([[1.0, 0.0]], source="a </s>", target="x")
    assert one.steps_back == (0, 0)


def test_entropy_is_zero_for_one_word_and_log_s_for_all() -> None:
    sure = map_of([[1.0, 0.0], [0.0, 1.0]], source="a </s>", target="x </s>")
    even = map_of([[0.25] * 4], source="a b c </s>", target="x")
    assert sure.entropy_nats == 0.0
    assert even.entropy_nats == pytest.approx(math.log(4))


def pieces(text: str, *parts: str) -> list[Piece]:
    """Cut a text into the given parts, which follow one another without gaps."""
    found, at = [], 0
    for part in parts:
        assert text[at : at + len(part)] == part
        found.append(Piece(id=9, text=part, start=at, end=at + len(part)))
        at += len(part)
    assert at == len(text)
    return found


@pytest.mark.parametrize(
    ("texts", "whole"),
    [(["Le chat.", "Il dort."], "Le chat. Il dort."), (["猫。", "犬。"], "猫。犬。")],
)
def test_parts_of_a_line_are_one_reading_again(texts: list[str], whole: str) -> None:
    readings = [
        Reading(text=one, source=pieces(one, *one), translation=one, target=(), finished=True)
        for one in texts
    ]
    found = joined(readings)
    assert (found.text, found.translation) == (whole, whole)
    assert [whole[piece.start : piece.end] for piece in found.source] == [*"".join(texts)]


TEXT = "L'accord a été signé."
CUT = pieces(TEXT, "L'", "acc", "ord", " a", " été", " sign", "é.")


def test_pieces_find_their_words() -> None:
    found = word_axis(TEXT, CUT, ended=False)
    assert found.labels == ("L'", "accord", "a", "été", "signé", ".")
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
    source, target = pieces("ab c", "a", "b", " c"), pieces("x yz", "x", " y", "z")
    rows = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.8]]
    )
    columns = word_axis("ab c", source, ended=True)
    wanted = torch.tensor([[0.3, 0.3, 0.4], [0.75, 0.25, 0.0], [0.0, 0.2, 0.8]]).double()
    merged = merge(rows, source=columns, target=word_axis("x yz", target, ended=True))
    torch.testing.assert_close(merged, wanted)
    cut = merge(rows[:3], source=columns, target=word_axis("x yz", target, ended=False))
    torch.testing.assert_close(cut, wanted[:2])
    kept = merge(
        rows, source=piece_axis("", source, ended=True), target=piece_axis("", target, ended=True)
    )
    assert torch.equal(kept, rows.double())


def test_pieces_of_spaces_and_bytes_belong_to_a_word() -> None:
    text = "a 🙂 "
    cut = [
        Piece(id=5, text="a", start=0, end=1),
        Piece(id=6, text="▁", start=1, end=2),
        *[Piece(id=7, text=f"<0x{byte:X}>", start=2, end=3) for byte in "🙂".encode()],
        Piece(id=6, text="▁", start=3, end=4),
    ]
    found = word_axis(text, cut, ended=False)
    assert found.labels == ("a", "🙂")
    assert found.shares[:, 1].tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_a_text_without_words_is_one_word() -> None:
    text = "\u200b\u200b"
    found = word_axis(text, pieces(text, "\u200b", "\u200b"), ended=False)
    assert found.labels == (text,)
    assert found.shares.tolist() == [[1], [1]]
    assert word_axis("", [], ended=True).shares.tolist() == [[1]]


def test_words_that_the_vocabulary_does_not_know_are_named() -> None:
    cut = [Piece(id=8, text="Le", start=0, end=2), Piece(id=UNK, text=" Zyx", start=2, end=6)]
    assert word_axis("Le Zyx", cut, ended=True).unknown == (1,)
    assert piece_axis("Le Zyx", cut, ended=True).unknown == (1,)
    assert piece_axis("Le Zyx", cut, ended=True).labels == ("Le", " Zyx", "</s>")
    assert word_axis("Le Zyx", pieces("Le Zyx", "Le", " Zyx"), ended=True).unknown == ()


def test_an_unknown_token_that_is_written_out_is_one_word() -> None:
    cut = [
        Piece(id=8, text="le", start=0, end=2),
        Piece(id=UNK, text="<unk>", start=2, end=8),
        Piece(id=UNK, text="<unk>", start=8, end=14),
        Piece(id=8, text=".", start=14, end=15),
    ]
    found = word_axis("le <unk> <unk>.", cut, ended=False)
    assert found.labels == ("le", "<unk>", "<unk>", ".")
    assert found.unknown == (1, 2)
    assert found.shares.tolist() == torch.eye(4).tolist()
