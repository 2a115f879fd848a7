"""An attention map in the terminal, as a figure, and as numbers in a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from dlcli.errors import UsageFault
from dlcli.report.canvas import METADATA
from dlcli.report.heatmap import HeatMap
from dlcli.report.matrix import matrix_figure
from dlcli.report.output import write_file
from dlcli.report.pixels import save_npz
from dlcli.report.strict_json import to_json

if TYPE_CHECKING:
    from dlcli.nmt.attention_map import AttentionMap

FORMATS = (*METADATA, ".json", ".npz")
"""Endings of the files that an attention map can be written to."""


def attention_words(found: AttentionMap) -> list[RenderableType]:
    """Return what the terminal shows: the translation, the matrix, and what it amounts to."""
    back, steps = found.steps_back
    looked = math.exp(found.entropy_nats)
    return [
        found.translation,
        HeatMap(found.matrix, labels(found.target, unknown=found.unknown_target),
                labels(found.source, unknown=found.unknown_source)),
        f"links (source-target): {found.alignment}",
        f"{back} of {steps} steps run against the diagonal; a word looks at {looked:.2f} "
        f"{found.unit} (exp of {found.entropy_nats:.3f} nats); "
        f"{found.nll_per_token:.3f} nats per token",
        found.signature,
    ]  # fmt: skip


def attention_fields(found: AttentionMap, *, files: Sequence[Path]) -> dict[str, object]:
    """Return the fields of `--json`."""
    back, steps = found.steps_back
    return {
        "text": found.text,
        "translation": found.translation,
        "source": found.source,
        "target": found.target,
        "attention": found.matrix,
        "alignment": found.alignment,
        "unit": found.unit,
        "forced": found.forced,
        "unknown": {"source": found.unknown_source, "target": found.unknown_target},
        "entropy_nats": found.entropy_nats,
        "steps": steps,
        "steps_back": back,
        "nll_per_token": found.nll_per_token,
        "files": files,
        "signature": found.signature,
    }


def check_format(path: Path) -> None:
    """Refuse an ending that no attention map can be written to.

    Raises:
        UsageFault: it lists those there are.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageFault(
            f"{path} does not say which form it wants.", hint=f"End it with {', '.join(FORMATS)}."
        )


def save_attention(found: AttentionMap, path: Path) -> Path:
    """Write a map in the form that the path's ending names; return the absolute path.

    Raises:
        UsageFault: another ending.
        RunFailed: it cannot be written.
    """
    check_format(path)
    ending = path.suffix.lower()
    if ending == ".json":
        text = to_json(attention_fields(found, files=[path]))
        return write_file(path, text.encode() + b"\n")
    if ending == ".npz":
        return save_npz(
            path,
            attention=found.matrix,
            source=found.source,
            target=found.target,
            alignment=found.alignment,
            signature=found.signature,
        )
    matrix_figure(
        path,
        found.matrix,
        rows=labels(found.target, unknown=found.unknown_target),
        columns=labels(found.source, unknown=found.unknown_source),
    )
    return path.absolute()


def labels(words: Sequence[str], *, unknown: Sequence[int]) -> list[str]:
    """Return the names on an axis; what the model saw as `<unk>` is marked so."""
    return [
        f"{word} <unk>" if index in unknown and word != "<unk>" else word
        for index, word in enumerate(words)
    ]
