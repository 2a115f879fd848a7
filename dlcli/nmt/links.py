"""Word alignments: links in Pharaoh format, their error rate, and links from attention.

A link pairs a source word with a target word, both counted from 0 within the program. Attention
matrices are (T, S): a row a target word, a column a source word, `</s>` on neither side.

Sources: Och & Ney 2003 (sure and possible links, error rate, heuristics that join two directions);
Koehn, Och & Marcu 2003 (grow-diag), as in Moses and fast_align.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from dlcli.errors import DataError
from dlcli.nmt.config import Combination, Heuristic
from dlcli.nmt.text import Span, tokens_of

Link = tuple[int, int]
"""(source, target), from 0."""
Links = frozenset[Link]

HEURISTICS: tuple[Heuristic, ...] = get_args(Heuristic)
_LINK = re.compile(r"(\d{1,9})([-p?])(\d{1,9})")


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


def parse_pharaoh(text: str) -> Links:
    """Read `0-0 1-2`: source-target pairs, words counted from 0.

    Raises:
        DataError: something in it is no such pair.
    """
    gold = parse_gold(text)
    if gold.possible != gold.sure:
        raise DataError(
            f"'{_shortened(text)}' has possible links ('p'), which only gold files have.",
            hint="Write source-target pairs such as 0-0 1-2.",
        )
    return gold.sure


def format_pharaoh(links: Iterable[Link]) -> str:
    """Write links as `0-0 1-2`, sorted by source word, then by target word."""
    return " ".join(f"{source}-{target}" for source, target in sorted(links))


def parse_gold(text: str, *, index: int = 0) -> GoldLinks:
    """Read gold links: `i-j` is a sure link, `ipj` or `i?j` a possible one.

    Args:
        text: one sentence's links, between spaces.
        index: the number of the first word, 0 or 1.

    Raises:
        DataError: something in it is no link, or counts from another number.
    """
    sure: set[Link] = set()
    possible: set[Link] = set()
    for item in tokens_of(text):
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


def counts_from_one(sentences: Iterable[Links]) -> bool:
    """Say whether there are links, and none of a first word that is counted as 0."""
    numbers = {number for links in sentences for link in links for number in link}
    return bool(numbers) and 0 not in numbers


def _shortened(text: str, *, longest: int = 40) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def check_links(links: Links, *, source: int, target: int, index: int) -> None:
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
        if not (i < source and j < target):
            raise DataError(
                f"The link {i + index}-{j + index} is out of range: "
                f"the sentences have {source} and {target} words, counted from {index}.",
                hint="Check the order of the files, their tokenisation, and --gold-index.",
            )


def score_alignments(predicted: Sequence[Links], gold: Sequence[GoldLinks]) -> AlignmentScore:
    """Score a corpus: counts are summed over its sentences before they are divided.

    Raises:
        ValueError: the two have different numbers of sentences.
    """
    if len(predicted) != len(gold):
        raise ValueError(f"{len(predicted)} alignments and {len(gold)} gold ones do not pair up")
    pairs = list(zip(predicted, gold, strict=True))
    links = sum(map(len, predicted))
    sure = sum(len(one.sure) for one in gold)
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


Group = list[int]
"""Tokens that share their characters, in order; most are alone."""


def token_links(
    matrix: Tensor, *, source: Sequence[Span], target: Sequence[Span], least: float = 0.0
) -> Links:
    """Link each target token to where it looks most, contracted ones to different words.

    French "de" "le" both became "du", so their attention is the same, and linking each to its
    maximum would link both to one word. Those who align by hand link "de" to "of" and "le" to
    "the", or to the noun where there is no article: the best words, one each, in order. With no
    contraction this is `attention_links`.

    Args:
        matrix: (T, S) attention or anything like it, ≥ 0; tokens with the same span have the same
            rows or columns.
        source: the characters of each source token.
        target: the characters of each target token.
        least: links of no more mass than this are left out.
    """
    if not source or not target:
        return frozenset()
    columns, rows = groups(source), groups(target)
    masses = matrix[[group[0] for group in rows]][:, [group[0] for group in columns]]
    chosen: list[Group] = [[] for _ in columns]
    """The target tokens that take each group of source tokens, in order."""
    for row, tokens in zip(masses, rows, strict=True):
        for token, column in zip(tokens, _best(row, count=len(tokens)), strict=False):
            if float(row[column]) > least:
                chosen[column].append(token)
    pairs = zip(columns, chosen, strict=True)
    return frozenset(itertools.chain.from_iterable(_paired(*pair) for pair in pairs))


def groups(spans: Sequence[Span]) -> list[Group]:
    """Put neighbours with the same span together."""
    runs = itertools.groupby(range(len(spans)), key=lambda index: spans[index])
    return [list(run) for _, run in runs]


def _best(row: Tensor, *, count: int) -> list[int]:
    """Return the places of the `count` greatest masses, in order; the last one for want of more."""
    places = row.argsort(descending=True, stable=True)[:count].tolist()
    found = sorted(place for place in places if float(row[place]) > 0)
    return found + found[-1:] * (count - len(found))


def _paired(source: Group, target: Group) -> list[Link]:
    """Pair a contraction's tokens with those that take it: in order, or all with a single one."""
    if len(target) == 1:
        return [(token, target[0]) for token in source]
    k, m = len(source), len(target)
    return [(source[rank * k // m], token) for rank, token in enumerate(target)]


def symmetric_links(
    forward: Tensor,
    backward: Tensor,
    *,
    source: Sequence[Span],
    target: Sequence[Span],
    heuristic: Heuristic,
    how: Combination,
    least: float = 0.0,
) -> Links:
    """Link tokens by two attention matrices of opposite directions.

    A model links each of its target words to one source word, so it can give one source word many
    targets but no target two sources; the model of the other direction errs the other way.

    Args:
        forward: (T, S), rows of target tokens.
        backward: (S, T), rows of source tokens.
        source: the characters of each source token, see `token_links`.
        target: the characters of each target token.
        heuristic: see `symmetrize`.
        how: see `combine`.
        least: of the (mixed) matrices, see `token_links`.
    """
    by_target, by_source = combine(forward, backward, how=how)
    one = token_links(by_target, source=source, target=target, least=least)
    other = swapped(token_links(by_source, source=target, target=source, least=least))
    return symmetrize(one, other, heuristic=heuristic)


def combine(forward: Tensor, backward: Tensor, *, how: Combination) -> tuple[Tensor, Tensor]:
    """Mix the attention matrices of two directions, so that each side knows what the other saw.

    Args:
        forward: (T, S).
        backward: (S, T), of the model of the other direction.
        how: `none` leaves them; `average` and `product` give both directions the same matrix.

    Returns:
        (T, S) and (S, T).
    """
    if how == "none":
        return forward, backward
    mixed = (forward + backward.T) / 2 if how == "average" else forward * backward.T
    return mixed, mixed.T


def swapped(links: Iterable[Link]) -> Links:
    """Exchange source and target."""
    return frozenset((target, source) for source, target in links)


def symmetrize(forward: Links, backward: Links, *, heuristic: Heuristic) -> Links:
    """Join the links of two directions.

    Args:
        forward: of the model that translates source to target.
        backward: of the other model, already as (source, target).
        heuristic: `intersection`, `union`, `grow-diag` (the intersection, and neighbours from the
            union where a word has no link yet), `grow-diag-final-and` (then links of either
            between two words without any); `forward` and `backward` take one side alone.
    """
    if heuristic == "forward":
        return forward
    if heuristic == "backward":
        return backward
    if heuristic == "intersection":
        return forward & backward
    if heuristic == "union":
        return forward | backward
    grown = _grow_diag(forward & backward, forward | backward)
    if heuristic == "grow-diag-final-and":
        for side in (forward, backward):
            grown = _final_and(grown, side)
    return grown


NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def _grow_diag(start: Links, union: Links) -> Links:
    """Add neighbours of links, from the union, until no word without a link can get one so."""
    found = set(start)
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    before = -1
    while len(found) > before:
        before = len(found)
        for link in sorted(union):
            for down, right in NEIGHBOURS if link in found else ():
                i, j = link[0] + down, link[1] + right
                if (i, j) in union and not (i in sources and j in targets):
                    found.add((i, j))
                    sources.add(i)
                    targets.add(j)
    return frozenset(found)


def _final_and(start: Links, side: Links) -> Links:
    """Add links of one side between two words that have none."""
    found = set(start)
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    for i, j in sorted(side):
        if i not in sources and j not in targets:
            found.add((i, j))
            sources.add(i)
            targets.add(j)
    return frozenset(found)
