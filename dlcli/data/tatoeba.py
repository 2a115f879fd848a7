"""Tatoeba: short everyday sentences, many of which have several translations.

The archive lists each English sentence once for every French one. Sentences are dealt out in
families (`dlcli.data.splitting`), so that no sentence of either language is in two splits.
"""

from __future__ import annotations

from pathlib import Path

from dlcli.data.catalogue import TATOEBA
from dlcli.data.checks import open_checked
from dlcli.data.lines import Tally, columns, read_lines
from dlcli.data.pairs import Corpus
from dlcli.data.splitting import split_corpus

HELD_OUT = 2_000
"""Different English sentences in the validation set, and as many in the test set."""


def read_tatoeba(folder: Path) -> Corpus:
    """Read the corpus from a data folder whose files were checked."""
    (check,) = TATOEBA.files
    tally = Tally()
    with open_checked(folder, check) as file:
        pairs = list(columns(read_lines(file, name=check.name), tally=tally))
    return split_corpus(pairs, name=TATOEBA.name, held_out=HELD_OUT, tally=tally)
