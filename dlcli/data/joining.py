"""Several corpora as one to train on: "europarl+tatoeba"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dlcli.data.pairs import Corpus, Pairs
from dlcli.data.splitting import sentence_key
from dlcli.data.text_files import is_path

MARK = "+"
HELD_OUT = "held out by another corpus"
"""Why a pair of a joined corpus is dropped."""


def is_joined(name: str) -> bool:
    """Tell the names of several corpora, with `+` between, from the name of one."""
    return MARK in name and not is_path(name)


def parts_of(name: str) -> list[str]:
    """Return the corpora that a name names: "europarl+tatoeba" two, others themselves."""
    return name.split(MARK) if is_joined(name) else [name]


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Join corpora of the same direction: all are trained on, the first chooses and tests.

    A training pair that shares a sentence, on either side, with the validation or test pairs of
    another of them is left out, so that every one of their tests can be read afterwards. Word
    alignments of training pairs, where there are any, are not kept.

    Args:
        corpora: one or more, each with its splits.
    """
    held_out = [_held_out(corpus) for corpus in corpora]
    source: list[str] = []
    target: list[str] = []
    dropped: Counter[str] = Counter()
    for number, corpus in enumerate(corpora):
        others = set[str]().union(*(keys for at, keys in enumerate(held_out) if at != number))
        dropped.update(corpus.dropped)
        for one, two in zip(corpus.train.source, corpus.train.target, strict=True):
            if sentence_key(one) in others or sentence_key(two) in others:
                dropped[HELD_OUT] += 1
            else:
                source.append(one)
                target.append(two)
    first = corpora[0]
    return Corpus(
        name=MARK.join(corpus.name for corpus in corpora),
        languages=first.languages,
        train=Pairs(source=tuple(source), target=tuple(target)),
        valid=first.valid,
        tests=first.tests,
        dropped=dict(dropped),
    )


def _held_out(corpus: Corpus) -> set[str]:
    splits = (corpus.valid, *corpus.tests.values())
    sides = (side for pairs in splits for side in (pairs.source, pairs.target))
    return {sentence_key(text) for side in sides for text in side}
