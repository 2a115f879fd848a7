"""Links read and written, attention into links, and AER against its definition."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from dlcli.errors import DataError
from dlcli.nmt.alignment import (
    GoldLinks,
    Link,
    Links,
    aer,
    attention_links,
    check_links,
    format_pharaoh,
    parse_gold,
    parse_pharaoh,
    score_alignments,
    shifted_rows,
    swapped,
)


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
