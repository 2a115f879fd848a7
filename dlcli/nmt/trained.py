"""A trained translator: its model loaded from a run folder, its result, and its signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dlcli.data.languages import Languages, languages_of
from dlcli.engine.checkpoint import build_from, load_model
from dlcli.engine.config import resolve, settings_signature
from dlcli.engine.events import NoticeCallback
from dlcli.engine.results import Result, summarise_seeds
from dlcli.engine.runs import RunFolder, find_run, using
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.model import NmtNetwork, TranslationModel
from dlcli.nmt.networks import build_model
from dlcli.nmt.tokenizer import Tokenizer, load_tokenizer

SIGNATURE_ORDER = (
    *("direction", "tokenizer", "lowercase", "arch", "embedding", "encoder", "hidden"),
    *("attention", "readout", "layers", "heads", "feedforward", "norm", "tied", "dropout"),
    *("smoothing", "forcing", "batch", "optimizer"),
    *("average", "seed"),
)
KIND = "nmt"
"""What run.json and checkpoints call a translator."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A translator with its vocabulary and the settings it was trained under."""

    model: TranslationModel
    """In evaluation mode."""
    tokenizer: Tokenizer
    config: NmtTrainConfig
    run: RunFolder
    checkpoint: str
    """`last`, `best`, `average`, `epoch-0010`, or `exported`."""

    @property
    def direction(self) -> Languages:
        """Return the languages of source and target: ("en", "fr")."""
        return languages_of(self.config.data.direction)


def find_trained(
    text: str | None, *, checkpoint: str | None = None, notice: NoticeCallback
) -> Trained:
    """Load the translator that `--run` names, on the CPU, and pass a sentence about it to `notice`.

    Args:
        text: see `dlcli.engine.runs.find_run`; None is the newest trained translator.
        checkpoint: see `load_trained`.
        notice: takes one sentence.

    Raises:
        UsageFault: there is no such run.
        CheckpointError: see `load_trained`.
    """
    trained = load_trained(find_run(text, kind=KIND), checkpoint=checkpoint)
    notice(using(trained.run, checkpoint=trained.checkpoint))
    return trained


def load_trained(run: RunFolder, *, checkpoint: str | None = None) -> Trained:
    """Rebuild the translator of a run from the settings in its own checkpoint.

    Args:
        run: a run folder of a translator.
        checkpoint: see `dlcli.engine.checkpoint.load_model`.

    Raises:
        CheckpointError: it is missing, damaged, or of another kind or shape.
    """
    saved = load_model(run, kind=KIND, checkpoint=checkpoint)
    config = resolve(NmtTrainConfig, [saved.config], source=str(saved.path))
    tokenizer = load_tokenizer(run)
    network = build_from(
        lambda: build_network(config, vocabulary=tokenizer.size),
        saved.weights,
        source=str(saved.path),
    )
    return Trained(
        model=network.model.eval(),
        tokenizer=tokenizer,
        config=config,
        run=run,
        checkpoint=saved.name,
    )


def build_network(config: NmtTrainConfig, *, vocabulary: int) -> NmtNetwork:
    """Build the network that is trained, initialised from torch's global seed."""
    return NmtNetwork(
        build_model(config.model, vocabulary=vocabulary),
        label_smoothing=config.objective.label_smoothing,
    )


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
    network = {
        "encoder": f"{model.encoder_layers}x{model.encoder_hidden}",
        "attention": f"{model.attention_query}-{model.attention_size}" if additive else "none",
        "readout": f"{model.readout}-{model.readout_size or model.embedding}",
        "dropout": (model.dropout_embedding, model.dropout_context, model.dropout_readout),
        **dict.fromkeys(("layers", "heads", "feedforward", "norm")),
    }
    if model.arch == "transformer":
        network = {
            "layers": model.depths,
            "dropout": (model.dropout_embedding, model.dropout_residual),
            **dict.fromkeys(("encoder", "hidden", "attention", "readout")),
        }
    composed = {
        **network,
        "forcing": None if forced else f"{forcing}/{objective.teacher_forcing_unit}",
        "batch": f"{config.loop.batch_size * optim.accumulate}-{config.loop.batch_unit}",
        "optimizer": f"{optim.optimizer}-{optim.lr:g}-{optim.schedule}",
    }
    return settings_signature(config, measured, order=SIGNATURE_ORDER, composed=composed)


def summarise(results: Mapping[str, NmtResult]) -> dict[str, object]:
    """Return what `--json` says of a translator's seeds."""
    return summarise_seeds(
        results,
        shared=("data", "direction", "epochs", "updates"),
        rate="tokens_per_s",
        measured="valid",
        names=("nll_per_token", "free_nll_per_token", "bleu", "chrf"),
    )
