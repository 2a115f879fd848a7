"""Word alignments: links in Pharaoh format, links from attention, and the alignment error rate.

A link pairs a source word with a target word, both counted from 0 within the program. Attention
matrices are (T, S): a row a target word, a column a source word, `</s>` on neither side.
Sources: Och & Ney 2003 (sure and possible links, AER); Chen et al. 2020 (attention one step later).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from dlcli.errors import DataError

Link = tuple[int, int]
"""(source, target), from 0."""
Links = frozenset[Link]

_LINK = re.compile(r"(\d{1,9})([-p])(\d{1,9})")


@dataclass(frozen=True, kw_only=True)
class GoldLinks:
    """A sentence's links by hand: `sure` ones, and `possible` ones, which include the sure."""

    sure: Links
    possible: Links

    def __post_init__(self) -> None:
        """Check that every sure link is possible."""
        if not self.sure <= self.possible:
            raise ValueError("sure links must be possible links too")


@dataclass(frozen=True, kw_only=True)
class AlignmentScore:
    """How predicted links agree with gold ones, over a whole corpus."""

    aer: float
    """1 − (|A∩S| + |A∩P|) / (|A| + |S|), from 0 (good) to 1; 0 where there is nothing to link."""
    precision: float
    """|A∩P| / |A|; 1 where nothing was predicted."""
    recall: float
    """|A∩S| / |S|; 1 where no link is sure."""
    sentences: int
    links: int
    """|A|."""
    sure: int
    possible: int


def parse_pharaoh(text: str, *, index: int = 0) -> Links:
    """Read `0-0 1-2`: source-target pairs; words are counted from `index` in the text.

    Raises:
        DataError: something in it is no such pair, or counts from another number.
    """
    gold = parse_gold(text, index=index)
    if gold.possible != gold.sure:
        raise DataError(
            f"'{_shortened(text)}' has possible links ('p'), which only gold files have.",
            hint="Write source-target pairs such as 0-0 1-2.",
        )
    return gold.sure


def parse_gold(text: str, *, index: int = 0) -> GoldLinks:
    """Read gold links: `i-j` is a sure link and `ipj` a possible one.

    Args:
        text: one sentence's links, between spaces.
        index: the number of the first word, 0 or 1.

    Raises:
        DataError: something in it is no link, or counts from another number.
    """
    sure: set[Link] = set()
    possible: set[Link] = set()
    for item in text.split():
        match = _LINK.fullmatch(item)
        if match is None:
            raise DataError(
                f"'{_shortened(item)}' is no alignment link.",
                hint="Links are source-target pairs such as 0-0 1-2, or 0p3 for a possible one.",
            )
        link = int(match[1]) - index, int(match[3]) - index
        if min(link) < 0:
            raise DataError(
                f"The link {item} counts words from 0, not from {index}.",
                hint="Say so with --gold-index 0.",
            )
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return GoldLinks(sure=frozenset(sure), possible=frozenset(possible))


def format_pharaoh(links: Iterable[Link], *, index: int = 0) -> str:
    """Write links as `0-0 1-2`, sorted by source word, then by target word."""
    return " ".join(f"{source + index}-{target + index}" for source, target in sorted(links))


def check_links(links: Collection[Link], *, source: int, target: int, index: int = 0) -> None:
    """Make sure that links stay within a pair of sentences.

    Args:
        links: counted from 0.
        source: words in the source sentence.
        target: words in the target sentence.
        index: what the words are counted from in the message.

    Raises:
        DataError: a link points beyond the end of a sentence.
    """
    for i, j in sorted(links):
        if not (0 <= i < source and 0 <= j < target):
            raise DataError(
                f"The link {i + index}-{j + index} is out of range: "
                f"the sentences have {source} and {target} words, counted from {index}.",
                hint="Check the order of the files, their tokenisation, and --gold-index.",
            )


def swapped(links: Iterable[Link]) -> Links:
    """Exchange source and target."""
    return frozenset((target, source) for source, target in links)


def attention_links(matrix: Tensor) -> Links:
    """Link each target word to the source word that it attends to most.

    Args:
        matrix: (T, S) attention or anything like it, ≥ 0. A row of zeros gives no link; of equal
            maxima the first source word is taken.
    """
    T, S = matrix.shape
    if T == 0 or S == 0:
        return frozenset()
    best, where = matrix.max(dim=1)
    pairs = zip(where.tolist(), best.tolist(), strict=True)
    return frozenset((source, target) for target, (source, mass) in enumerate(pairs) if mass > 0)


def shifted_rows(matrix: Tensor, *, shift: int) -> Tensor:
    """Choose the attention rows of the target pieces y_1 … y_T.

    Args:
        matrix: (T + 1, S): row t was computed when y_t was the input (`<s>` first) and produced
            y_{t+1} (`</s>` last).
        shift: 0 takes the row that produced a piece, 1 the row in which it was the input.

    Returns:
        (T, S).

    Raises:
        ValueError: another shift.
    """
    if shift not in (0, 1):
        raise ValueError(f"shift must be 0 or 1, not {shift}")
    T = matrix.shape[0] - 1
    return matrix[shift : T + shift]


def score_alignments(predicted: Sequence[Links], gold: Sequence[GoldLinks]) -> AlignmentScore:
    """Score a corpus: counts are summed over its sentences before they are divided.

    Raises:
        ValueError: the two have different numbers of sentences.
    """
    if len(predicted) != len(gold):
        raise ValueError(f"{len(predicted)} predicted sentences for {len(gold)} gold ones")
    links = sum(map(len, predicted))
    sure = sum(len(one.sure) for one in gold)
    pairs = list(zip(predicted, gold, strict=True))
    in_sure = sum(len(found & one.sure) for found, one in pairs)
    in_possible = sum(len(found & one.possible) for found, one in pairs)
    return AlignmentScore(
        aer=1 - (in_sure + in_possible) / (links + sure) if links + sure else 0.0,
        precision=in_possible / links if links else 1.0,
        recall=in_sure / sure if sure else 1.0,
        sentences=len(gold),
        links=links,
        sure=sure,
        possible=sum(len(one.possible) for one in gold),
    )


def aer(*, sure: Links, possible: Links, predicted: Links) -> float:
    """Return the alignment error rate of one sentence; possible links need not repeat the sure."""
    gold = GoldLinks(sure=sure, possible=possible | sure)
    return score_alignments([predicted], [gold]).aer


def _shortened(text: str, *, longest: int = 40) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
