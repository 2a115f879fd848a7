"""Where a translator looks while it writes: a sentence and its translation, word by word.

The network's attention is between pieces. A source word takes the sum of what its pieces get, a
target word the mean of what its pieces give, so that rows still sum to one. Words are those of
`dlcli.data.sentences`; a piece that reaches over two of them is shared by their characters.

Legend: P pieces, T target words (or pieces), S source words; T and S with `</s>` as the last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dlcli.data.sentences import Word, split_words
from dlcli.engine.config import signature
from dlcli.errors import UsageFault
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.links import Links, attention_links, format_pharaoh
from dlcli.nmt.search import Hypothesis
from dlcli.nmt.text import (
    Span,
    join_passage,
    one_line,
    prepare_source,
    prepare_target,
    space_between,
)
from dlcli.nmt.tokenizer import BOS, EOS, SPECIALS, UNK, Piece, Tokenizer
from dlcli.nmt.trained import Trained

END = SPECIALS[EOS]
LONGEST = 1000
"""Tokens that a sentence may have for its attention to be drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """Where a translator looked while it wrote each word of a translation."""

    text: str
    """The source sentence."""
    translation: str
    source: tuple[str, ...]
    """S words (or pieces), `</s>` last."""
    target: tuple[str, ...]
    """T words (or pieces), `</s>` last where the translation came to its end."""
    matrix: NDArray[np.float64]
    """(T, S): the attention that produced each target word; rows sum to one."""
    unknown_source: tuple[int, ...]
    """Places in `source` of what the vocabulary does not know; the model saw `<unk>` there."""
    unknown_target: tuple[int, ...]
    nll_per_token: float
    """Of the translation under the model, in nats; `</s>` is a token."""
    forced: bool
    """Whether the translation was given."""
    finished: bool
    """Whether the translation came to its end; False where it was cut off at its longest."""
    parts: int
    """Into how many the line was cut, as for `translate`."""
    unit: str
    """`words` or `subwords`."""
    signature: str

    @property
    def links(self) -> Links:
        """Return (source, target) places: each target word's largest weight, `</s>` left out."""
        T = len(self.target) - (self.target[-1:] == (END,))
        return attention_links(torch.from_numpy(self.matrix[:T, : len(self.source) - 1]))

    @property
    def alignment(self) -> str:
        """Return the links in Pharaoh format, source first."""
        return format_pharaoh(self.links)

    @property
    def entropy_nats(self) -> float:
        """Return the mean entropy of the rows, from 0 to log S; its exponential counts words."""
        weights = self.matrix[self.matrix > 0]
        return max(0.0, -float((weights * np.log(weights)).sum()) / len(self.matrix))

    @property
    def steps_back(self) -> tuple[int, int]:
        """Count how the links run: steps against the diagonal, and all steps to another word."""
        places = [source for source, _ in sorted(self.links, key=lambda link: link[1])]
        moves = [b - a for a, b in itertools.pairwise(places) if a != b]
        return sum(move < 0 for move in moves), len(moves)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A sentence and a translation that the model reads along with it, both in pieces."""

    text: str
    source: Sequence[Piece]
    translation: str
    target: Sequence[Piece]
    finished: bool
    """Whether the translation came to its end."""


def given_reading(text: str, translation: str, *, tokenizer: Tokenizer) -> Reading:
    """Prepare a sentence and a given translation.

    Raises:
        UsageFault: one has no words or too many.
    """
    text, translation = prepare_source(text), prepare_target(translation)
    source, target = tokenizer.pieces(text), tokenizer.pieces(translation)
    check_size(len(source), what="sentence")
    check_size(len(target), what="translation")
    return Reading(text=text, source=source, translation=translation, target=target, finished=True)


def own_reading(text: str, found: Hypothesis, *, tokenizer: Tokenizer) -> Reading:
    """Put a prepared sentence beside what the model made of it."""
    translation, target = pieces_of(found.ids, tokenizer=tokenizer)
    return Reading(
        text=text,
        source=tokenizer.pieces(text),
        translation=translation,
        target=target,
        finished=found.finished,
    )


def check_size(pieces: int, *, what: str) -> None:
    """Make sure that there is something to draw, and not too much.

    Raises:
        UsageFault: a text has no pieces, or too many.
    """
    if not pieces:
        raise UsageFault(f"The {what} has no words.", hint="Write one, in quotes.")
    if pieces > LONGEST:
        raise UsageFault(
            f"The {what} has {pieces:,} tokens, and attention is drawn for at most {LONGEST:,}.",
            hint="Give one sentence at a time.",
        )


def check_attention(trained: Trained) -> None:
    """Make sure that there is attention to show.

    Raises:
        UsageFault: the model has none.
    """
    if not trained.model.has_attention:
        raise UsageFault(
            f"{trained.run.path} was trained with --attention none: it has no attention to show.",
            hint="Name a run with additive attention by --run.",
        )


def attention_map(
    trained: Trained,
    parts: Sequence[Reading],
    *,
    subwords: bool,
    how: SearchConfig | None,
    precision: str,
) -> AttentionMap:
    """Force the decoder through translations and keep where it looked.

    A line that was translated in parts has one map: each part looks at its own words only.

    Args:
        trained: a model with attention, on any device.
        parts: of one line, each with its translation.
        subwords: leave the pieces as they are, instead of merging them to words.
        how: the settings of the search, where the translation is the model's own.
        precision: of that search; what is forced is computed in the weights' own.
    """
    whole = joined(parts)
    rows, nll = _forced_parts(trained, parts)
    axis = piece_axis if subwords else word_axis
    source, target = trained.direction
    columns = axis(whole.text, whole.source, ended=True, language=source)
    lines = axis(whole.translation, whole.target, ended=whole.finished, language=target)
    config, unit = trained.config, "subwords" if subwords else "words"
    return AttentionMap(
        text=whole.text,
        translation=join_passage([one_line(one.translation) for one in parts]),
        source=columns.labels,
        target=lines.labels,
        matrix=merge(rows[: len(lines.shares)], source=columns, target=lines).numpy(),
        unknown_source=columns.unknown,
        unknown_target=lines.unknown,
        nll_per_token=nll,
        forced=how is None,
        finished=all(one.finished for one in parts),
        parts=len(parts),
        unit=unit,
        signature=signature(
            model="nmt",
            run=trained.run.path.name,
            checkpoint=trained.checkpoint,
            data=config.data.name,
            direction=config.data.direction,
            **trained.model.attention_signature,
            target="given" if how is None else "own",
            beam=how and how.beam_size,
            length_penalty=how and how.length_penalty,
            parts=len(parts) if len(parts) > 1 else None,
            unit=unit,
            precision=precision,
        ),
    )


def joined(parts: Sequence[Reading]) -> Reading:
    """Put the parts of a line together again."""
    text, source = _one_after_another([(one.text, one.source) for one in parts])
    translation, target = _one_after_another([(one.translation, one.target) for one in parts])
    return Reading(
        text=text,
        source=source,
        translation=translation,
        target=target,
        finished=parts[-1].finished,
    )


def _one_after_another(sides: Sequence[tuple[str, Sequence[Piece]]]) -> tuple[str, list[Piece]]:
    found: list[Piece] = []
    whole = ""
    for number, (text, pieces) in enumerate(sides):
        whole += space_between(whole, text) if number else ""
        found += [
            replace(one, start=len(whole) + one.start, end=len(whole) + one.end) for one in pieces
        ]
        whole += text
    return whole, found


def _forced_parts(trained: Trained, parts: Sequence[Reading]) -> tuple[Tensor, float]:
    """Return the attention of all parts (T + 1, S + 1), and the nats per token.

    What a part gives to its own `</s>` goes to that of the line; of the rows that produced `</s>`
    the last part's stands.
    """
    found = [_forced(trained, source=one.source, target=one.target) for one in parts]
    matrices = [rows for rows, _ in found]
    within = (one[:-1, :-1] for one in matrices)
    rows: Tensor = torch.block_diag(*within)  # type: ignore[no-untyped-call]  # (T, S)
    to_end = torch.cat([one[:-1, -1] for one in matrices])  # (T,)
    rows = torch.cat([rows, to_end[:, None]], dim=1)
    last = matrices[-1][-1]
    ended = F.pad(last, (rows.size(1) - len(last), 0))
    lengths = [len(one.target) + 1 for one in parts]
    nats = sum(nll * length for (_, nll), length in zip(found, lengths, strict=True))
    return torch.cat([rows, ended[None]]), nats / sum(lengths)


def pieces_of(ids: Sequence[int], *, tokenizer: Tokenizer) -> tuple[str, list[Piece]]:
    """Return the text of token ids that a model wrote, and which characters each stands for."""
    text = tokenizer.decode(ids)
    usual = tokenizer.pieces(text)
    if [piece.id for piece in usual] == list(ids):
        return text, usual
    found, start = [], 0
    for count, token in enumerate(ids, start=1):
        so_far = tokenizer.decode(ids[:count])
        end = len(text) if count == len(ids) else max(start, _common(so_far, text))
        shown = text[start:end] if token != UNK else "<unk>"
        found.append(Piece(id=token, text=shown, start=start, end=end))
        start = end
    return text, found


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


@torch.inference_mode()
def _forced(
    trained: Trained, *, source: Sequence[Piece], target: Sequence[Piece]
) -> tuple[Tensor, float]:
    """Return the attention (T + 1, S + 1) on the CPU, and the nats per token of the target."""
    model = trained.model
    device = model.device
    ids = [piece.id for piece in target]
    read = torch.tensor([[*(piece.id for piece in source), EOS]], device=device)
    target_in = torch.tensor([[BOS, *ids]], device=device)
    forced = model.force(read, torch.ones_like(read, dtype=torch.bool), target_in)
    log_probs = model.logits(forced.features)[0].float().log_softmax(dim=1)
    wanted = torch.tensor([[*ids, EOS]], device=device)
    nll = -log_probs.gather(1, wanted.T).mean()
    return forced.attention[0].float().cpu(), float(nll)


@dataclass(frozen=True, kw_only=True, eq=False)
class Axis:
    """One side of an attention map."""

    labels: tuple[str, ...]
    """W words (or pieces), and perhaps `</s>`."""
    unknown: tuple[int, ...]
    """Places of labels of which the vocabulary does not know a piece."""
    shares: Tensor
    """(P, W) float64: the part of each piece that is in each word; rows sum to one."""


def word_axis(text: str, pieces: Sequence[Piece], *, ended: bool, language: str = "") -> Axis:
    """Find the words of a text and share its pieces among them.

    Where a script has no spaces between words, each letter is a word (`split_words`), so that the
    links of two models can be compared; `piece_axis` shows the pieces of this one.

    Spaces belong to no word; a piece of nothing else belongs to the word after it, or to the last
    one. A text without words (zero-width spaces) is one word, and so is what one unknown piece
    stands for, such as `<unk>` itself.
    """
    words = _words(text, pieces, language=language)
    shares = overlaps(pieces, [(word.start, word.end) for word in words])
    for row, piece in zip(shares, pieces, strict=True):
        if not row.any():
            before = sum(word.end <= piece.start for word in words)
            row[min(before, len(words) - 1)] = 1
    shares /= shares.sum(dim=1, keepdim=True)
    lost = shares[[piece.id == UNK for piece in pieces]].sum(dim=0).nonzero()[:, 0]
    return _axis([word.text for word in words], lost.tolist(), shares, ended=ended)


def piece_axis(
    _text: str,
    pieces: Sequence[Piece],
    *,
    ended: bool,
    language: str = "",  # noqa: ARG001
) -> Axis:
    """Leave every piece to itself."""
    unknown = [place for place, piece in enumerate(pieces) if piece.id == UNK]
    shares = torch.eye(len(pieces), dtype=torch.float64)
    return _axis([piece.text for piece in pieces], unknown, shares, ended=ended)


def merge(rows: Tensor, *, source: Axis, target: Axis) -> Tensor:
    """Turn the attention between pieces into that between words.

    Args:
        rows: (P of the target, P of the source), both with or without `</s>` like the axes.
        source: its columns are summed.
        target: its rows are averaged.

    Returns:
        (T, S) float64, rows sum to one.
    """
    weights = target.shares.T
    return weights @ (rows.double() @ source.shares) / weights.sum(dim=1, keepdim=True)


def overlaps(pieces: Sequence[Piece], spans: Sequence[Span]) -> Tensor:
    """Return how many characters of each piece are in each span: (pieces, spans) float64."""
    of_pieces = torch.tensor([(one.start, one.end) for one in pieces], dtype=torch.float64)
    of_spans = torch.tensor(spans, dtype=torch.float64).reshape(-1, 2)
    starts, ends = of_pieces.reshape(-1, 1, 2).unbind(2)
    common = torch.minimum(ends, of_spans[:, 1]) - torch.maximum(starts, of_spans[:, 0])
    return common.clamp(min=0)


def _axis(labels: list[str], unknown: list[int], shares: Tensor, *, ended: bool) -> Axis:
    if ended:
        labels = [*labels, END]
        shares = F.pad(shares, (0, 1, 0, 1))
        shares[-1, -1] = 1.0
    return Axis(labels=tuple(labels), unknown=tuple(unknown), shares=shares)


def _words(text: str, pieces: Sequence[Piece], *, language: str) -> list[Word]:
    found: list[Word] = []
    unknown = [piece for piece in pieces if piece.id == UNK]
    for word in split_words(text, *filter(None, [language])):
        last = found[-1] if found else None
        if last and any(one.start < last.end and word.start < one.end for one in unknown):
            found[-1] = Word(text[last.start : word.end], last.start, word.end)
        else:
            found.append(word)
    return found or ([Word(text, 0, len(text))] if pieces else [])
