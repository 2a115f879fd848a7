"""Word alignments: links in Pharaoh format, links from attention, and the alignment error rate.

A link pairs a source word with a target word, both counted from 0 within the program. Attention
matrices are (T, S): a row a target word, a column a source word, `</s>` on neither side.
Sources: Och & Ney 2003 (sure and possible links, AER); Chen et al. 2020 (attention one step later).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dlcli.errors import DataError, UsageFault
from dlcli.nmt.batching import Bitext, SentenceBatch, cut
from dlcli.nmt.model import TranslationModel
from dlcli.nmt.text import Span
from dlcli.nmt.tokenizer import Piece, Tokenizer

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


# -- Links between tokens of which some were contracted, from attention that cannot tell them apart
# French "de" "le" both became "du", so their attention is the same, and linking each to its maximum
# would link both to one word. Those who align by hand link "de" to "of" and "le" to "the", or to
# the noun where there is no article: the best words, one each, in order. With no contraction this
# is `alignment.attention_links`. Legend: T target tokens, S source tokens.

Group = list[int]
"""Tokens that share their characters, in order; most are alone."""


def token_links(
    matrix: Tensor, *, source: Sequence[Span], target: Sequence[Span], least: float = 0.0
) -> Links:
    """Link each target token to where it looks most, contracted ones to different words.

    Args:
        matrix: (T, S) attention or anything like it, ≥ 0; tokens with the same span have the same
            rows or columns.
        source: the characters of each source token.
        target: the characters of each target token.
        least: links of no more mass than this are left out.
    """
    if not len(source) or not len(target):
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


# -- Two alignments of opposite directions made into one
# A model links each of its target words to one source word, so it can give one source word many
# targets but no target two sources; the model of the other direction errs the other way. Heuristics
# of Och & Ney 2003 and Koehn, Och & Marcu 2003, as in Moses and fast_align. All links here are
# (source, target) of the forward direction.

Heuristic = Literal[
    "intersection", "union", "grow-diag", "grow-diag-final-and", "forward", "backward"
]
Combination = Literal["none", "average", "product"]
HEURISTICS: tuple[Heuristic, ...] = get_args(Heuristic)
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)

NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def symmetrize(forward: Links, backward: Links, *, heuristic: Heuristic) -> Links:
    """Join the links of two directions.

    Args:
        forward: of the model that translates source to target.
        backward: of the other model, already as (source, target): see `alignment.swapped`.
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


def symmetric_links(
    forward: Tensor,
    backward: Tensor,
    *,
    source: Sequence[Span],
    target: Sequence[Span],
    heuristic: Heuristic,
    how: Combination = "none",
    least: float = 0.0,
) -> Links:
    """Link tokens by two attention matrices of opposite directions.

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


def _grow_diag(start: Links, union: Links) -> Links:
    """Add neighbours of links, from the union, until no word without a link can get one so."""
    found = set(start)
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    candidates = sorted(union)
    before = -1
    while len(found) > before:
        before = len(found)
        for link in candidates:
            if link not in found:
                continue
            for new in _neighbours(link):
                if (
                    new in union
                    and new not in found
                    and not (new[0] in sources and new[1] in targets)
                ):
                    found.add(new)
                    sources.add(new[0])
                    targets.add(new[1])
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


def _neighbours(link: Link) -> list[Link]:
    return [(link[0] + down, link[1] + right) for down, right in NEIGHBOURS]


# -- Where a translator looks while it reads a translation that is given: forced decoding
# Either what attention says before a word is known, or where the word came from once it is.
#
# Legend: S source pieces, T target pieces; matrices have a column and a row more, for `</s>`.

Kind = Literal["attention", "posterior"]
KINDS: tuple[Kind, ...] = get_args(Kind)

AT_ONCE = 4096
"""Pairs among which those alike in length are put together."""
BATCH_TOKENS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class ForcedAttention:
    """The attention of one pair, or the posterior that takes its place."""

    rows: Tensor
    """(T + 1, S + 1) float32 on the CPU: row t was computed when piece t was the input (`<s>`
    first) and produced piece t + 1 (`</s>` last); each sums to one."""
    source: tuple[Piece, ...]
    target: tuple[Piece, ...]


def forced_attention(
    model: TranslationModel,
    tokenizer: Tokenizer,
    pairs: Iterable[tuple[str, str]],
    *,
    kind: Kind = "attention",
) -> Iterator[ForcedAttention]:
    """Read pairs of sentences and yield the attention of each, in order.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: the model's own.
        pairs: running text, source first; either may be empty.
        kind: `attention`, or `posterior`: where each piece came from once it is known, see
            `dlcli.nmt.model`.

    Raises:
        UsageFault: the model has no attention.
    """
    if not model.has_attention:
        raise UsageFault(
            "This model was trained with --attention none, so it has no attention to look at.",
            hint="Choose a run that was trained with --attention additive.",
        )
    stream = iter(pairs)
    while chunk := list(itertools.islice(stream, AT_ONCE)):
        yield from _together(model, tokenizer, chunk, kind=kind)


def _together(
    model: TranslationModel, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], *, kind: Kind
) -> list[ForcedAttention]:
    """Read a few thousand pairs in batches of like length."""
    source = [tuple(tokenizer.pieces(text)) for text, _ in pairs]
    target = [tuple(tokenizer.pieces(text)) for _, text in pairs]
    device = model.device
    bitext = Bitext(_ids(source), _ids(target), device=device)
    order = np.argsort(bitext.longer, kind="stable")
    found: list[Tensor] = [torch.empty(0)] * len(pairs)
    for start, stop in cut(bitext.longer[order], size=BATCH_TOKENS, unit="tokens"):
        batch = bitext.batch(order[start:stop])
        with torch.inference_mode():
            matrices = _matrices(model, batch, kind=kind)
        for place, matrix in zip(order[start:stop].tolist(), matrices, strict=True):
            rows = matrix[: len(target[place]) + 1, : len(source[place]) + 1]
            found[place] = rows.float().cpu().clone()
    return [
        ForcedAttention(rows=rows, source=s, target=t)
        for rows, s, t in zip(found, source, target, strict=True)
    ]


def _matrices(model: TranslationModel, batch: SentenceBatch, *, kind: Kind) -> Iterable[Tensor]:
    """Return a matrix a sentence; there may be padding below and to the right."""
    if kind == "attention":
        return model.force(batch.source, batch.mask, batch.target_in).attention
    return model.posterior(
        batch.source, batch.mask, target_in=batch.target_in, target_out=batch.target_out
    )


def _ids(sentences: Sequence[Sequence[Piece]]) -> list[list[int]]:
    return [[piece.id for piece in pieces] for pieces in sentences]


# -- Attention between pieces turned into attention between any tokens of the two texts
# Tokens are given as ranges of characters. A piece may be part of a token, or cover several, or
# tokens may share their characters (French "de" "le" both became "du"): what overlaps belongs
# together. Legend: T, S target and source pieces; J, I target and source tokens.


def token_attention(
    found: ForcedAttention, *, source: Sequence[Span], target: Sequence[Span], shift: int = 0
) -> Tensor:
    """Return how much each target token looks at each source token.

    Args:
        found: attention between pieces, of which the column of `</s>` is left out.
        source: the characters of each source token.
        target: the characters of each target token.
        shift: see `alignment.shifted_rows`.

    Returns:
        (J, I) float32: sums over a source token's pieces, means over a target token's.
    """
    rows = shifted_rows(found.rows, shift=shift)[:, :-1]
    columns = shares(found.source, spans=source)
    per_token = (shares(found.target, spans=target) > 0).float()
    pieces = per_token.sum(dim=0).clamp(min=1)
    return (per_token.T / pieces[:, None]) @ rows @ columns


def shares(pieces: Sequence[Piece], *, spans: Sequence[Span]) -> Tensor:
    """Return which share of each piece lies in each span: (pieces, spans).

    A piece is shared out by characters among the different spans that it overlaps; spans that are
    the same get the same. A piece that overlaps none, such as a space, has no share in any.
    """
    overlaps = torch.zeros(len(pieces), len(spans))
    distinct = torch.tensor([span not in spans[:index] for index, span in enumerate(spans)])
    first = 0
    for p, piece in enumerate(pieces):
        while first < len(spans) and spans[first][1] <= piece.start:
            first += 1
        for s in range(first, len(spans)):
            start, end = spans[s]
            if start >= piece.end:
                break
            overlaps[p, s] = min(end, piece.end) - max(start, piece.start)
    totals = overlaps[:, distinct].sum(dim=1) if len(spans) else overlaps.sum(dim=1)
    return overlaps / totals.clamp(min=1)[:, None]
