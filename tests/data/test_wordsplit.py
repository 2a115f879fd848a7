from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.data.sentences import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Signed in August 1992.", "Signed|in|August|1992|."),
        ("L'accord a été signé.", "L'|accord|a|été|signé|."),
        ("J’ai dit qu’il l'a vu jusqu'ici.", "J’|ai|dit|qu’|il|l'|a|vu|jusqu'|ici|."),
        ("C'est-à-dire", "C'|est-à-dire"),
        ("aujourd'hui quelqu'un don't va-t'en", "aujourd'hui|quelqu'un|don't|va-t'en"),
        ("the parents' house, isn't it?", "the|parents|'|house|,|isn't|it|?"),
        ("l' accord de l'«Europe»", "l'|accord|de|l'|«|Europe|»"),
        ("The agreement ...", "The|agreement|..."),
        ("The agreement... what?!", "The|agreement|...|what|?|!"),
        ("2.8c, 1,000 at 10:30, 7%.", "2.8c|,|1,000|at|10:30|,|7|%|."),
        ("the U.S. and e.g. Mr. X", "the|U.S.|and|e.g.|Mr|.|X"),
        ("peut-être - and/or", "peut-être|-|and|/|or"),
        ("snake_case _", "snake|_|case|_"),
        ("हिन्दी e\u0301te\u0301", "हिन्दी|e\u0301te\u0301"),
        ("👨\u200d👩\u200d👧👍🏽🇫🇷", "👨\u200d👩\u200d👧|👍🏽|🇫🇷"),
        ("שלום עולם!", "שלום|עולם|!"),
        ("a\u00a0b\u200b \tc\n", "a|b|c"),
        ("", ""),
    ],
)
def test_words_of(text: str, words: str) -> None:
    assert [word.text for word in split_words(text)] == [w for w in words.split("|") if w]


@given(st.text())
def test_nothing_is_lost_but_space(text: str) -> None:
    words = split_words(text)
    assert all(text[word.start : word.end] == word.text for word in words)
    places = [0, *(place for word in words for place in (word.start, word.end)), len(text)]
    assert places == sorted(places)
    between = "".join(text[a:b] for a, b in zip(places[::2], places[1::2], strict=True))
    assert all(c.isspace() or c in "\u200b\ufeff" for c in between)
    assert all(word.text and not any(map(str.isspace, word.text)) for word in words)
