"""The sentences of a command: splits with their links, and files of lines that belong together."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcli.data.grammar import load_grammar
from dlcli.data.sentences import Pairs
from dlcli.data.text import STDIN
from dlcli.errors import ConfigError, DataError
from dlcli.nmt.pairs import Parallel, of_corpus, read_gold, read_joined, read_two, to_align


def grammar(**settings: Any) -> Parallel:
    return of_corpus(
        "grammar", **{"direction": "en-fr", "offline": True, "notice": print, **settings}
    )


def test_a_corpus_brings_its_links_along() -> None:
    expected = load_grammar(train=2, valid=1, test=3)
    found = grammar(count=3)
    assert (found.data, found.split) == ("grammar", "test")
    assert found.pairs == expected.tests["test"]
    train = grammar(count=2, split="train", direction="fr-en").pairs
    assert list(train.source) == list(expected.train.target)
    assert train.links == expected.train.swapped().links
    with pytest.raises(ConfigError, match="no split 'x'"):
        grammar(split="x")


def test_files_are_read_with_their_links(tmp_path: Path) -> None:
    texts = {"en": "a b\n", "fr": "c\n", "both": "a b ||| c\n", "gold": "0-0\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    en, fr, both, gold = (tmp_path / name for name in texts)
    two = to_align(source=en, target=fr, pairs=None, gold=gold)
    assert (two.data, two.pairs) == ("en", Pairs(source=["a b"], target=["c"], links=["0-0"]))
    one = to_align(source=None, target=None, pairs=both, gold=None)
    assert (one.data, one.pairs) == ("both", Pairs.of([("a b", "c")]))


def written(folder: Path, data: bytes, name: str = "file") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


NUMBERED = "0001 1 1 S\n1 2 3 P 0.5\n1\t0 4\n3 2 2\n"


@pytest.mark.parametrize(
    ("index", "first", "third"), [(0, "0-0 1p2", "1-1"), (1, "1-1 2p3", "2-2")]
)
def test_links_may_come_one_a_line_with_the_number_of_their_pair(
    index: int, first: str, third: str, tmp_path: Path
) -> None:
    path = written(tmp_path, NUMBERED.encode())
    assert read_gold(path, pairs=3, index=index) == [first, "", third]
    with pytest.raises(DataError, match="a link of pair 3, of 2 in all"):
        read_gold(path, pairs=2, index=index)


def test_a_no_break_space_stays_at_the_end_of_a_side(tmp_path: Path) -> None:
    path = written(tmp_path, "a b\u00a0 ||| \u202fc".encode())
    assert read_joined(path) == Pairs.of([("a b\u00a0", "\u202fc")])


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a ||| b\n")))
    assert read_joined(STDIN) == Pairs.of([("a", "b")])


def test_two_files_go_line_by_line(tmp_path: Path) -> None:
    first, second = written(tmp_path, b"a\nb\n", "en"), written(tmp_path, b"c\n\n", "fr")
    assert read_two(first, second) == Pairs(source=["a", "b"], target=["c", ""])
    with pytest.raises(DataError, match=r"en has 2 lines and .*one has 1"):
        read_two(first, written(tmp_path, b"c", "one"))


def test_joined_lines_have_two_sides(tmp_path: Path) -> None:
    found = read_joined(written(tmp_path, b"a b ||| c  \n|||\n"))
    assert found == Pairs.of([("a b", "c"), ("", "")])
    for wrong in (b"a b c\n", b"a ||| b ||| c\n"):
        with pytest.raises(DataError, match="Line 1 of"):
            read_joined(written(tmp_path, wrong))
