"""Contracted tokens get different words, in order; all others their maximum."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcli.nmt.alignment import attention_links, groups, swapped, token_links

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
