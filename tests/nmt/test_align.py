""""""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcli.data.grammar import load_grammar
from dlcli.engine.config import resolve
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.nmt.align import (
    AlignedPairs,
    align,
    pairs_of_corpus,
    pairs_of_files,
    prepare_pairs,
    read_gold,
)
from dlcli.nmt.alignment import (
    KINDS,
    attention_links,
    forced_attention,
    parse_pharaoh,
    swapped,
    token_attention,
    token_links,
)
from dlcli.nmt.config import NmtAlignConfig
from dlcli.nmt.trained import Trained
from tests.nmt.tiny_run import tiny_trained


def grammar(**settings: object) -> AlignedPairs:
    how = {"direction": "en-fr", "offline": True, "notice": print, **settings}
    return pairs_of_corpus("grammar", **how)  # type: ignore[arg-type]


def test_a_corpus_brings_its_links_along() -> None:
    expected = load_grammar(train=2, valid=1, test=3)
    found = grammar(count=3)
    test = expected.tests["test"]
    assert found.lines == list(zip(test.source, test.target, strict=True))
    assert (found.name, found.gold) == ("grammar-test", test.links)
    train = grammar(count=2, split="train", direction="fr-en")
    assert train.lines == list(zip(expected.train.target, expected.train.source, strict=True))
    assert train.gold == expected.train.swapped().links
    with pytest.raises(ConfigError, match="no split 'x'"):
        grammar(split="x")


def test_files_are_read_with_their_links(tmp_path: Path) -> None:
    for name, text in {"en": "a b\n", "fr": "c\n", "both": "a b ||| c\n", "gold": "0-0\n"}.items():
        (tmp_path / name).write_text(text)
    en, fr, both, gold = (tmp_path / name for name in ("en", "fr", "both", "gold"))
    two = pairs_of_files(source=en, target=fr, pairs=None, gold=gold)
    assert two == AlignedPairs(name="en", lines=[("a b", "c")], gold=["0-0"])
    one = pairs_of_files(source=None, target=None, pairs=both, gold=None)
    assert one == AlignedPairs(name="both", lines=two.lines)
    for wrong in ({"source": en}, {"pairs": both, "target": fr}, {}):
        named = {"source": None, "target": None, "pairs": None, "gold": None, **wrong}
        with pytest.raises(UsageFault, match="needs either"):
            pairs_of_files(**named)
    with pytest.raises(DataError, match="cannot be read"):
        pairs_of_files(source=en, target=tmp_path / "none", pairs=None, gold=None)


# -- Aligning whole files: tokens as given, gold links checked, two directions joined

LINES = [
    ("the king sees the dog .", "le roi voit le chien de le État ."),
    ("", "le"),
    ("the cat hears the bird today .", "le chat entend le oiseau vert aujourd' hui ."),
]
LANGUAGES = ("en", "fr")


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return tiny_trained(tmp_path_factory.mktemp("en-fr") / "run")


@pytest.fixture(scope="module")
def backward(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return tiny_trained(tmp_path_factory.mktemp("fr-en") / "run", direction="fr-en", seed=1)


def config(**settings: object) -> NmtAlignConfig:
    return resolve(NmtAlignConfig, [{"device": "cpu", **settings}])


def test_tokens_are_put_together_and_linked_as_given(forward: Trained) -> None:
    pairs = prepare_pairs(LINES, text="tokens", languages=LANGUAGES)
    assert pairs[0].target.text == "Le roi voit le chien de l'État."
    done: list[float] = []
    found = align(forward, pairs, config(), at=lambda share, _: done.append(share))
    assert (found.sentences, len(found.links), done[-1]) == (3, 3, 1)
    assert found.score is None
    for (source, target), text in zip(LINES, found.links, strict=True):
        links = parse_pharaoh(text)
        assert all(s < len(source.split()) and t < len(target.split()) for s, t in links)
        # One link a target token, and none where there is no source.
        assert sorted(t for _, t in links) == list(range(len(target.split()) if source else 0))
    assert "shift:0" in found.signature
    assert "symmetrize" not in found.signature
    named = align(forward, pairs[:2], config(), data="few")
    again = align(forward, [pairs[0], pairs[2]], config(), data="few")
    assert "data:few|pairs:" in named.signature
    assert named.signature != again.signature, "other sentences, another signature"


def test_links_come_from_the_attention_of_the_running_text(forward: Trained) -> None:
    pairs = prepare_pairs([("The king.", "Le roi.")], text="running", languages=LANGUAGES)
    assert [pairs[0].source.text[a:b] for a, b in pairs[0].source.spans] == ["The", "king", "."]
    attention = next(forced_attention(forward.model, forward.tokenizer, [("The king.", "Le roi.")]))
    by_hand = torch.zeros(3, 3)
    for t, piece in enumerate(attention.target):
        word = next(i for i, (a, b) in enumerate(pairs[0].target.spans) if piece.end <= b)
        for s, from_piece in enumerate(attention.source):
            at = next(i for i, (a, b) in enumerate(pairs[0].source.spans) if from_piece.end <= b)
            by_hand[word, at] += attention.rows[t + 1, s]
    pieces = torch.tensor(
        [sum(p.end <= b for p in attention.target) for _, b in pairs[0].target.spans]
    )
    by_hand /= torch.diff(pieces, prepend=torch.tensor([0]))[:, None]
    found = align(forward, pairs, config(shift=True, text="running", links_from="attention"))
    assert parse_pharaoh(found.links[0]) == attention_links(by_hand)


def test_links_are_taken_from_what_is_asked_for(forward: Trained) -> None:
    pairs = prepare_pairs(LINES, text="tokens", languages=LANGUAGES)
    for kind in KINDS:
        found = align(forward, pairs, config(links_from=kind))
        assert found.links_from == kind
        assert f"links-from:{kind}" in found.signature
        text = (pairs[0].source.text, pairs[0].target.text)
        matrix = next(forced_attention(forward.model, forward.tokenizer, [text], kind=kind))
        spans = {"source": pairs[0].source.spans, "target": pairs[0].target.spans}
        links = token_links(token_attention(matrix, **spans), **spans)
        assert parse_pharaoh(found.links[0]) == links


@pytest.mark.parametrize("symmetrized", [False, True])
def test_a_threshold_leaves_words_without_a_link(
    forward: Trained, backward: Trained, *, symmetrized: bool
) -> None:
    pairs = prepare_pairs(LINES, text="tokens", languages=LANGUAGES)
    other = backward if symmetrized else None
    counts = [
        sum(len(line.split()) for line in found.links)
        for least in (0.0, 0.3, 0.999)
        for found in [align(forward, pairs, config(threshold=least), backward=other)]
    ]
    assert counts[0] >= counts[1] >= counts[2] == 0
    assert counts[0] > 0


def test_two_directions_are_joined(forward: Trained, backward: Trained) -> None:
    pairs = prepare_pairs(LINES, text="tokens", languages=LANGUAGES)
    turned = prepare_pairs([(t, s) for s, t in LINES], text="tokens", languages=("fr", "en"))
    one = [parse_pharaoh(text) for text in align(forward, pairs, config()).links]
    other = [swapped(parse_pharaoh(text)) for text in align(backward, turned, config()).links]
    for heuristic, join in (("intersection", frozenset.__and__), ("union", frozenset.__or__)):
        found = align(
            forward, pairs, config(heuristic=heuristic, combine="none"), backward=backward
        )
        assert [parse_pharaoh(text) for text in found.links] == list(map(join, one, other))
        assert found.symmetrized_with == str(backward.run.path)
        assert f"symmetrize:{heuristic}" in found.signature


def test_gold_links_give_the_error_rate(forward: Trained) -> None:
    pairs = prepare_pairs(LINES, text="tokens", languages=LANGUAGES)
    links = align(forward, pairs, config()).links
    right = read_gold(links, pairs, index=0)
    found = align(forward, pairs, config(), gold=right)
    score = found.score
    assert score is not None
    assert "|gold:" in found.signature
    assert (score.aer, score.precision, score.recall, score.sentences) == (0, 1, 1, 3)


@pytest.mark.parametrize(
    ("lines", "index", "message"),
    [
        (["", ""], 0, "2 lines for 3 pairs"),
        (["0-0", "", "0-0 x"], 0, "Line 3 of the gold file: 'x' is no alignment link"),
        (["6-0", "", ""], 0, "Line 1 of the gold file: The link 6-0 is out of range"),
        (["0-0", "", ""], 1, "Line 1 of the gold file: The link 0-0 counts words from 0"),
        (["1-1", "1-1", ""], 1, "Line 2 of the gold file: The link 1-1 is out of range"),
    ],
)
def test_wrong_gold_is_named(lines: list[str], index: int, message: str) -> None:
    pairs = prepare_pairs(LINES, text="tokens", languages=LANGUAGES)
    with pytest.raises(DataError, match=message):
        read_gold(lines, pairs, index=index)


def test_models_that_cannot_align_are_refused(
    forward: Trained, backward: Trained, tmp_path: Path
) -> None:
    pairs = prepare_pairs(LINES, text="tokens", languages=LANGUAGES)
    with pytest.raises(UsageFault, match="other direction") as caught:
        align(forward, pairs, config(), backward=forward)
    assert "--direction fr-en" in caught.value.hint
    blind = tiny_trained(tmp_path / "none", attention="none")
    with pytest.raises(UsageFault, match="--attention none"):
        align(blind, pairs, config())
    with pytest.raises(UsageFault, match="--attention none"):
        align(backward, pairs, config(), backward=blind)
