"""Where a translator looks while it writes: a sentence and its translation, word by word."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dlcli.engine.signature import signature
from dlcli.errors import UsageFault
from dlcli.nmt.attention_map import AttentionMap, merged, unmerged
from dlcli.nmt.beam import Hypothesis
from dlcli.nmt.search_config import SearchConfig
from dlcli.nmt.tidying import one_line, tidy
from dlcli.nmt.tokenizer import BOS, EOS, UNK, Piece, Tokenizer
from dlcli.nmt.trained import Trained

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
    if trained.config.model.attention == "none":
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
    device = next(model.parameters()).device
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
