"""A trained translator, loaded from a run folder."""

from __future__ import annotations

from dataclasses import dataclass

from dlcli.engine.checkpoint import build_from, load_model
from dlcli.engine.config import resolve
from dlcli.engine.events import NoticeCallback
from dlcli.engine.runs import RunFolder, find_run, using
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.model import NmtNetwork, TranslationModel
from dlcli.nmt.networks import build_model
from dlcli.nmt.tokenizer import Tokenizer, load_tokenizer

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
    def direction(self) -> tuple[str, str]:
        """Return the languages: ("en", "fr")."""
        source, _, target = self.config.data.direction.partition("-")
        return source, target


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
