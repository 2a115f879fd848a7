"""Multi30k: captions of photographs, with the splits that its authors publish.

Text stays raw and cased; who compares with lower-cased figures lower-cases when scoring.
"""

from __future__ import annotations

from pathlib import Path

from dlcli.data.catalogue import MULTI30K
from dlcli.data.gzipped import read_gzipped
from dlcli.data.lines import Tally
from dlcli.data.pairs import Corpus

TESTS = ("test_2016_flickr", "test_2017_flickr")


def read_multi30k(folder: Path) -> Corpus:
    """Read the corpus from a data folder whose files were checked."""
    tally = Tally()
    inside = folder / "multi30k"
    return Corpus(
        name=MULTI30K.name,
        languages=("en", "fr"),
        train=read_gzipped(inside / "train", tally=tally),
        valid=read_gzipped(inside / "val", tally=tally),
        tests={name: read_gzipped(inside / name, tally=tally) for name in TESTS},
        dropped=dict(tally.dropped),
    )
