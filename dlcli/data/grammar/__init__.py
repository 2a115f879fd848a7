"""The embedded data set `grammar`: English–French pairs from a grammar of our own.

A meaning is a tree (`meaning`), drawn from finite spaces that are counted exactly (`space`,
`groups`, `statements`); both sentences are made from it at once (`phrases`, `clauses`), so that
the links between their words are known. The lexicon is in `nouns`, `adjectives`, `verbs`, `names`
and `dates`; `french`, `elision` and `english` know the forms.
"""

from __future__ import annotations

from dlcli.data.grammar.corpus import TRAIN_PAIRS, famous, load_grammar

__all__ = ["TRAIN_PAIRS", "famous", "load_grammar"]
