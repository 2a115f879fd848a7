"""Aligning the words of given translations: `dl nmt align`.

Lines are put together into running text and read by forced decoding, by a second model of the other
direction too, if there is one. What the network says of its pieces is summed up for the given
tokens, between which `dlcli.nmt.links` takes links. It says either where it looks before it
knows a word (attention), or where the word came from once it is known (the posterior).

Legend: S source pieces, T target pieces, I source tokens, J target tokens.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from dlcli.data.sentences import Pairs, split_words
from dlcli.engine.device import prepare
from dlcli.engine.events import NoticeCallback, ProgressCallback
from dlcli.engine.settings import ComputeConfig
from dlcli.errors import DataError, UsageFault
from dlcli.nmt.attention import overlaps
from dlcli.nmt.batching import Bitext, cut
from dlcli.nmt.config import LinkKind, NmtAlignConfig, check_align
from dlcli.nmt.links import (
    AlignmentScore,
    GoldLinks,
    Links,
    check_links,
    counts_from_one,
    format_pharaoh,
    parse_gold,
    score_alignments,
    symmetric_links,
    token_links,
)
from dlcli.nmt.model import TranslationModel
from dlcli.nmt.text import (
    Detokenized,
    Span,
    detokenize,
    prepare_source,
    prepare_target,
    tokens_of,
)
from dlcli.nmt.tokenizer import Piece, Tokenizer
from dlcli.nmt.trained import Trained, describe

KINDS: tuple[LinkKind, ...] = get_args(LinkKind)
"""What links can be taken from."""
PAIRS_PER_WINDOW = 4096
"""Pairs among which those alike in length are put together."""
BATCH_TOKENS = 4096


@dataclass(frozen=True, kw_only=True)
class LayerScore:
    """How good the links of one layer and head are; head None is the mean of the layer's heads."""

    layer: int
    head: int | None
    score: AlignmentScore


@dataclass(frozen=True, kw_only=True)
class NmtAlignment:
    """Links for every pair, and their score where the right ones are known."""

    run: str
    symmetrized_with: str | None
    direction: str
    links_from: str
    """What links were taken from: `posterior` or `attention`."""
    shift: int
    links: tuple[str, ...]
    """Pharaoh format, from 0, a string a pair."""
    score: AlignmentScore | None
    sentences: int
    elapsed_s: float
    sentences_per_s: float
    signature: str
    by_layer: tuple[LayerScore, ...] = ()
    """Of `align_by_layer`: what was compared."""


def align(
    trained: Trained,
    pairs: Pairs,
    config: NmtAlignConfig,
    *,
    data: str = "pairs",
    backward: Trained | None = None,
    progress: ProgressCallback = lambda _done, _note: None,
    notice: NoticeCallback = lambda _: None,
) -> NmtAlignment:
    """Align pairs of sentences.

    Args:
        trained: translates source to target; moved to the device.
        pairs: lines, at least one, perhaps with the right links.
        config: how.
        data: what the pairs are called in the signature, which has a digest of them too.
        backward: translates target to source: the two are symmetrised.
        progress: called with the fraction that is done.
        notice: called with a sentence where the right links look miscounted.

    Raises:
        UsageFault: a model has no attention or not the chosen one, or `backward` is not of the
            other direction.
        ConfigError: see `dlcli.nmt.config.check_align`.
        DataError: a right link is none, or points beyond its sentences.
    """
    check_align(config, symmetrized=backward is not None)
    check_directions(trained, backward)
    sides = prepare_pairs(pairs, text=config.text, languages=trained.direction)
    gold = None if pairs.links is None else _read_gold(pairs.links, sides, index=config.gold_index)
    if gold and config.gold_index == 0 and counts_from_one(one.possible for one in gold):
        notice(
            "No link of the gold file has a word 0, as if its words were counted from 1. If they "
            "are, add --gold-index 1."
        )
    compute = prepare(ComputeConfig(device=config.device, precision="fp32", threads=config.threads))
    for model in (trained, backward):
        if model is not None:
            model.model.to(compute.device)
            model.model.choose_attention(layer=config.layer, head=config.head)
    began = time.perf_counter()
    links: list[Links] = []
    for found in _links(trained, sides, config, backward=backward, pairs=pairs):
        links.append(found)
        progress(len(links) / len(sides), "")
    elapsed = time.perf_counter() - began
    return NmtAlignment(
        run=str(trained.run.path),
        symmetrized_with=None if backward is None else str(backward.run.path),
        direction=trained.config.data.direction,
        links_from=config.kind,
        shift=int(config.shift),
        links=tuple(map(format_pharaoh, links)),
        score=None if gold is None else score_alignments(links, gold),
        sentences=len(links),
        elapsed_s=elapsed,
        sentences_per_s=len(links) / elapsed,
        signature=_signature(trained, config, backward=backward, data=data, sides=sides, gold=gold),
    )


def align_by_layer(
    trained: Trained,
    pairs: Pairs,
    config: NmtAlignConfig,
    *,
    data: str = "pairs",
    backward: Trained | None = None,
    progress: ProgressCallback = lambda _done, _note: None,
    notice: NoticeCallback = lambda _: None,
) -> NmtAlignment:
    """Align pairs by every layer and head of a Transformer, and return the links of the best.

    The best has the smallest error, so the pairs should be validation data. The arguments are those
    of `align`.

    Raises:
        UsageFault: the right links are not known, or the model has one attention.
    """
    if pairs.links is None:
        raise UsageFault(
            "--by-layer compares layers by their error, and the right links are not known.",
            hint="Give them with --gold, or use --data grammar.",
        )
    layers, heads = trained.model.attention_heads
    if layers * heads == 1:
        raise UsageFault(
            "This model has one attention, so that there is nothing to compare.",
            hint="Leave out --by-layer, which is for a Transformer.",
        )
    places = list(itertools.product(range(1, layers + 1), (None, *range(1, heads + 1))))
    found: list[NmtAlignment] = []
    rows: list[LayerScore] = []
    for layer, head in places:
        one = align(
            trained,
            pairs,
            replace(config, layer=layer, head=head),
            data=data,
            backward=backward,
            notice=(lambda _: None) if found else notice,
        )
        assert one.score is not None
        found.append(one)
        rows.append(LayerScore(layer=layer, head=head, score=one.score))
        progress(len(found) / len(places), "")
    best = min(range(len(rows)), key=lambda place: rows[place].score.aer)
    return replace(found[best], by_layer=tuple(rows))


def check_directions(trained: Trained, backward: Trained | None) -> None:
    """Make sure that two models translate in opposite directions.

    Raises:
        UsageFault: they do not.
    """
    if backward is not None and backward.direction != trained.direction[::-1]:
        raise UsageFault(
            f"--symmetrize needs a model of the other direction, and {backward.run.path} "
            f"translates {'-'.join(backward.direction)}, the first {'-'.join(trained.direction)}.",
            hint=f"Train one: `dl nmt train --direction {'-'.join(trained.direction[::-1])}`.",
        )


Sides = tuple[Detokenized, Detokenized]
"""Source and target of one pair, ready to be read; links are counted in their tokens."""


def prepare_pairs(pairs: Pairs, *, text: str, languages: tuple[str, str]) -> list[Sides]:
    """Turn lines into running text, as a model reads it, with the places of their tokens.

    Args:
        pairs: source and target lines.
        text: `tokens` or `running`, see `NmtAlignConfig`.
        languages: of source and target.
    """

    def prepared(line: str, prepare: Callable[[str], str], language: str) -> Detokenized:
        if text == "running":
            line = prepare(line)
            spans = tuple((word.start, word.end) for word in split_words(line, language))
            return Detokenized(text=line, spans=spans)
        tokens = [prepare(token) or token for token in tokens_of(line)]
        return detokenize(tokens, language=language)

    return [
        (
            prepared(source, prepare_source, languages[0]),
            prepared(target, prepare_target, languages[1]),
        )
        for source, target in zip(pairs.source, pairs.target, strict=True)
    ]


def _read_gold(lines: Sequence[str], sides: Sequence[Sides], *, index: int) -> list[GoldLinks]:
    """Read the right links and hold them against the sentences."""
    found = []
    for number, (line, (source, target)) in enumerate(zip(lines, sides, strict=True), start=1):
        try:
            gold = parse_gold(line, index=index)
            sizes = {"source": len(source.spans), "target": len(target.spans)}
            check_links(gold.possible, **sizes, index=index)
        except DataError as error:
            raise DataError(
                f"Line {number:,} of the gold file: {error.message}", hint=error.hint
            ) from None
        found.append(gold)
    return found


def _links(
    trained: Trained,
    sides: Sequence[Sides],
    config: NmtAlignConfig,
    *,
    backward: Trained | None,
    pairs: Pairs,
) -> Iterator[Links]:
    forward = _matrices(trained, sides, config)
    if backward is None:
        for (source, target), one in zip(sides, forward, strict=True):
            yield token_links(one, source=source.spans, target=target.spans, least=config.threshold)
        return
    turned = Pairs(source=pairs.target, target=pairs.source)
    its_sides = prepare_pairs(turned, text=config.text, languages=backward.direction)
    others = _matrices(backward, its_sides, config)
    for (source, target), one, other in zip(sides, forward, others, strict=True):
        yield symmetric_links(
            one,
            other,
            source=source.spans,
            target=target.spans,
            heuristic=config.heuristic,
            how=config.combine,
            least=config.threshold,
        )


def _matrices(trained: Trained, sides: Sequence[Sides], config: NmtAlignConfig) -> Iterator[Tensor]:
    """Yield where each pair's tokens look or came from: (J, I)."""
    texts = ((source.text, target.text) for source, target in sides)
    found = forced_attention(trained.model, trained.tokenizer, texts, kind=config.kind)
    for (source, target), attention in zip(sides, found, strict=True):
        yield token_attention(
            attention, source=source.spans, target=target.spans, shift=config.shift
        )


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
    kind: LinkKind = "attention",
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
            hint="Choose a run that was trained with additive attention.",
        )
    stream = iter(pairs)
    while chunk := list(itertools.islice(stream, PAIRS_PER_WINDOW)):
        yield from _together(model, tokenizer, chunk, kind=kind)


def _together(
    model: TranslationModel,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    kind: LinkKind,
) -> list[ForcedAttention]:
    """Read a few thousand pairs in batches of like length."""
    source = [tuple(tokenizer.pieces(text)) for text, _ in pairs]
    target = [tuple(tokenizer.pieces(text)) for _, text in pairs]
    ids = ([[piece.id for piece in pieces] for pieces in side] for side in (source, target))
    bitext = Bitext(*ids, device=model.device)
    order = np.argsort(bitext.longer, kind="stable")
    found: list[Tensor] = [torch.empty(0)] * len(pairs)
    for start, stop in cut(bitext.longer[order], size=BATCH_TOKENS, unit="tokens"):
        batch = bitext.batch(order[start:stop])
        with torch.inference_mode():
            matrices: Iterable[Tensor] = (
                model.force(batch.source, batch.mask, batch.target_in).attention
                if kind == "attention"
                else model.posterior(
                    batch.source,
                    batch.mask,
                    target_in=batch.target_in,
                    target_out=batch.target_out,
                )
            )
        for place, matrix in zip(order[start:stop].tolist(), matrices, strict=True):
            rows = matrix[: len(target[place]) + 1, : len(source[place]) + 1]
            found[place] = rows.float().cpu().clone()
    return [
        ForcedAttention(rows=rows, source=s, target=t)
        for rows, s, t in zip(found, source, target, strict=True)
    ]


def token_attention(
    found: ForcedAttention,
    *,
    source: Sequence[Span],
    target: Sequence[Span],
    shift: bool = False,
) -> Tensor:
    """Return how much each target token looks at each source token.

    Args:
        found: attention between pieces, of which the column of `</s>` is left out.
        source: the characters of each source token.
        target: the characters of each target token.
        shift: take the row in which a piece was the input (Chen et al. 2020), not the one that
            produced it.

    Returns:
        (J, I) float32: sums over a source token's pieces, means over a target token's.
    """
    T = len(found.target)
    rows = found.rows[shift : T + shift, :-1]
    per_token = (overlaps(found.target, target) > 0).float()
    pieces = per_token.sum(dim=0).clamp(min=1)
    return (per_token.T / pieces[:, None]) @ rows @ shares(found.source, spans=source)


def shares(pieces: Sequence[Piece], *, spans: Sequence[Span]) -> Tensor:
    """Return which share of each piece lies in each span: (pieces, spans) float32.

    A piece is shared out by characters among the different spans that it overlaps; spans that are
    the same (French "de" "le" both became "du") get the same. A piece that overlaps none, such as a
    space, has no share in any.
    """
    found = overlaps(pieces, spans).float()
    distinct = [span not in spans[:index] for index, span in enumerate(spans)]
    return found / found[:, distinct].sum(dim=1, keepdim=True).clamp(min=1)


def _signature(
    trained: Trained,
    config: NmtAlignConfig,
    *,
    backward: Trained | None,
    data: str,
    sides: Sequence[Sides],
    gold: Sequence[GoldLinks] | None,
) -> str:
    joined: dict[str, object] = {}
    if backward is not None:
        joined = {
            "symmetrize": config.heuristic,
            "combine": config.combine,
            "backward_trained_on": backward.config.data.name,
            **{f"backward_{k}": v for k, v in backward.model.attention_signature.items()},
            "backward_checkpoint": backward.checkpoint,
        }
    return describe(
        trained.config,
        task="align",
        data=data,
        pairs=_digest(sides),
        gold=gold and _digest([(sorted(one.sure), sorted(one.possible)) for one in gold]),
        sentences=len(sides),
        text=config.text,
        trained_on=trained.config.data.name,
        checkpoint=trained.checkpoint,
        init=trained.run.origin,
        **trained.model.attention_signature,
        links_from=config.kind,
        threshold=config.threshold or None,
        shift=int(config.shift),
        **joined,
        precision="fp32",
    )


def _digest(values: Sequence[tuple[object, object]]) -> str:
    """Return eight hexadecimal digits that differ wherever sentences or links do.

    The text of `Detokenized` and of lists goes into it: renaming that class changes signatures.
    """
    found = hashlib.sha256()
    for one in values:
        found.update(f"{one}\n".encode())
    return found.hexdigest()[:8]
