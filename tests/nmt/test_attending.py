"""Attending: against the network itself, for given and own translations, of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dlcli.errors import UsageFault
from dlcli.nmt.attending import pieces_of
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.tokenizer import BOS, EOS, UNK, Words
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from tests.nmt.sentences import pairs
from tests.nmt.tiny_model import tiny_model
from tests.nmt.tiny_run import tiny_trained

SHORT = SearchConfig(beam_size=2, max_length=12)
SOURCE, TARGET = "The cat sees the dog here.", "Le chat voit le chien ici."


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return Translator(tiny_trained(tmp_path_factory.mktemp("runs") / "tiny"))


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


def test_three_dots_are_a_word(translator: Translator) -> None:
    found = translator.attend("The agreement ...", config=SHORT)
    assert found.source == ("The", "agreement", "...", "</s>")


@pytest.mark.parametrize("text", ["🙂", "שלום עולם", "\x00The\x00cat", "\u200b"])
def test_any_text_has_a_map(translator: Translator, text: str) -> None:
    found = translator.attend(text, text, config=SHORT)
    assert np.allclose(found.matrix.sum(axis=1), 1)
    assert found.matrix.shape == (len(found.target), len(found.source))
    translator.attend(text, config=SHORT)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", None, "The sentence has no words"),
        ("\x00 ", None, "The sentence has no words"),
        ("cat", " ", "The translation has no words"),
        ("cat " * 5000, None, r"The sentence has [\d,]+ tokens, and attention is drawn"),
        ("cat", "chat " * 5000, "The translation has"),
    ],
)
def test_too_little_or_too_much_is_refused(
    translator: Translator, text: str, target: str | None, message: str
) -> None:
    with pytest.raises(UsageFault, match=message):
        translator.attend(text, target)


def test_a_model_without_attention_is_refused(tmp_path: Path) -> None:
    translator = Translator(tiny_trained(tmp_path / "none", attention="none"))
    with pytest.raises(UsageFault, match="--attention none"):
        translator.attend(SOURCE)


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
