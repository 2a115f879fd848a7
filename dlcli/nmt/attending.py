"""Where a translator looks while it writes: a sentence and its translation, word by word."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.data.sentences import Word, split_words
from dlcli.engine.config import signature
from dlcli.errors import UsageFault
from dlcli.nmt.alignment import Links, attention_links, format_pharaoh
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.search import Hypothesis
from dlcli.nmt.text import one_line, tidy
from dlcli.nmt.tokenizer import BOS, EOS, SPECIALS, UNK, Piece, Tokenizer
from dlcli.nmt.trained import Trained

# -- From the attention between pieces to that between words
# A source word takes the sum of what its pieces get, a target word the mean of what its pieces
# give, so that rows still sum to one. Words are those of `dlcli.data.sentences`; a piece that
# reaches over two of them is shared by their characters. `</s>` is a row and a column of its own.
#
# Legend: P pieces, W words, T target, S source; either may have one more row or column for `</s>`.


@dataclass(frozen=True, kw_only=True, eq=False)
class WordShares:
    """Which words the pieces of a text belong to."""

    words: tuple[Word, ...]
    shares: Tensor
    """(P, W): the part of each piece that is in each word; rows sum to one."""
    unknown: tuple[int, ...]
    """Places of words of which the vocabulary does not know a piece."""


def word_shares(text: str, pieces: Sequence[Piece]) -> WordShares:
    """Find the words of a text and share its pieces among them.

    Spaces belong to no word; a piece of nothing else belongs to the word after it, or to the last
    one. A text without words (zero-width spaces) is one word, and so is what one unknown piece
    stands for, such as `<unk>` itself.
    """
    words = _words(text, pieces)
    shares = torch.zeros(len(pieces), len(words), dtype=torch.float64)
    first = 0  # no piece from here on reaches into an earlier word
    for row, piece in zip(shares, pieces, strict=True):
        while first < len(words) - 1 and words[first].end <= piece.start:
            first += 1
        place = first
        while place < len(words) and words[place].start < piece.end:
            word = words[place]
            row[place] = max(0, min(word.end, piece.end) - max(word.start, piece.start))
            place += 1
        if not row.any():
            row[first] = 1
    unknown = [index for index, piece in enumerate(pieces) if piece.id == UNK]
    shares /= shares.sum(dim=1, keepdim=True)
    lost = shares[unknown].sum(dim=0).nonzero()[:, 0].tolist()
    return WordShares(words=words, shares=shares, unknown=tuple(lost))


def _words(text: str, pieces: Sequence[Piece]) -> tuple[Word, ...]:
    found: list[Word] = []
    unknown = [piece for piece in pieces if piece.id == UNK]
    for word in split_words(text):
        last = found[-1] if found else None
        if last and any(one.start < last.end and word.start < one.end for one in unknown):
            found[-1] = Word(text[last.start : word.end], last.start, word.end)
        else:
            found.append(word)
    return tuple(found) or ((Word(text, 0, len(text)),) if pieces else ())


def merge_columns(matrix: Tensor, source: WordShares) -> Tensor:
    """Sum over the source pieces of each word: (T, P) → (T, W), or with `</s>` kept as last column.

    Raises:
        ValueError: the matrix has another number of columns.
    """
    return matrix.double() @ _with_end(source.shares, length=matrix.shape[1])


def merge_rows(matrix: Tensor, target: WordShares) -> Tensor:
    """Average over the target pieces of each word: (P, S) → (W, S), or with `</s>` as last row.

    Raises:
        ValueError: the matrix has another number of rows.
    """
    weights = _with_end(target.shares, length=matrix.shape[0]).T
    return weights @ matrix.double() / weights.sum(dim=1, keepdim=True)


def _with_end(shares: Tensor, *, length: int) -> Tensor:
    P, W = shares.shape
    if length == P:
        return shares
    if length != P + 1:
        raise ValueError(f"{length} places for {P} pieces and </s>")
    wider = torch.zeros(P + 1, W + 1, dtype=shares.dtype)
    wider[:P, :W], wider[P, W] = shares, 1.0
    return wider


# -- The attention between two sentences, with its words on both axes and what it amounts to
# Legend: T target words, S source words, both with `</s>` as the last.

END = SPECIALS[EOS]


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


def merged(
    rows: Tensor, *, source: tuple[str, Sequence[Piece]], target: tuple[str, Sequence[Piece]]
) -> tuple[NDArray[np.float64], list[tuple[str, ...]], list[tuple[int, ...]]]:
    """Merge the attention between pieces to that between words.

    Args:
        rows: (T, S) over pieces, both with or without `</s>`.
        source: a text and its pieces.
        target: likewise.

    Returns:
        The matrix; the words of both axes, source first; the places of their unknown words.
    """
    sides = [word_shares(*source), word_shares(*target)]
    matrix = merge_rows(merge_columns(rows, sides[0]), sides[1])
    words = [tuple(word.text for word in side.words) for side in sides]
    ended = [matrix.shape[1] > len(words[0]), matrix.shape[0] > len(words[1])]
    labels = [side + (END,) * end for side, end in zip(words, ended, strict=True)]
    return matrix.numpy(), labels, [side.unknown for side in sides]


def unmerged(
    rows: Tensor, *, source: Sequence[Piece], target: Sequence[Piece]
) -> tuple[NDArray[np.float64], list[tuple[str, ...]], list[tuple[int, ...]]]:
    """Do as `merged` does, piece by piece."""
    labels, unknown = [], []
    for side, length in ((source, rows.shape[1]), (target, rows.shape[0])):
        labels.append(tuple(piece.text for piece in side) + (END,) * (length > len(side)))
        unknown.append(tuple(i for i, piece in enumerate(side) if piece.id == UNK))
    return rows.double().numpy(), labels, unknown


LONGEST = 1000
"""Tokens that a sentence may have for its attention to be drawn."""


def attention_map(
    trained: Trained,
    text: str,
    target: str | None,
    *,
    subwords: bool,
    best: Callable[[list[int]], Hypothesis],
    how: SearchConfig,
    precision: str = "fp32",
) -> AttentionMap:
    """Force the decoder through a translation and keep where it looked.

    Args:
        trained: the model, on any device.
        text: a sentence.
        target: its translation, or None for the model's own.
        subwords: leave the pieces as they are, instead of merging them to words.
        best: searches for the model's own translation of token ids.
        how: the search's settings, for the signature.
        precision: of that search; what is forced is computed in the weights' own.

    Raises:
        UsageFault: the model has no attention, or a text has no words or too many.
    """
    if not trained.model.has_attention:
        raise UsageFault(
            f"{trained.run.path} was trained with --attention none: it has no attention to show.",
            hint="Name a run with additive attention by --run.",
        )
    tokenizer, text = trained.tokenizer, tidy(text)
    source, finished = _pieces(text, tokenizer=tokenizer, what="sentence"), True
    given = None if target is None else tidy(target)
    if given is None:
        found = best([piece.id for piece in source])
        written, pieces = pieces_of(found.ids, tokenizer=tokenizer)
        finished = found.finished
    else:
        written, pieces = given, _pieces(given, tokenizer=tokenizer, what="translation")
    rows, nll = _forced(trained, source=source, target=pieces)
    rows = rows if finished else rows[:-1]
    matrix, labels, unknown = (
        unmerged(rows, source=source, target=pieces)
        if subwords
        else merged(rows, source=(text, source), target=(written, pieces))
    )
    return AttentionMap(
        text=text,
        translation=one_line(written),
        source=labels[0],
        target=labels[1],
        matrix=matrix,
        unknown_source=unknown[0],
        unknown_target=unknown[1],
        nll_per_token=nll,
        forced=given is not None,
        unit="subwords" if subwords else "words",
        signature=_signature(
            trained, how=None if given is not None else how, subwords=subwords, precision=precision
        ),
    )


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


def _pieces(text: str, *, tokenizer: Tokenizer, what: str) -> list[Piece]:
    pieces = tokenizer.pieces(text)
    if not pieces:
        raise UsageFault(f"The {what} has no words.", hint="Write one, in quotes.")
    if len(pieces) > LONGEST:
        raise UsageFault(
            f"The {what} has {len(pieces):,} tokens, and attention is drawn for at most "
            f"{LONGEST:,}.",
            hint="Give one sentence at a time.",
        )
    return pieces


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


def _signature(
    trained: Trained, *, how: SearchConfig | None, subwords: bool, precision: str
) -> str:
    config = trained.config
    return signature(
        model="nmt",
        run=trained.run.path.name,
        checkpoint=trained.checkpoint,
        data=config.data.name,
        direction=config.data.direction,
        query=config.model.attention_query,
        target="given" if how is None else "own",
        beam=how.beam_size if how else None,
        length_penalty=how.length_penalty if how else None,
        unit="subwords" if subwords else "words",
        precision=precision if how else "fp32",
    )
