"""How good a translator is on validation pairs.

Losses are measured with and without teacher forcing; BLEU and chrF are of greedy search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dlcli.data.sentences import Pairs
from dlcli.nmt.batching import Bitext
from dlcli.nmt.fast.paths import fast_paths
from dlcli.nmt.model import TranslationModel, validation_sums
from dlcli.nmt.search import search
from dlcli.nmt.tokenizer import Tokenizer
from dlcli.nmt.trained import ValidResult

BATCH = 128
"""Sentences that are measured together."""


class Validation:
    """Validation pairs, ready to be measured on.

    Args:
        pairs: raw sentences and their translations, at least one.
        tokenizer: of the run.
        device: where the model is.
        lowercase: whether BLEU and chrF are measured on lower case.
    """

    def __init__(
        self, pairs: Pairs, *, tokenizer: Tokenizer, device: torch.device, lowercase: bool
    ) -> None:
        source, target = list(pairs.source), list(pairs.target)
        self.references, self.tokenizer, self.lowercase = target, tokenizer, lowercase
        self.bitext = Bitext(
            tokenizer.encode_all(source), tokenizer.encode_all(target), device=device
        )

    def measure(self, model: TranslationModel) -> ValidResult:
        """Measure a model, which is left in the mode it was in."""
        was_training = model.training
        model.eval()
        sums = [0.0, 0.0]
        for chosen in _alike(self.bitext.longer):
            batch = self.bitext.batch(chosen)
            for free in (False, True):
                sums[free] += validation_sums(model, batch, free=free)
        bleu, chrf = corpus_scores(self.translate(model), self.references, lowercase=self.lowercase)
        model.train(was_training)
        tokens = int(self.bitext.target_lengths.sum())
        return ValidResult(
            nll_per_token=sums[0] / tokens,
            free_nll_per_token=sums[1] / tokens,
            bleu=bleu,
            chrf=chrf,
            sentences=len(self.references),
        )

    def translate(self, model: TranslationModel) -> list[str]:
        """Translate all sources by greedy search, in their order."""
        found = [""] * len(self.bitext)
        paths = fast_paths(model)
        fast = None if paths is None else paths.search(whole=False)
        for chosen in _alike(self.bitext.source_lengths):
            batch = self.bitext.batch(chosen)
            best = search(model, batch.source, batch.mask, beam_size=1, fast=fast)
            for place, hypotheses in zip(chosen.tolist(), best, strict=True):
                found[place] = self.tokenizer.decode(hypotheses[0].ids) if hypotheses else ""
        return found


def corpus_scores(
    translations: Sequence[str], references: Sequence[str], *, lowercase: bool
) -> tuple[float, float]:
    """Return sacreBLEU's BLEU (13a) and chrF of a corpus."""
    metrics = (BLEU(lowercase=lowercase, force=True), CHRF(lowercase=lowercase))
    bleu, chrf = (metric.corpus_score(translations, [references]).score for metric in metrics)
    return bleu, chrf


def _alike(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of sentences in batches of like length."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]
