"""What the commands that draw a trained VAE share: their flags, and where pictures go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcli.cli import options as lists
from dlcli.cli.options import Show
from dlcli.errors import UsageFault, nearest

if TYPE_CHECKING:
    from dlcli.display.console import Consoles
    from dlcli.engine.runs import RunFolder
    from dlcli.vae.generation import Gallery
    from dlcli.vae.trained import Trained

FORMATS = ("png", "npz", "svg", "pdf")

CheckpointFlag = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="best, last or epoch-0010. (default: the run's result)",
        show_default=False,
    ),
]
SeedFlag = Annotated[int, typer.Option("--seed", min=0, help="One number for every random choice.")]
DrawFlag = Annotated[
    bool,
    typer.Option("--mean/--draw", help="Show pixel means, or draw pixels from p(x|z)."),
]
ShowFlag = Annotated[bool, typer.Option("--show", help="Also print the pictures here.")]
OfflineFlag = Annotated[bool, typer.Option("--offline", help="Never ask the network for data.")]
FormatFlag = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar=f"{'|'.join(FORMATS)}…",
        help="Kinds of file: figures, or npz with pixels and latents. "
        "(default: by the ending of --out, else png)",
        show_default=False,
    ),
]
PicturesOutFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A file or a folder. (default: the run's figures folder; of an exported or packaged "
        "model: here)",
        show_default=False,
    ),
]
LIST_OPTIONS = {"--format": lists.is_one_of(FORMATS)}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Where a command's pictures go, and in which forms."""

    name: str
    """The file's stem where none is given."""
    out: Path | None
    formats: str | None
    seed: int
    show: bool


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Pictures laid out, with words around them."""

    images: object
    """(N, 28, 28), or (R, C, 28, 28)."""
    title: str
    count: int
    columns: int = 0
    rows: Sequence[str] = ()
    heads: Sequence[str] = ()
    """Names of the columns."""
    arrays: dict[str, object]
    """What an npz holds."""


def deliver(sheet: Sheet, trained: Trained, *, wanted: Wanted, show: Show) -> None:
    """Write the files and say where they are."""
    from dlcli.display.images import PictureRows

    files = [write(sheet, path) for path in paths(wanted, run=trained.run)]
    result = {
        "run": str(trained.run.path),
        "checkpoint": trained.checkpoint,
        "files": [str(file) for file in files],
        "count": sheet.count,
        "seed": wanted.seed,
        "label": sheet.title,
    }
    words: list[Any] = [sheet.title, *map(str, files)]
    if wanted.show:
        words.insert(0, PictureRows(sheet.images, columns=sheet.columns))
    show.consoles.result(result, *words)


def paths(wanted: Wanted, *, run: RunFolder | None) -> list[Path]:
    """Return one path for each form asked for.

    Pictures of an exported model do not go into it, and bear its name.

    Args:
        wanted: name and forms.
        run: whose pictures they are; None for a network that is of none.

    Raises:
        UsageFault: a form that does not exist, or one that `--out` contradicts.
    """
    out = wanted.out
    ending = out.suffix.lstrip(".").lower() if out is not None and not out.is_dir() else ""
    formats = lists.split(wanted.formats or ending or FORMATS[0])
    for name in formats:
        if name not in FORMATS:
            near = nearest(name, FORMATS)
            raise UsageFault(
                f"There is no picture format '{name}'.",
                hint=near.capitalize() or f"Choose from {', '.join(FORMATS)}.",
            )
    if out is not None and ending:
        if formats == [ending]:
            return [out]
        return [out.with_suffix(f".{name}") for name in formats]
    usual = usual_path(wanted.name, run=run)
    return [(out or usual.parent) / f"{usual.name}.{name}" for name in formats]


def usual_path(stem: str, *, run: RunFolder | None) -> Path:
    """Return where a picture goes that was given no name, without its ending."""
    if run is None:
        return Path(stem)
    return run.gallery / "-".join(filter(None, [stem, run.mark]))


def write(sheet: Sheet, path: Path) -> Path:
    """Write one file in the form that its ending names."""
    from dlcli.display.images import image_grid, save_npz

    if path.suffix.lower() == ".npz":
        return save_npz(path, label=sheet.title, **sheet.arrays)
    image_grid(
        path,
        sheet.images,
        columns=sheet.columns,
        row_labels=sheet.rows,
        column_labels=sheet.heads,
        title=sheet.title,
    )
    return path.absolute()


def integers(text: str | None, *, flag: str) -> list[int] | None:
    """Read a list of integers, or None where it was not given.

    Raises:
        UsageFault: something in it is no integer.
    """
    if text is None:
        return None
    words = lists.split(text)
    if not words or not all(lists.is_int(word) for word in words):
        raise UsageFault(f"{flag} takes integers, not '{text}'.", hint=f"Write {flag} 0 3 7.")
    return [int(word) for word in words]


def found(run: str | None, *, checkpoint: str | None, consoles: Consoles) -> Trained:
    """Return the model that `--run` names, saying on standard error which one that is."""
    from dlcli.vae.trained import find_trained

    return find_trained(run, checkpoint=checkpoint, notice=consoles.notice)


def gallery_sheet(gallery: Gallery, *, title: str = "") -> Sheet:
    """Lay out a gallery as it wants to be."""
    return Sheet(
        images=gallery.images,
        title=title or gallery.label,
        count=len(gallery.images),
        columns=gallery.columns,
        rows=gallery.rows,
        arrays={"images": gallery.images, "z": gallery.z},
    )
