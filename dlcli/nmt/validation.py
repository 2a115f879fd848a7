"""How good a translator is on validation pairs.

Losses are measured with and without teacher forcing; BLEU and chrF are those of `dl nmt eval` with
greedy search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from dlcli.data.sentences import Pairs
from dlcli.engine.device import Compute
from dlcli.nmt.batching import Bitext
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.model import TranslationModel, validation_sums
from dlcli.nmt.scoring import Metric, MetricName, bleu_tokenizer
from dlcli.nmt.tokenizer import Tokenizer
from dlcli.nmt.trained import ValidResult
from dlcli.nmt.translator import LineTranslator

BATCH = 128
"""Sentences that are measured together."""
GREEDY = SearchConfig(beam_size=1, batch_size=BATCH)


class Validation:
    """Validation pairs, ready to be measured on.

    Args:
        pairs: sentences and their translations, at least one.
        tokenizer: of the run.
        device: where the model is.
        longest: tokens of the longest sentence that is trained on.
        lowercase: whether BLEU and chrF are measured on lower case.
        language: of the translations; see `dlcli.nmt.scoring.bleu_tokenizer`.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        tokenizer: Tokenizer,
        device: torch.device,
        longest: int,
        lowercase: bool,
        language: str = "",
    ) -> None:
        self.pairs, self.tokenizer, self.longest = pairs, tokenizer, longest
        self.metric = Metric(lowercase=lowercase, tokenize=bleu_tokenizer(language, pairs.target))
        self.compute = Compute(device=device, precision="fp32", threads=torch.get_num_threads())
        self.bitext = Bitext(
            tokenizer.encode_all(pairs.source), tokenizer.encode_all(pairs.target), device=device
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
        translations = self.translate(model)
        model.train(was_training)
        bleu, chrf = (
            replace(self.metric, name=name).of(translations, self.pairs.target)
            for name in get_args(MetricName)
        )
        tokens = int(self.bitext.target_lengths.sum())
        return ValidResult(
            nll_per_token=sums[0] / tokens,
            free_nll_per_token=sums[1] / tokens,
            bleu=bleu,
            chrf=chrf,
            sentences=len(self.pairs),
        )

    def translate(self, model: TranslationModel) -> list[str]:
        """Translate all sources by greedy search, as `dl nmt eval --beam 1` does."""
        translator = LineTranslator(
            model, self.tokenizer, longest=self.longest, compute=self.compute
        )
        return [one.translation for one in translator.translate(self.pairs.source, config=GREEDY)]


def _alike(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of sentences in batches of like length."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]
