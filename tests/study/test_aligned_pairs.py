from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.data.grammar.corpus import load_grammar
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.nmt.align import AlignedPairs, pairs_of_corpus, pairs_of_files


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
