"""Links read and written, attention into links, and AER against its definition."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcli.errors import DataError, UsageFault
from dlcli.nmt import alignment as module
from dlcli.nmt.alignment import (
    HEURISTICS,
    KINDS,
    ForcedAttention,
    GoldLinks,
    Kind,
    Link,
    Links,
    aer,
    attention_links,
    check_links,
    combine,
    forced_attention,
    format_pharaoh,
    groups,
    parse_gold,
    parse_pharaoh,
    score_alignments,
    shares,
    shifted_rows,
    swapped,
    symmetric_links,
    symmetrize,
    token_attention,
    token_links,
)
from dlcli.nmt.tokenizer import BOS, EOS, Piece, Subwords
from tests.nmt.sentences import pairs
from tests.nmt.tiny_model import tiny_model


def links(*pairs: Link) -> Links:
    return frozenset(pairs)


def test_pharaoh_reads_and_writes_the_same() -> None:
    found = parse_pharaoh("2-0  0-0 10-3\n")
    assert found == links((2, 0), (0, 0), (10, 3))
    assert format_pharaoh(found) == "0-0 2-0 10-3"
    assert format_pharaoh(found, index=1) == "1-1 3-1 11-4"
    assert parse_pharaoh(format_pharaoh(found, index=1), index=1) == found
    assert parse_pharaoh("") == links()
    assert format_pharaoh([]) == ""


def test_gold_tells_sure_from_possible() -> None:
    gold = parse_gold("1-2 3p1 1p1", index=1)
    assert gold.sure == links((0, 1))
    assert gold.possible == links((0, 1), (2, 0), (0, 0))


@pytest.mark.parametrize("text", ["1-", "a-b", "1–2", "-1-2", "1-2-3", "1,2", "1234567890-1", "p"])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no alignment link"):
        parse_gold(text)


def test_the_wrong_index_is_named() -> None:
    with pytest.raises(DataError, match="counts words from 0") as caught:
        parse_gold("0-1", index=1)
    assert "--gold-index 0" in caught.value.hint
    with pytest.raises(DataError, match="possible links"):
        parse_pharaoh("0p1")


def test_links_out_of_range_are_refused() -> None:
    check_links(links((2, 4), (0, 0)), source=3, target=5)
    for bad in ((3, 0), (0, 5), (-1, 0)):
        with pytest.raises(DataError, match="out of range"):
            check_links(links(bad), source=3, target=5)
    with pytest.raises(DataError, match=r"4-1 is out of range.*counted from 1"):
        check_links(links((3, 0)), source=3, target=5, index=1)


def test_each_target_word_links_where_it_looks_most() -> None:
    matrix = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])  # 2 target words, 3 source words
    assert attention_links(matrix) == links((1, 0), (0, 1))
    assert attention_links(torch.tensor([[0.0, 0.0], [0.0, 1.0]])) == links((1, 1))
    assert attention_links(torch.tensor([[0.5, 0.5]])) == links((0, 0))
    assert attention_links(torch.zeros(0, 3)) == attention_links(torch.zeros(3, 0)) == links()


def test_links_of_random_attention_match_a_search_by_hand() -> None:
    matrix = torch.rand(7, 5, generator=torch.Generator().manual_seed(3))
    by_hand = {(max(range(5), key=lambda s: float(matrix[t, s])), t) for t in range(7)}
    assert attention_links(matrix) == by_hand


def test_shift_takes_the_row_in_which_the_word_is_the_input() -> None:
    rows = torch.arange(4)[:, None].expand(4, 3)  # <s> y1 y2 y3 as inputs: 3 target pieces
    assert shifted_rows(rows, shift=0)[:, 0].tolist() == [0, 1, 2]
    assert shifted_rows(rows, shift=1)[:, 0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="0 or 1"):
        shifted_rows(rows, shift=2)


def test_aer_of_an_example_worked_by_hand() -> None:
    # A has 4 links: 2 sure, 1 more possible, 1 wrong; S has 3.
    sure = links((0, 0), (1, 1), (2, 2))
    possible = links((0, 1), (3, 3))
    predicted = links((0, 0), (1, 1), (0, 1), (5, 5))
    gold = GoldLinks(sure=sure, possible=possible | sure)
    score = score_alignments([predicted], [gold])
    assert score.precision == pytest.approx(3 / 4)
    assert score.recall == pytest.approx(2 / 3)
    assert score.aer == pytest.approx(1 - (2 + 3) / (4 + 3))
    assert aer(sure=sure, possible=possible, predicted=predicted) == pytest.approx(score.aer)
    assert (score.sentences, score.links, score.sure, score.possible) == (1, 4, 3, 5)


def test_a_corpus_is_scored_by_its_sums() -> None:
    one = GoldLinks(sure=links((0, 0)), possible=links((0, 0)))
    three = GoldLinks(sure=links((0, 0), (1, 1), (2, 2)), possible=links((0, 0), (1, 1), (2, 2)))
    score = score_alignments([links((0, 0)), links((0, 1))], [one, three])
    assert score.aer == pytest.approx(1 - (1 + 1) / (2 + 4))
    assert (score.precision, score.recall) == (1 / 2, 1 / 4)


def test_with_sure_links_alone_aer_is_one_minus_f1() -> None:
    draw = random.Random(0)
    cells = list(itertools.product(range(4), range(5)))
    for _ in range(50):
        sure = frozenset(draw.sample(cells, 6))
        predicted = frozenset(draw.sample(cells, draw.randint(1, 9)))
        score = score_alignments([predicted], [GoldLinks(sure=sure, possible=sure)])
        p, r = score.precision, score.recall
        f1 = 2 * p * r / (p + r) if p + r else 0.0
        assert score.aer == pytest.approx(1 - f1)


def test_the_ends_of_the_scale() -> None:
    sure, possible = links((0, 0)), links((0, 0), (1, 0))
    gold = [GoldLinks(sure=sure, possible=possible)]
    assert score_alignments([possible], gold).aer == 0
    assert score_alignments([links((7, 7))], gold).aer == 1
    nothing = score_alignments([links()], [GoldLinks(sure=links(), possible=links())])
    assert (nothing.aer, nothing.precision, nothing.recall) == (0, 1, 1)
    with pytest.raises(ValueError, match="1 predicted sentences for 0"):
        score_alignments([links()], [])
    with pytest.raises(ValueError, match="possible"):
        GoldLinks(sure=sure, possible=links())


def test_swapping_twice_changes_nothing() -> None:
    found = links((0, 1), (2, 0))
    assert swapped(found) == links((1, 0), (0, 2))
    assert swapped(swapped(found)) == found


# -- Forced decoding in batches: as one by one, in order, a row and a column for `</s>`

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


# -- Joining two directions: examples by hand, and the published loops, run word for word

FORWARD = frozenset({(0, 0), (1, 1), (1, 2), (3, 4)})
BACKWARD = frozenset({(0, 0), (1, 1), (2, 2), (4, 3)})


def test_an_example_worked_by_hand() -> None:
    def found(heuristic: Any) -> Links:
        return symmetrize(FORWARD, BACKWARD, heuristic=heuristic)

    assert found("forward") == FORWARD
    assert found("backward") == BACKWARD
    assert found("intersection") == {(0, 0), (1, 1)}
    assert found("union") == FORWARD | BACKWARD
    # (1, 2) touches (1, 1) and gives target 2 its first link; then (2, 2) gives source 2 one.
    # (3, 4) and (4, 3) touch nothing that is linked.
    assert found("grow-diag") == {(0, 0), (1, 1), (1, 2), (2, 2)}
    assert found("grow-diag-final-and") == FORWARD | BACKWARD


def test_growing_leaves_out_links_between_words_that_have_one() -> None:
    forward, backward = frozenset({(0, 0), (1, 1), (0, 1)}), frozenset({(0, 0), (1, 1)})
    assert symmetrize(forward, backward, heuristic="grow-diag-final-and") == {(0, 0), (1, 1)}


def test_final_and_adds_only_between_two_free_words() -> None:
    forward, backward = frozenset({(0, 0), (0, 5), (3, 3)}), frozenset({(0, 0)})
    assert symmetrize(forward, backward, heuristic="grow-diag") == {(0, 0)}
    assert symmetrize(forward, backward, heuristic="grow-diag-final-and") == {(0, 0), (3, 3)}


def pseudo_code(forward: Links, backward: Links, *, size: int, final: bool) -> set[tuple[int, int]]:
    """GROW-DIAG-FINAL-AND as published: loops over every pair of words, Moses's neighbours."""
    neighbours = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    union, found = forward | backward, set(forward & backward)

    def linked(e: int | None = None, f: int | None = None) -> bool:
        return any(i == e if e is not None else j == f for i, j in found)

    added = True
    while added:
        added = False
        for e in range(size):
            for f in range(size):
                for a, b in neighbours if (e, f) in found else []:
                    new = e + a, f + b
                    free = not linked(e=new[0]) or not linked(f=new[1])
                    if free and new in union and new not in found:
                        found.add(new)
                        added = True
    for side in (forward, backward) if final else ():
        for e in range(size):
            for f in range(size):
                if (e, f) in side and not linked(e=e) and not linked(f=f):
                    found.add((e, f))
    return found


def related(draw: random.Random, size: int) -> tuple[Links, Links]:
    """Two noisy copies of a diagonal, each one-to-many in its own direction."""
    forward = {(min(size - 1, max(0, t + draw.choice([-1, 0, 0, 1]))), t) for t in range(size)}
    backward = {(s, min(size - 1, max(0, s + draw.choice([-1, 0, 0, 1])))) for s in range(size)}
    return frozenset(forward), frozenset(backward)


def test_growing_agrees_with_the_pseudo_code() -> None:
    draw = random.Random(5)
    for _ in range(300):
        forward, backward = related(draw, 6)
        grown = symmetrize(forward, backward, heuristic="grow-diag")
        final = symmetrize(forward, backward, heuristic="grow-diag-final-and")
        assert forward & backward <= grown <= final <= forward | backward
        assert grown == pseudo_code(forward, backward, size=6, final=False)
        assert final == pseudo_code(forward, backward, size=6, final=True)


def test_every_heuristic_agrees_with_itself_where_both_sides_do() -> None:
    same = frozenset({(0, 1), (1, 0), (2, 2)})
    for heuristic in HEURISTICS:
        assert symmetrize(same, same, heuristic=heuristic) == same
        assert symmetrize(frozenset(), frozenset(), heuristic=heuristic) == frozenset()


def test_attention_of_both_sides_is_mixed() -> None:
    forward = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]])  # 3 target words, 2 source words
    backward = torch.tensor([[0.2, 0.7, 0.1], [0.0, 0.3, 0.7]])
    mean, mean_back = combine(forward, backward, how="average")
    torch.testing.assert_close(mean, torch.tensor([[0.4, 0.2], [0.6, 0.4], [0.1, 0.8]]))
    torch.testing.assert_close(mean_back, mean.T)
    product, _ = combine(forward, backward, how="product")
    torch.testing.assert_close(product, torch.tensor([[0.12, 0.0], [0.35, 0.15], [0.01, 0.63]]))
    assert combine(forward, backward, how="none") == (forward, backward)


@pytest.mark.parametrize("how", ["none", "average", "product"])
def test_links_of_two_matrices(how: Any) -> None:
    forward = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9]])
    backward = torch.tensor([[0.5, 0.4, 0.1], [0.0, 0.2, 0.8]])
    spans = {"source": [(0, 1), (1, 2)], "target": [(0, 1), (1, 2), (2, 3)]}
    found = symmetric_links(forward, backward, heuristic="intersection", how=how, **spans)
    assert found == {(0, 0), (1, 2)}
    union = symmetric_links(forward, backward, heuristic="union", how=how, **spans)
    assert union == {(0, 0), (0, 1), (1, 2)}


# -- From pieces to tokens: by hand, and what must hold of every cut


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


# -- Contracted tokens get different words, in order; all others their maximum

# "the bank of the river" ↔ "la banque de le fleuve": "du fleuve".
ENGLISH = [(0, 3), (4, 8), (9, 11), (12, 15), (16, 21)]
FRENCH = [(0, 2), (3, 9), (10, 12), (10, 12), (13, 19)]
DU = [0.0, 0.0, 0.5, 0.3, 0.2]
MATRIX = torch.tensor([[0.9, 0.1, 0, 0, 0], [0.1, 0.9, 0, 0, 0], DU, DU, [0, 0, 0, 0.1, 0.9]])
WANTED = {(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)}


def test_tokens_that_share_their_characters_are_found() -> None:
    assert groups(FRENCH) == [[0], [1], [2, 3], [4]]
    assert groups([]) == []


def test_a_contraction_takes_the_best_words_in_order() -> None:
    assert token_links(MATRIX, source=ENGLISH, target=FRENCH) == WANTED
    noun = MATRIX.clone()
    noun[2] = noun[3] = torch.tensor([0.0, 0.0, 0.3, 0.1, 0.6])  # "of", and then the noun
    assert token_links(noun, source=ENGLISH, target=FRENCH) == WANTED - {(3, 3)} | {(4, 3)}


def test_links_of_too_little_mass_are_left_out() -> None:
    links = token_links(MATRIX, source=ENGLISH, target=FRENCH, least=0.4)
    assert links == WANTED - {(3, 3)}  # "le" of "du" has 0.3 of its attention on "the"
    assert token_links(MATRIX, source=ENGLISH, target=FRENCH, least=0.9) == frozenset()


def test_words_that_take_a_contraction_share_its_tokens() -> None:
    backward = torch.eye(5)
    backward[2] = backward[3] = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.0])  # "of", "the" see "du"
    links = token_links(backward, source=FRENCH, target=ENGLISH)
    assert swapped(links) == WANTED
    backward[3] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])  # "the" looks elsewhere
    assert token_links(backward, source=FRENCH, target=ENGLISH) == {
        (0, 0), (1, 1), (2, 2), (3, 2), (1, 3), (4, 4),
    }  # fmt: skip


def test_where_there_is_little_to_link_to() -> None:
    assert token_links(torch.zeros(0, 2), source=ENGLISH[:2], target=[]) == frozenset()
    assert token_links(torch.zeros(2, 2), source=ENGLISH[:2], target=FRENCH[2:4]) == frozenset()
    one = torch.tensor([[1.0], [1.0]])
    assert token_links(one, source=ENGLISH[:1], target=FRENCH[2:4]) == {(0, 0), (0, 1)}


@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 6))
def test_without_contractions_every_token_takes_its_maximum(seed: int, T: int, S: int) -> None:
    matrix = torch.rand(T, S, generator=torch.Generator().manual_seed(seed))
    spans = [[(i, i + 1) for i in range(length)] for length in (S, T)]
    assert token_links(matrix, source=spans[0], target=spans[1]) == attention_links(matrix)


def test_a_contraction_with_one_word_to_look_at_takes_it_whole() -> None:
    only = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    links = token_links(only, source=[(0, 2), (3, 5)], target=[(0, 2), (0, 2)])
    assert links == {(0, 0), (0, 1)}, "a word without mass is not a second choice"
