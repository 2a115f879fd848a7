"""Aligning given translations: forced decoding, how pieces become tokens, and what is linked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.data.sentences import Pairs
from dlcli.engine.config import resolve
from dlcli.errors import DataError
from dlcli.nmt import aligner
from dlcli.nmt.aligner import (
    KINDS,
    ForcedAttention,
    align,
    align_by_layer,
    forced_attention,
    prepare_pairs,
    shares,
    token_attention,
)
from dlcli.nmt.config import LinkKind, NmtAlignConfig
from dlcli.nmt.links import parse_pharaoh, swapped, token_links
from dlcli.nmt.tokenizer import BOS, EOS, Piece, Subwords
from dlcli.nmt.trained import Trained
from tests.nmt.toy import TRANSFORMER, pairs, tiny_model, tiny_trained

FOUND = pairs(0, 40)
TEXTS = list(zip(FOUND.source, FOUND.target, strict=True))


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.learn([*FOUND.source, *FOUND.target], size=320)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_change_nothing(
    subwords: Subwords, monkeypatch: pytest.MonkeyPatch, kind: LinkKind
) -> None:
    model = tiny_model(vocabulary=subwords.size)
    texts = [*TEXTS[:9], ("", "Le roi."), ("The king.", ""), ("", "")]
    together = list(forced_attention(model, subwords, texts, kind=kind))
    monkeypatch.setattr(aligner, "PAIRS_PER_WINDOW", 5)
    monkeypatch.setattr(aligner, "BATCH_TOKENS", 60)
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
def test_rows_are_those_of_the_network(subwords: Subwords, query: str) -> None:
    model = tiny_model(vocabulary=subwords.size, attention_query=query)
    source, target = TEXTS[3]
    found = next(forced_attention(model, subwords, [(source, target)]))
    ids = torch.tensor([[*subwords.encode(source), EOS]])
    target_in = torch.tensor([[BOS, *subwords.encode(target)]])
    forced = model.force(ids, torch.ones_like(ids, dtype=torch.bool), target_in)
    torch.testing.assert_close(found.rows, forced.attention[0].float())


def pieces(*ends: int) -> tuple[Piece, ...]:
    return tuple(
        Piece(id=9, text="", start=start, end=end)
        for start, end in zip((0, *ends), ends, strict=False)
    )


def test_an_example_by_hand() -> None:
    """Source "ab cde" in three pieces, target "du x" in three, of tokens "de" "le" "x"."""
    rows = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.2, 0.4], [0.5, 0.1, 0.1, 0.3], [0.0, 0.0, 0.5, 0.5]]
    )
    found = ForcedAttention(rows=rows, source=pieces(2, 4, 6), target=pieces(1, 2, 4))
    spans = {"source": [(0, 2), (3, 6)], "target": [(0, 2), (0, 2), (3, 4)]}
    wanted = torch.tensor([[0.15, 0.45], [0.15, 0.45], [0.5, 0.2]])
    torch.testing.assert_close(token_attention(found, **spans), wanted)
    later = torch.tensor([[0.35, 0.3], [0.35, 0.3], [0.0, 0.5]])
    torch.testing.assert_close(token_attention(found, **spans, shift=True), later)


def test_pieces_are_shared_out_by_characters() -> None:
    assert shares(pieces(8), spans=[(0, 2), (2, 8)]).tolist() == [[0.25, 0.75]]
    assert shares(pieces(2), spans=[(0, 2), (0, 2)]).tolist() == [[1.0, 1.0]]
    found = shares(pieces(0, 2, 3, 5), spans=[(0, 2), (3, 5)])
    assert found.tolist() == [[0, 0], [1, 0], [0, 0], [0, 1]], "spaces belong to no token"
    assert shares((), spans=[(0, 1)]).shape == (0, 1)
    assert shares(pieces(3), spans=[]).shape == (1, 0)


def test_nothing_to_align() -> None:
    empty = ForcedAttention(rows=torch.ones(1, 1), source=(), target=())
    assert token_attention(empty, source=[], target=[]).shape == (0, 0)
    assert token_attention(empty, source=[(0, 1)], target=[(0, 1)]).tolist() == [[0.0]]


LINES = Pairs.of(
    [
        ("the king sees the dog .", "le roi voit le chien de le État ."),
        ("", "le"),
        ("the cat hears the bird today .", "le chat entend le oiseau vert aujourd' hui ."),
    ]
)


def lines(rows: Sequence[int]) -> Pairs:
    return Pairs.of((LINES.source[row], LINES.target[row]) for row in rows)


def with_links(links: Sequence[str]) -> Pairs:
    return Pairs(source=LINES.source, target=LINES.target, links=links)


def config(**settings: object) -> NmtAlignConfig:
    return resolve(NmtAlignConfig, [{"device": "cpu", **settings}])


def test_tokens_are_put_together_and_linked_as_given(trained: Trained) -> None:
    assert prepare_pairs(LINES, text="tokens", languages=("en", "fr"))[0][1].text == (
        "Le roi voit le chien de l'État."
    )
    done: list[float] = []
    found = align(trained, LINES, config(), progress=lambda share, _: done.append(share))
    assert (found.sentences, len(found.links), done[-1]) == (3, 3, 1)
    assert found.score is None
    for source, target, text in zip(LINES.source, LINES.target, found.links, strict=True):
        links = parse_pharaoh(text)
        assert all(s < len(source.split()) and t < len(target.split()) for s, t in links)
        # One link a target token, and none where there is no source.
        assert sorted(t for _, t in links) == list(range(len(target.split()) if source else 0))
    assert "shift:0" in found.signature
    assert "symmetrize" not in found.signature
    named = align(trained, lines([0, 1]), config(), data="few")
    again = align(trained, lines([0, 2]), config(), data="few")
    assert "data:few|pairs:" in named.signature
    assert named.signature != again.signature, "other sentences, another signature"


@pytest.mark.parametrize("settings", [{}, *({"links_from": kind} for kind in KINDS)])
@pytest.mark.parametrize("text", ["running", "tokens"])
def test_links_come_from_the_matrix_of_the_running_text(
    trained: Trained, text: str, settings: dict[str, Any]
) -> None:
    how = config(text=text, **settings)
    found = align(trained, LINES, how)
    assert found.links_from == how.kind
    assert f"links-from:{how.kind}" in found.signature
    source, target = prepare_pairs(LINES, text=text, languages=("en", "fr"))[0]
    texts = [(source.text, target.text)]
    matrix = next(forced_attention(trained.model, trained.tokenizer, texts, kind=how.kind))
    spans = {"source": source.spans, "target": target.spans}
    assert parse_pharaoh(found.links[0]) == token_links(token_attention(matrix, **spans), **spans)


@pytest.mark.parametrize("symmetrized", [False, True])
def test_a_threshold_leaves_words_without_a_link(
    trained: Trained, backward: Trained, *, symmetrized: bool
) -> None:
    other = backward if symmetrized else None
    counts = [
        sum(len(line.split()) for line in found.links)
        for least in (0.0, 0.3, 0.999)
        for found in [align(trained, LINES, config(threshold=least), backward=other)]
    ]
    assert counts[0] >= counts[1] >= counts[2] == 0
    assert counts[0] > 0


def test_two_directions_are_joined(trained: Trained, backward: Trained) -> None:
    one = [parse_pharaoh(text) for text in align(trained, LINES, config()).links]
    other = [
        swapped(parse_pharaoh(text)) for text in align(backward, LINES.swapped(), config()).links
    ]
    for heuristic, join in (("intersection", frozenset.__and__), ("union", frozenset.__or__)):
        found = align(
            trained, LINES, config(heuristic=heuristic, combine="none"), backward=backward
        )
        assert [parse_pharaoh(text) for text in found.links] == list(map(join, one, other))
        assert found.symmetrized_with == str(backward.run.path)
        assert f"symmetrize:{heuristic}" in found.signature


def test_a_no_break_space_is_part_of_a_token_and_a_plain_one_for_the_model(
    trained: Trained,
) -> None:
    lines = Pairs.of([("it cost 10\u00a0000 euros .", "il coûtait 10\u00a0000 euros .")])
    source, target = prepare_pairs(lines, text="tokens", languages=("en", "fr"))[0]
    assert (source.text, len(source.spans)) == ("It cost 10 000 euros.", 5)
    assert (target.text, len(target.spans)) == ("Il coûtait 10\u00a0000 euros.", 5)
    (found,) = align(trained, lines, config()).links
    assert sorted(target for _, target in parse_pharaoh(found)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("links", "index", "said"), [("1-1 2p2", 0, 1), ("1-1", 1, 0), ("0-1", 0, 0)]
)
def test_links_that_look_counted_from_one_are_remarked_on(
    trained: Trained, links: str, index: int, said: int
) -> None:
    notes: list[str] = []
    pairs = with_links([links, "", "2-1" if said else ""])
    align(trained, pairs, config(gold_index=index), notice=notes.append)
    assert ["--gold-index 1" in note for note in notes] == [True] * said


def test_right_links_give_the_error_rate(trained: Trained) -> None:
    found = align(trained, with_links(align(trained, LINES, config()).links), config())
    score = found.score
    assert score is not None
    assert "|gold:" in found.signature
    assert (score.aer, score.precision, score.recall, score.sentences) == (0, 1, 1, 3)


@pytest.mark.parametrize("right", [(2, 2), (1, None)])
def test_the_layer_and_head_with_the_fewest_errors_are_chosen(
    right: tuple[int, int | None], tmp_path: Path
) -> None:
    sizes = {**TRANSFORMER, "embedding": 12, "heads": 3}  # large enough for all to differ
    transformer = tiny_trained(tmp_path / "run", seed=2, **sizes)
    layer, head = right
    wanted = align(transformer, LINES, config(layer=layer, head=head))
    found = align_by_layer(transformer, with_links(wanted.links), config())
    errors = {(row.layer, row.head): row.score.aer for row in found.by_layer}
    assert list(errors) == [(layer, head) for layer in (1, 2) for head in (None, 1, 2, 3)]
    assert [place for place, error in errors.items() if error == 0] == [right]
    assert found.links == wanted.links
    assert f"|layer:{layer}|head:{head or 'mean'}|" in found.signature


@pytest.mark.parametrize(
    ("links", "index", "message"),
    [
        (["0-0", "", "0-0 x"], 0, "Line 3 of the gold file: 'x' is no alignment link"),
        (["6-0", "", ""], 0, "Line 1 of the gold file: The link 6-0 is out of range"),
        (["0-0", "", ""], 1, "Line 1 of the gold file: The link 0-0 counts words from 0"),
        (["1-1", "1-1", ""], 1, "Line 2 of the gold file: The link 1-1 is out of range"),
    ],
)
def test_wrong_links_are_named(
    trained: Trained, links: list[str], index: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        align(trained, with_links(links), config(gold_index=index))
