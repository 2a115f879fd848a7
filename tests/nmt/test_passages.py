"""Cutting long lines: where a reader would, and nothing is lost."""

from __future__ import annotations

from dlcli.nmt.text import cut_passage


def test_what_fits_is_left_alone() -> None:
    assert cut_passage("One. Two.", fits=lambda _: True) == ["One. Two."]
    assert cut_passage("", fits=lambda part: len(part) < 3) == [""]


def test_sentences_are_the_first_choice() -> None:
    text = "It rains. “Does it?” It does! So what"
    parts = cut_passage(text, fits=lambda part: len(part) <= 20)
    assert parts == ["It rains.", "“Does it?”", "It does!", "So what"]


def test_long_sentences_are_cut_at_the_best_place_near_their_middle() -> None:
    text = "one two, three four; five six seven eight"
    assert cut_passage(text, fits=lambda part: len(part.split()) <= 4) == [
        "one two, three four;",
        "five six seven eight",
    ]
    assert cut_passage("one two, three four", fits=lambda part: len(part.split()) <= 2) == [
        "one two,",
        "three four",
    ]


def test_five_thousand_words_come_back_in_order() -> None:
    words = [f"w{i}" for i in range(5000)]
    parts = cut_passage(" ".join(words), fits=lambda part: len(part.split()) <= 60)
    assert " ".join(parts).split() == words
    assert all(len(part.split()) <= 60 for part in parts)
    assert len(parts) <= 200


def test_a_word_without_end_is_cut_too() -> None:
    parts = cut_passage("a" * 1000, fits=lambda part: len(part) <= 7)
    assert "".join(parts) == "a" * 1000
    assert cut_passage("ab", fits=lambda _: False) == ["a", "b"]
