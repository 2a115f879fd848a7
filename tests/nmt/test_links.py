"""Links read and scored, taken from attention, and joined: by hand, and as published."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcli.errors import DataError
from dlcli.nmt.links import (
    GoldLinks,
    Link,
    Links,
    attention_links,
    check_links,
    combine,
    format_pharaoh,
    groups,
    parse_gold,
    parse_pharaoh,
    score_alignments,
    swapped,
    symmetric_links,
    symmetrize,
    token_links,
)


def links(*pairs: Link) -> Links:
    return frozenset(pairs)


def test_pharaoh_reads_and_writes_the_same() -> None:
    found = parse_pharaoh("2-0  0-0 10-3\n")
    assert found == links((2, 0), (0, 0), (10, 3))
    assert format_pharaoh(found) == "0-0 2-0 10-3"
    assert parse_pharaoh("") == links()
    assert format_pharaoh([]) == ""


def test_gold_tells_sure_from_possible() -> None:
    for text in ("1-2 3p1 1p1", "1-2\t3?1 1?1 "):
        gold = parse_gold(text, index=1)
        assert gold.sure == links((0, 1))
        assert gold.possible == links((0, 1), (2, 0), (0, 0))


@pytest.mark.parametrize(
    "text", ["1-", "a-b", "1–2", "-1-2", "1-2-3", "1,2", "1234567890-1", "p", "0-0\u00a01-1"]
)
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
    check_links(links((2, 4), (0, 0)), source=3, target=5, index=0)
    for bad in ((3, 0), (0, 5)):
        with pytest.raises(DataError, match=r"out of range.*counted from 1"):
            check_links(links(bad), source=3, target=5, index=1)


def test_aer_of_an_example_worked_by_hand() -> None:
    # A has 4 links: 2 sure, 1 more possible, 1 wrong; S has 3.
    sure = links((0, 0), (1, 1), (2, 2))
    gold = GoldLinks(sure=sure, possible=sure | links((0, 1), (3, 3)))
    score = score_alignments([links((0, 0), (1, 1), (0, 1), (5, 5))], [gold])
    assert score.precision == pytest.approx(3 / 4)
    assert score.recall == pytest.approx(2 / 3)
    assert score.aer == pytest.approx(1 - (2 + 3) / (4 + 3))
    assert (score.sentences, score.links, score.sure, score.possible) == (1, 4, 3, 5)


def test_a_corpus_is_scored_by_its_sums() -> None:
    one, three = links((0, 0)), links((0, 0), (1, 1), (2, 2))
    gold = [GoldLinks(sure=known, possible=known) for known in (one, three)]
    score = score_alignments([links((0, 0)), links((0, 1))], gold)
    assert score.aer == pytest.approx(1 - (1 + 1) / (2 + 4))
    assert (score.precision, score.recall) == (1 / 2, 1 / 4)


def test_the_ends_of_the_scale() -> None:
    sure, possible = links((0, 0)), links((0, 0), (1, 0))
    gold = [GoldLinks(sure=sure, possible=possible)]
    assert score_alignments([possible], gold).aer == 0
    assert score_alignments([links((7, 7))], gold).aer == 1
    nothing = score_alignments([links()], [GoldLinks(sure=links(), possible=links())])
    assert (nothing.aer, nothing.precision, nothing.recall) == (0, 1, 1)
    with pytest.raises(ValueError, match="do not pair up"):
        score_alignments([links()], [])
    with pytest.raises(ValueError, match="possible"):
        GoldLinks(sure=sure, possible=links())


def test_each_target_word_links_where_it_looks_most() -> None:
    matrix = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])  # 2 target words, 3 source words
    assert attention_links(matrix) == links((1, 0), (0, 1))
    assert attention_links(torch.tensor([[0.0, 0.0], [0.0, 1.0]])) == links((1, 1))
    assert attention_links(torch.tensor([[0.5, 0.5]])) == links((0, 0))
    assert attention_links(torch.zeros(0, 3)) == attention_links(torch.zeros(3, 0)) == links()


@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 6))
def test_without_contractions_every_token_takes_its_maximum(seed: int, T: int, S: int) -> None:
    matrix = torch.rand(T, S, generator=torch.Generator().manual_seed(seed))
    source, target = ([(i, i + 1) for i in range(length)] for length in (S, T))
    found = token_links(matrix, source=source, target=target)
    assert found == attention_links(matrix)
    assert found == {(max(range(S), key=lambda s: float(matrix[t, s])), t) for t in range(T)}


# "the bank of the river" ↔ "la banque de le fleuve": "du fleuve".
ENGLISH = [(0, 3), (4, 8), (9, 11), (12, 15), (16, 21)]
FRENCH = [(0, 2), (3, 9), (10, 12), (10, 12), (13, 19)]
DU = [0.0, 0.0, 0.5, 0.3, 0.2]
MATRIX = torch.tensor([[0.9, 0.1, 0, 0, 0], [0.1, 0.9, 0, 0, 0], DU, DU, [0, 0, 0, 0.1, 0.9]])
WANTED = {(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)}


def test_a_contraction_takes_the_best_words_in_order() -> None:
    assert groups(FRENCH) == [[0], [1], [2, 3], [4]]
    assert token_links(MATRIX, source=ENGLISH, target=FRENCH) == WANTED
    noun = MATRIX.clone()
    noun[2] = noun[3] = torch.tensor([0.0, 0.0, 0.3, 0.1, 0.6])  # "of", and then the noun
    assert token_links(noun, source=ENGLISH, target=FRENCH) == WANTED - {(3, 3)} | {(4, 3)}


def test_links_of_too_little_mass_are_left_out() -> None:
    found = token_links(MATRIX, source=ENGLISH, target=FRENCH, least=0.4)
    assert found == WANTED - {(3, 3)}  # "le" of "du" has 0.3 of its attention on "the"
    assert token_links(MATRIX, source=ENGLISH, target=FRENCH, least=0.9) == frozenset()


def test_words_that_take_a_contraction_share_its_tokens() -> None:
    backward = torch.eye(5)
    backward[2] = backward[3] = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.0])  # "of", "the" see "du"
    assert swapped(token_links(backward, source=FRENCH, target=ENGLISH)) == WANTED
    backward[3] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])  # "the" looks elsewhere
    assert token_links(backward, source=FRENCH, target=ENGLISH) == {
        (0, 0), (1, 1), (2, 2), (3, 2), (1, 3), (4, 4),
    }  # fmt: skip


def test_where_there_is_little_to_link_to() -> None:
    assert token_links(torch.zeros(0, 2), source=ENGLISH[:2], target=[]) == frozenset()
    assert token_links(torch.zeros(2, 2), source=ENGLISH[:2], target=FRENCH[2:4]) == frozenset()
    one = torch.tensor([[1.0], [1.0]])
    assert token_links(one, source=ENGLISH[:1], target=FRENCH[2:4]) == {(0, 0), (0, 1)}
    only = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = token_links(only, source=ENGLISH[:2], target=FRENCH[2:4])
    assert found == {(0, 0), (0, 1)}, "a word without mass is not a second choice"


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
