"""Named data sets: where they come from, how they are checked, tensors and sentences out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.data.catalogue import DATA_SETS as DATA_SETS
    from dlcli.data.catalogue import DataSet as DataSet
    from dlcli.data.catalogue import recommended as recommended
    from dlcli.data.corpora import load_corpus as load_corpus
    from dlcli.data.images import ImageData as ImageData
    from dlcli.data.images import load_images as load_images
    from dlcli.data.pairs import Corpus as Corpus
    from dlcli.data.pairs import Pairs as Pairs
    from dlcli.data.wordsplit import split_words as split_words

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Corpus": "dlcli.data.pairs",
        "DATA_SETS": "dlcli.data.catalogue",
        "DataSet": "dlcli.data.catalogue",
        "ImageData": "dlcli.data.images",
        "Pairs": "dlcli.data.pairs",
        "load_corpus": "dlcli.data.corpora",
        "load_images": "dlcli.data.images",
        "recommended": "dlcli.data.catalogue",
        "split_words": "dlcli.data.wordsplit",
    },
)
