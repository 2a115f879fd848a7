"""The models that ship with the package: one exported run folder each, with its card.

A folder here is what `dl runs export` writes: `config.yaml`, `run.json`, `model.safetensors` and
the card, `README.md`. `--run pretrained:NAME` opens it like any run; nothing is written into it.
"""

from __future__ import annotations

from pathlib import Path

PREFIX = "pretrained:"
DEFAULTS = {"vae": "vae-conv", "nmt": "nmt-en-fr"}
"""Kind of run → the model that a command takes where no run of that kind is found."""
PURPOSES = {
    "nmt-en-fr": "English to French, everyday sentences and parliament; taken by `dl nmt` commands "
    "where there is no run",
    "nmt-grammar": "English to French of the data set grammar, whose word alignments are known",
    "vae-best": "MNIST digits in black and white: the best likelihood",
    "vae-conv": "MNIST digits in grey, convolutions; taken by `dl vae` commands where there is no "
    "run",
    "vae-mlp": "MNIST digits in grey, the assignment's network of two dense layers",
}
"""Packaged model → what it is for."""


def names() -> list[str]:
    """List the packaged models by name."""
    return sorted(config.parent.name for config in _root().glob("*/config.yaml"))


def folder(name: str) -> Path | None:
    """Return the folder of a packaged model, or None where there is none of that name."""
    return _root() / name if name in names() else None


def default(kind: str | None) -> Path | None:
    """Return the folder of the model that stands in for a run of this kind, if one ships."""
    return folder(DEFAULTS.get(kind or "", ""))


def _root() -> Path:
    return Path(__file__).parent
