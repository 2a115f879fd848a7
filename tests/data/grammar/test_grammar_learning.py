"""What a fresh training on the grammar reaches; minutes, so only run with `-m slow`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import sacrebleu
import torch
from typer.testing import CliRunner

from dlcli.cli.app import app
from dlcli.data.grammar.corpus import load_grammar
from dlcli.data.grammar.names import STATES, TOPICS, common_spaces, institutions, named
from dlcli.data.grammar.nouns import KINDS, nouns
from dlcli.data.sentences import Pairs, Word, split_words
from dlcli.nmt.aligner import forced_attention, token_attention
from dlcli.nmt.alignment import GoldLinks, attention_links, parse_pharaoh, score_alignments
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.trained import Trained, find_trained
from dlcli.nmt.translator import Translator

ARTICLES = frozenset(
    {"le", "la", "l'", "les", "un", "une", "ce", "cet", "cette", "ces", "des", "du", "au", "aux"}
    | {"son", "sa", "ses"}
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The set's own advice and nothing else: two and a half minutes on two idle cores."""
    out = tmp_path_factory.mktemp("grammar") / "run"
    words = ["nmt", "train", "--data", "grammar", "--out", str(out), "--json", "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    print({key: json.loads(result.stdout)[key] for key in ("updates", "tokens_per_s", "valid")})
    return find_trained(str(out), notice=print)


@pytest.fixture(scope="module")
def test_pairs() -> Pairs:
    return load_grammar(train=1, valid=1).tests["test"]


def test_held_out_sentences_are_translated(trained: Trained, test_pairs: Pairs) -> None:
    lines = Translator(trained).translate(test_pairs.source, config=SearchConfig(beam_size=1))
    said = [line.translation for line in lines]
    assert sacrebleu.corpus_bleu(said, [list(test_pairs.target)]).score >= 98
    assert said[0] == "L'accord sur la zone économique européenne a été signé en août 1992."


def _matrices(
    trained: Trained, pairs: Pairs
) -> Iterator[tuple[list[Word], frozenset[tuple[int, int]], torch.Tensor]]:
    assert pairs.links is not None
    sentences = zip(pairs.source, pairs.target, strict=True)
    read = forced_attention(trained.model, trained.tokenizer, sentences)
    for found, source, target, links in zip(
        read, pairs.source, pairs.target, pairs.links, strict=True
    ):
        english, french = split_words(source), split_words(target)
        spans = [[(word.start, word.end) for word in words] for words in (english, french)]
        matrix = token_attention(found, source=spans[0], target=spans[1])
        yield french, frozenset(parse_pharaoh(links)), matrix


def _predicted(
    trained: Trained, pairs: Pairs
) -> tuple[list[frozenset[tuple[int, int]]], list[frozenset[tuple[int, int]]]]:
    """Return the links of the attention, and the known ones."""
    found = list(_matrices(trained, pairs))
    return [attention_links(matrix) for _, _, matrix in found], [links for _, links, _ in found]


def test_the_famous_sentence_runs_against_the_diagonal(trained: Trained, test_pairs: Pairs) -> None:
    links, _ = _predicted(trained, test_pairs.first(1))
    famous = {target: source for source, target in links[0]}
    assert [famous[target] for target in (4, 5, 6)] == [6, 5, 4]


def test_attention_is_the_alignment(trained: Trained, test_pairs: Pairs) -> None:
    """The aim is an error of at most 0.05 against the known links; 0.044 was measured."""
    predicted, known = _predicted(trained, test_pairs)
    gold = [GoldLinks(sure=links, possible=links) for links in known]
    error = score_alignments(predicted, gold).aer
    print(f"AER {error:.4f}")
    assert error <= 0.05


def test_few_links_lead_elsewhere_than_to_the_noun(trained: Trained, test_pairs: Pairs) -> None:
    """An article may look at its noun: "la" has its meaning from "the", its gender from "Area"."""
    found = list(_matrices(trained, test_pairs))
    predicted = [attention_links(matrix) for _, _, matrix in found]
    gold = [
        GoldLinks(sure=links, possible=links | _noun_links(french, links))
        for french, links, _ in found
    ]
    error = score_alignments(predicted, gold).aer
    print(f"AER {error:.4f} where an article may look at its noun (0.040 measured)")
    assert error <= 0.05


def test_articles_look_at_their_noun(trained: Trained, test_pairs: Pairs) -> None:
    """The gender of a French article is in the English noun alone; its mass there is printed."""
    masses = []
    for french, links, matrix in _matrices(trained, test_pairs):
        own = _by_target(links)
        for article, noun in _articles(french):
            if not own[noun] & own[article]:
                masses.append(sum(float(matrix[article, head]) for head in own[noun]))
    print(
        f"mean attention of {len(masses)} articles on their noun: {sum(masses) / len(masses):.3f}"
    )
    assert len(masses) > 1_000


def _by_target(links: frozenset[tuple[int, int]]) -> dict[int, set[int]]:
    return {at: {source for source, target in links if target == at} for _, at in links}


def _noun_links(french: list[Word], links: frozenset[tuple[int, int]]) -> set[tuple[int, int]]:
    own = _by_target(links)
    return {(head, article) for article, noun in _articles(french) for head in own[noun]}


def _articles(french: list[Word]) -> Iterator[tuple[int, int]]:
    """Yield where an article and its noun stand."""
    words = [
        word.text[0].lower() + word.text[1:] if at == 0 else word.text
        for at, word in enumerate(french)
    ]
    known = {form for kind in KINDS for noun in nouns(kind) for form in noun.french}
    names = (*institutions(), *named(STATES), *named(TOPICS), *common_spaces())
    known |= {name.french[1][0] for name in names}
    for at, word in enumerate(words):
        if word in ARTICLES:
            near = (place for place in range(at + 1, min(at + 4, len(words))))
            noun = next((place for place in near if words[place] in known), None)
            if noun is not None:
                yield at, noun
