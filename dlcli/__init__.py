"""A deep-learning laboratory for the command line.

Every claim of a classic course assignment on variational auto-encoders, attention and layer
normalisation is a command here, with a number, an error bar and a published figure beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcli.nmt.translator import Translator
    from dlcli.vae.generation import ImageModel

__version__ = "0.2.0"


def load(name: str | Path, *, checkpoint: str | None = None) -> ImageModel | Translator:
    """Load a trained model.

    Example:
        >>> import dlcli
        >>> dlcli.load("vae-best").generate(16).shape
        (16, 28, 28)
        >>> dlcli.load("nmt-en-fr").translate(["Good morning."])[0].translation
        'Bonjour.'

    Args:
        name: a model that ships with the package, a run folder, a name under `runs/`, or `latest`.
        checkpoint: `best`, `last` or `epoch-0010`; None is the run's result.

    Returns:
        A `Translator` of a translator's run, else an `ImageModel`.

    Raises:
        dlcli.errors.UsageFault: there is no such run.
        dlcli.errors.CheckpointError: its files are damaged.
    """
    from dlcli.engine.runs import find_run

    run = find_run(str(name))
    if run.record().get("kind") == "nmt":
        from dlcli.nmt.translator import Translator

        return Translator.load(run.path, checkpoint=checkpoint)
    from dlcli.vae.generation import ImageModel
    from dlcli.vae.trained import load_trained

    return ImageModel(load_trained(run, checkpoint=checkpoint))
