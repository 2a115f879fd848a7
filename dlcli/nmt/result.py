"""What a training of a translator came to, and the line that says how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlcli.engine.signature import signature
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.validation import ValidResult


@dataclass(frozen=True, kw_only=True)
class NmtResult:
    """What a training came to."""

    run: str
    """Absolute path of the run folder."""
    data: str
    direction: str
    vocabulary: int
    parameters: int
    epochs: int
    """Whole epochs trained."""
    updates: int
    tokens_per_s: float
    """Target tokens (EOS included, padding not) a second of training alone, over all sessions."""
    train_s: float
    checkpoint: str
    """Which checkpoint is the result: `best`, `average` or `last`."""
    valid: ValidResult | None
    """Of that checkpoint; None where there are no validation pairs."""
    reason: str
    """Why it ended: `done`, `early-stop` or `max-minutes`."""
    signature: str


def read_result(fields: Mapping[str, Any]) -> NmtResult:
    """Rebuild a result from run.json.

    Raises:
        TypeError, KeyError: fields are missing or unknown.
    """
    valid = fields["valid"] and ValidResult(**fields["valid"])
    return NmtResult(**{**fields, "valid": valid})


def describe(config: NmtTrainConfig, **measured: object) -> str:
    """Write the signature of a number that was measured on a trained translator.

    Args:
        config: the settings of its training.
        measured: what only the measurement knows, such as `data` and `precision`; comes first.
    """
    data, model, objective, optim = config.data, config.model, config.objective, config.optim
    additive = model.attention == "additive"
    forcing = f"{objective.teacher_forcing:g}"
    if objective.teacher_forcing_end is not None:
        forcing += f"-{objective.teacher_forcing_end:g}"
    forced = (objective.teacher_forcing, objective.teacher_forcing_end) in ((1.0, None), (1.0, 1.0))
    dropouts = (model.dropout_embedding, model.dropout_context, model.dropout_readout)
    return signature(
        **measured,
        direction=data.direction,
        tokenizer=data.tokenizer,
        lowercase=True if data.lowercase else None,
        embedding=model.embedding,
        encoder=f"{model.encoder_layers}x{model.encoder_hidden}",
        hidden=model.hidden,
        attention=f"{model.attention_query}-{model.attention_size}" if additive else "none",
        readout=f"{model.readout}-{model.readout_size or model.embedding}",
        tied=model.tie_embeddings,
        dropout=dropouts,
        smoothing=objective.label_smoothing,
        forcing=None if forced else f"{forcing}/{objective.teacher_forcing_unit}",
        batch=f"{config.loop.batch_size * optim.accumulate}-{config.loop.batch_unit}",
        optimizer=f"{optim.optimizer}-{optim.lr:g}-{optim.schedule}",
        average=config.loop.average or None,
        seed=config.compute.seed,
    )
