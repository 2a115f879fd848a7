"""What `dl nmt align` aligns: files of the user's, or a corpus, whose links may be known."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dlcli.data.corpora import load_corpus
from dlcli.data.sentences import split_words
from dlcli.data.storage import Notice
from dlcli.engine.device import prepare
from dlcli.engine.settings import ComputeConfig
from dlcli.errors import DataError, UsageFault
from dlcli.nmt.alignment import (
    AlignmentScore,
    GoldLinks,
    Links,
    check_links,
    forced_attention,
    format_pharaoh,
    parse_gold,
    score_alignments,
    symmetric_links,
    token_attention,
    token_links,
)
from dlcli.nmt.config import NmtAlignConfig
from dlcli.nmt.config import check_align as check
from dlcli.nmt.evaluation import read_joined, read_sentences, read_two, require_lines
from dlcli.nmt.text import Detokenized, as_given, detokenize
from dlcli.nmt.trained import Trained
from dlcli.nmt.validation import describe


@dataclass(frozen=True, kw_only=True)
class AlignedPairs:
    """Lines to align."""

    name: str
    """What a signature calls them: a file's name, or a corpus with its split."""
    lines: Sequence[tuple[str, str]]
    gold: Sequence[str] | None = None
    """The right links of each line, where they are known."""


def pairs_of_corpus(
    name: str, *, split: str = "test", count: int = 0, direction: str, offline: bool, notice: Notice
) -> AlignedPairs:
    """Load a split of a corpus, with its links if the corpus knows them (`grammar` does).

    Args:
        name: see `dlcli.data.load_corpus`.
        split: train, valid, test, or a test set's own name.
        count: how many pairs, from the first; 0 takes all.
        direction: of the model.
        offline: never ask the network.
        notice: told one sentence at a time.

    Raises:
        ConfigError: there is no such corpus or split.
        DataError: it cannot be had.
        UsageFault: it has no pairs.
    """
    corpus = load_corpus(
        name,
        direction=direction,
        offline=offline,
        notice=notice,
        train_pairs=(count or None) if split == "train" else 0,
    )
    pairs = corpus.split(split)
    require_lines(len(pairs), name=f"The split {split} of {corpus.name}")
    pairs = pairs.first(count) if count else pairs
    return AlignedPairs(
        name=f"{corpus.name}-{split}",
        lines=list(zip(pairs.source, pairs.target, strict=True)),
        gold=pairs.links,
    )


def pairs_of_files(
    *, source: Path | None, target: Path | None, pairs: Path | None, gold: Path | None
) -> AlignedPairs:
    """Read lines from whichever files were named.

    Raises:
        UsageFault: too few or too many are named, or there are no lines.
        DataError: one cannot be read, or two differ in length.
    """
    if pairs is not None and source is None and target is None:
        lines = read_joined(pairs)
    elif pairs is None and source is not None and target is not None:
        lines = read_two(source, target)
    else:
        raise UsageFault(
            "`nmt align` needs either --source and --target, or --pairs, or --data.",
            hint="Write --source a.en --target a.fr, or --pairs a.en-fr, or --data grammar.",
        )
    named = pairs or source
    require_lines(len(lines), name=str(named))
    return AlignedPairs(
        name=named.name if named else "",
        lines=lines,
        gold=None if gold is None else read_sentences(gold),
    )


# -- Word alignments of given translations from where a translator looks, and how good they are
# `dl nmt align`: lines are put together into running text, read by forced decoding (by a second
# model of the other direction too, if there is one), and links are taken between the given tokens.

Progress = Callable[[float, str], object]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """One pair, ready to be read; its tokens are those that links are counted in."""

    source: Detokenized
    target: Detokenized


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


def prepare_pairs(
    pairs: Sequence[tuple[str, str]], *, text: str, languages: tuple[str, str]
) -> list[Sides]:
    """Turn lines into running text with the places of their tokens.

    Args:
        pairs: source and target lines.
        text: `tokens` or `running`, see `NmtAlignConfig`.
        languages: of source and target.
    """
    return [
        Sides(
            source=_side(source, text=text, language=languages[0]),
            target=_side(target, text=text, language=languages[1]),
        )
        for source, target in pairs
    ]


def read_gold(lines: Sequence[str], pairs: Sequence[Sides], *, index: int) -> list[GoldLinks]:
    """Read a gold file's lines and hold them against the sentences.

    Raises:
        DataError: a line is no alignment, points beyond its sentences, or there are too few.
    """
    if len(lines) != len(pairs):
        raise DataError(
            f"The gold file has {len(lines):,} lines for {len(pairs):,} pairs.",
            hint="It needs one line a pair, blank where there are no links.",
        )
    found = []
    for number, (line, pair) in enumerate(zip(lines, pairs, strict=True), start=1):
        try:
            gold = parse_gold(line, index=index)
            sizes = {"source": len(pair.source.spans), "target": len(pair.target.spans)}
            check_links(gold.possible, **sizes, index=index)
        except DataError as error:
            raise DataError(
                f"Line {number:,} of the gold file: {error.message}", hint=error.hint
            ) from None
        found.append(gold)
    return found


def align(
    trained: Trained,
    pairs: Sequence[Sides],
    config: NmtAlignConfig,
    *,
    data: str = "pairs",
    backward: Trained | None = None,
    gold: Sequence[GoldLinks] | None = None,
    at: Progress = lambda _done, _note: None,
) -> NmtAlignment:
    """Align pairs of sentences.

    Args:
        trained: translates source to target; moved to the device.
        pairs: from `prepare_pairs`.
        config: how.
        data: what the pairs are called in the signature, which has a digest of them too.
        backward: translates target to source: the two are symmetrised.
        gold: the right links of each pair.
        at: told the share done and what is being done.

    Raises:
        UsageFault: a model has no attention, or `backward` is not of the other direction.
        ConfigError: see `dlcli.nmt.config.check_align`.
    """
    check(config, symmetrized=backward is not None)
    check_directions(trained, backward)
    compute = prepare(ComputeConfig(device=config.device, precision="fp32", threads=config.threads))
    for model in (trained, backward):
        if model is not None:
            model.model.to(compute.device)
    began = time.perf_counter()
    links: list[Links] = []
    for found in _links(trained, pairs, config, backward=backward):
        links.append(found)
        at(len(links) / len(pairs), "")
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
        signature=_signature(
            trained,
            config,
            backward=backward,
            data={"data": data, "pairs": _digest(pairs), "gold": gold and _digest(gold)},
            sentences=len(links),
        ),
    )


def check_directions(trained: Trained, backward: Trained | None) -> None:
    """Make sure that two models translate in opposite directions.

    Raises:
        UsageFault: they do not.
    """
    if backward is not None and backward.direction != trained.direction[::-1]:
        raise UsageFault(
            f"--symmetrize needs a model of the other direction, and {backward.run.path} "
            f"translates {backward.config.data.direction} like the first.",
            hint=f"Train one with --direction {'-'.join(trained.direction[::-1])}.",
        )


def _side(line: str, *, text: str, language: str) -> Detokenized:
    if text == "running":
        return as_given(line, words=[(word.start, word.end) for word in split_words(line)])
    return detokenize(line.split(), language=language)


def _links(
    trained: Trained, pairs: Sequence[Sides], config: NmtAlignConfig, *, backward: Trained | None
) -> Iterator[Links]:
    forward = _matrices(trained, pairs, config)
    if backward is None:
        for pair, one in zip(pairs, forward, strict=True):
            spans = {"source": pair.source.spans, "target": pair.target.spans}
            yield token_links(one, **spans, least=config.threshold)
        return
    turned = [Sides(source=pair.target, target=pair.source) for pair in pairs]
    others = _matrices(backward, turned, config)
    for pair, one, other in zip(pairs, forward, others, strict=True):
        yield symmetric_links(
            one,
            other,
            source=pair.source.spans,
            target=pair.target.spans,
            heuristic=config.heuristic,
            how=config.combine,
            least=config.threshold,
        )


def _matrices(trained: Trained, pairs: Sequence[Sides], config: NmtAlignConfig) -> Iterator[Tensor]:
    """Yield where each pair's words look or came from, target tokens × source tokens."""
    texts = ((pair.source.text, pair.target.text) for pair in pairs)
    found = forced_attention(trained.model, trained.tokenizer, texts, kind=config.kind)
    for pair, attention in zip(pairs, found, strict=True):
        spans = {"source": pair.source.spans, "target": pair.target.spans}
        yield token_attention(attention, **spans, shift=int(config.shift))


def _signature(
    trained: Trained,
    config: NmtAlignConfig,
    *,
    backward: Trained | None,
    data: Mapping[str, object],
    sentences: int,
) -> str:
    joined: dict[str, object] = {}
    if backward is not None:
        joined = {
            "symmetrize": config.heuristic,
            "combine": config.combine,
            "backward_trained_on": backward.config.data.name,
            "backward_query": backward.config.model.attention_query,
            "backward_checkpoint": backward.checkpoint,
        }
    return describe(
        trained.config,
        task="align",
        **data,
        sentences=sentences,
        text=config.text,
        trained_on=trained.config.data.name,
        checkpoint=trained.checkpoint,
        init=trained.run.origin,
        query=trained.config.model.attention_query,
        links_from=config.kind,
        threshold=config.threshold or None,
        shift=int(config.shift),
        **joined,
        precision="fp32",
    )


def _digest(values: Sequence[Sides] | Sequence[GoldLinks]) -> str:
    """Return eight hexadecimal digits that differ wherever sentences or links do."""
    found = hashlib.sha256()
    for one in values:
        parts = (
            (one.source, one.target)
            if isinstance(one, Sides)
            else (sorted(one.sure), sorted(one.possible))
        )
        found.update(f"{parts}\n".encode())
    return found.hexdigest()[:8]
