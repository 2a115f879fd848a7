"""How good a translator is on validation pairs, and what a training of one came to.

Losses are measured with and without teacher forcing; BLEU and chrF are of greedy search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dlcli.data.sentences import Pairs
from dlcli.engine.config import settings_signature
from dlcli.engine.trainer import Result, summarise_seeds
from dlcli.nmt.batching import Bitext
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.fast.paths import fast_paths
from dlcli.nmt.model import TranslationModel, validation_sums
from dlcli.nmt.search import search
from dlcli.nmt.tokenizer import Tokenizer

BATCH = 128
"""Sentences that are measured together."""


@dataclass(frozen=True, kw_only=True)
class ValidResult:
    """What was measured on validation pairs; losses are nats per target token, EOS included."""

    nll_per_token: float
    """With the true words fed to the decoder."""
    free_nll_per_token: float
    """Of the same words at the same places, with the decoder's own words fed to it."""
    bleu: float
    """sacreBLEU, of greedy search."""
    chrf: float
    sentences: int

    def metrics(self) -> dict[str, float]:
        """Return what goes into metrics.jsonl."""
        return {
            "valid_loss": self.nll_per_token,
            "valid_free_loss": self.free_nll_per_token,
            "valid_bleu": self.bleu,
            "valid_chrf": self.chrf,
        }


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
        fast = None if paths is None else paths.search()
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


@dataclass(frozen=True, kw_only=True)
class NmtResult(Result):
    """What the training of a translator came to."""

    direction: str
    vocabulary: int
    parameters: int
    updates: int
    tokens_per_s: float
    """Target tokens (EOS included, padding not) a second of training alone, over all sessions."""
    checkpoint: str
    """Which checkpoint is the result: `best`, `average` or `last`."""
    valid: ValidResult | None
    """Of that checkpoint; None where there are no validation pairs."""

    @property
    def metrics(self) -> dict[str, object]:
        """Return the key numbers, for tables of runs."""
        found = {} if self.valid is None else asdict(self.valid)
        return {name: value for name, value in found.items() if name != "sentences"}


def read_result(fields: Mapping[str, Any]) -> NmtResult:
    """Rebuild a result from run.json.

    Raises:
        TypeError, KeyError: fields are missing or unknown.
    """
    valid = fields["valid"] and ValidResult(**fields["valid"])
    return NmtResult(**{**fields, "valid": valid})


def summarise(results: Mapping[str, NmtResult]) -> dict[str, object]:
    """Return what `--json` says of a translator's seeds."""
    return summarise_seeds(
        results,
        shared=("data", "direction", "epochs", "updates"),
        rate="tokens_per_s",
        measured="valid",
        names=("nll_per_token", "free_nll_per_token", "bleu", "chrf"),
    )


SIGNATURE_ORDER = (
    *("direction", "tokenizer", "lowercase", "embedding", "encoder", "hidden", "attention"),
    *("readout", "tied", "dropout", "smoothing", "forcing", "batch", "optimizer"),
    *("average", "seed"),
)


def describe(config: NmtTrainConfig, **measured: object) -> str:
    """Write the signature of a number that was measured on a trained translator.

    Args:
        config: the settings of its training.
        measured: see `dlcli.engine.config.settings_signature`.
    """
    model, objective, optim = config.model, config.objective, config.optim
    additive = model.attention == "additive"
    forcing = f"{objective.teacher_forcing:g}"
    if objective.teacher_forcing_end is not None:
        forcing += f"-{objective.teacher_forcing_end:g}"
    forced = (objective.teacher_forcing, objective.teacher_forcing_end) in ((1.0, None), (1.0, 1.0))
    composed = {
        "encoder": f"{model.encoder_layers}x{model.encoder_hidden}",
        "attention": f"{model.attention_query}-{model.attention_size}" if additive else "none",
        "readout": f"{model.readout}-{model.readout_size or model.embedding}",
        "dropout": (model.dropout_embedding, model.dropout_context, model.dropout_readout),
        "forcing": None if forced else f"{forcing}/{objective.teacher_forcing_unit}",
        "batch": f"{config.loop.batch_size * optim.accumulate}-{config.loop.batch_unit}",
        "optimizer": f"{optim.optimizer}-{optim.lr:g}-{optim.schedule}",
    }
    return settings_signature(config, measured, order=SIGNATURE_ORDER, composed=composed)
