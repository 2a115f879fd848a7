"""From sentences to their translations: greedy and beam search.

The beam is that of Sutskever et al. (2014) and of the paper's own program: a sentence has k places;
each step keeps the best extensions of its live hypotheses, as many as there are places left; one
that ends with `</s>` is done, keeps its place and takes no more work. Greedy search is k = 1.

Scores are log p(y|x) / length^penalty, `</s>` counted in the length. A sentence is left once no
live hypothesis can overtake its best finished ones: log-probabilities only fall, so what a
hypothesis may still reach is log p / longest^penalty. Leaving then changes no result.

Legend: B sentences, S source length, N live hypotheses, V vocabulary, k beam size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlcli.errors import UsageFault
from dlcli.nmt.beam import Ended, Hypothesis, Live, extended, first
from dlcli.nmt.fast.decoding import CompiledDecoder, compiled_search
from dlcli.nmt.fast.stepping import Logits, Stepper, StepWeights, make_stepper
from dlcli.nmt.tokenizer import EOS

if TYPE_CHECKING:
    from dlcli.nmt.decoder import State
    from dlcli.nmt.model import Translation

LEAST_ROWS = 4
"""Products of fewer rows are summed in another order, so a sentence would depend on its batch."""
WIDEST = 1000
"""Hypotheses a sentence may have: the extensions of all of them are compared, k² a sentence."""


def longest(length: Tensor) -> Tensor:
    """Return how many tokens a translation may have, given the source's; `</s>` counts in both."""
    return 2 * length + 10


@torch.no_grad()  # in inference mode, autocast would cast the weights anew at each step
def search(
    model: Translation,
    source: Tensor,
    mask: Tensor,
    *,
    beam_size: int = 1,
    max_length: Tensor | int | None = None,
    length_penalty: float = 1.0,
    n_best: int = 1,
    weights: StepWeights | CompiledDecoder | None = None,
    between: Callable[[], object] = lambda: None,
) -> list[list[Hypothesis]]:
    """Translate a batch of sentences.

    Args:
        model: in evaluation mode.
        source: (B, S) token ids, each sentence ended by `</s>` and padded.
        mask: (B, S) bool, True for real tokens.
        beam_size: k, the places a sentence has.
        max_length: most tokens of a translation with `</s>`, for all or (B,); see `longest`.
        length_penalty: exponent of the length in the score; 0 favours short translations.
        n_best: how many hypotheses to return of each sentence, at most `beam_size`.
        weights: the model's, where they were prepared before; see `dlcli.nmt.fast.stepping`, and
            `dlcli.nmt.fast.decoding` for a search that is compiled as a whole.
        between: called between steps; what it raises ends the search.

    Returns:
        Up to `n_best` hypotheses for each sentence, the best first, unfinished ones last. None
        only where the model's probabilities are no numbers.

    Raises:
        UsageFault: a size or a penalty that has no meaning.
    """
    check_search(beam_size=beam_size, length_penalty=length_penalty, n_best=n_best)
    limit = longest(mask.sum(1)) if max_length is None else torch.as_tensor(max_length)
    limit = limit.to(source.device).expand(len(source)).clamp(min=1)
    memory = model.encode(source, mask)
    state = model.start(memory)
    if isinstance(weights, CompiledDecoder):
        return compiled_search(
            weights,
            memory,
            state=state,
            limit=limit,
            beam_size=beam_size,
            length_penalty=length_penalty,
            n_best=n_best,
            between=between,
        )
    ended = Ended(limit, beam_size=beam_size, n_best=n_best, length_penalty=length_penalty)
    live = first(state, sentences=len(source), device=source.device)
    stepper = make_stepper(model, memory, weights=weights)
    return _walk(stepper, live, ended, limit=limit, between=between)


def _walk(
    stepper: Stepper,
    live: Live,
    ended: Ended,
    *,
    limit: Tensor,
    between: Callable[[], object],
) -> list[list[Hypothesis]]:
    """Take steps until no hypothesis lives."""
    for length in itertools.count(1):
        between()
        logits, state = _step(stepper, live)
        live = extended(live, logits=logits, state=state, room=ended.room)
        over = live.prefix[:, -1] == EOS
        late = ~over & (limit[live.owner] <= length)
        ended.add(live.where(over), finished=True)
        ended.add(live.where(late), finished=False)
        live = live.where(~(over | late | ended.settled(live)[live.owner]))
        if not len(live.owner):
            break
    return ended.ranked()


def _step(stepper: Stepper, live: Live) -> tuple[Logits, State]:
    """Return logits (N, V) and states (N) after each hypothesis's last token."""
    N = len(live.owner)
    if N >= LEAST_ROWS:
        return stepper(live.prefix[:, -1], live.state, owner=live.owner)
    rows = torch.arange(LEAST_ROWS, device=live.owner.device).clamp(max=N - 1)
    logits, state = stepper(live.prefix[rows, -1], live.state.select(rows), owner=live.owner[rows])
    return logits[:N], state.select(rows[:N])


def check_search(*, beam_size: int, length_penalty: float, n_best: int) -> None:
    """Refuse settings that have no meaning.

    Raises:
        UsageFault: it says which.
    """
    if beam_size < 1:
        raise UsageFault(
            f"A beam of {beam_size} holds no translation.",
            hint="Use --beam 1 (greedy) or more; 5 is usual.",
        )
    if beam_size > WIDEST:
        raise UsageFault(
            f"A beam of {beam_size:,} is wider than the {WIDEST:,} that a search can compare.",
            hint="Use --beam 5; beyond some tens translations get worse, not better.",
        )
    if not 1 <= n_best <= beam_size:
        raise UsageFault(
            f"A beam of {beam_size} cannot give the {n_best} best translations.",
            hint=f"Use --n-best 1 to {beam_size}, or a larger --beam.",
        )
    if not 0 <= length_penalty < math.inf:
        raise UsageFault(
            f"A length penalty of {length_penalty} has no meaning.",
            hint="Use --length-penalty 0 (none) or more; 1 is the mean over tokens.",
        )
