"""`dl vae interpolate`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dlcli.cli import lists
from dlcli.cli.options import RunFlag, Show, add_command, plain
from dlcli.cli.pictures import (
    LIST_OPTIONS,
    CheckpointFlag,
    FormatFlag,
    OfflineFlag,
    PicturesOutFlag,
    ShowFlag,
    Wanted,
    deliver,
    found,
    gallery_sheet,
    integers,
)
from dlcli.errors import UsageFault


def register(app: typer.Typer) -> None:
    """Add `vae interpolate`."""
    options = {**LIST_OPTIONS, "--images": lists.is_int, "--seeds": lists.is_int}
    add_command(app, "interpolate", interpolate, list_options=options)


@plain
def interpolate(
    show: Show,
    *,
    run: RunFlag = None,
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="A B",
            help="Between two test images. (default: 0 1)",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="A B",
            help="Between the prior draws of two seeds.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Pictures on the way.")] = 10,
    path: Annotated[
        Literal["spherical", "linear"], typer.Option("--path", help="Which way to go.")
    ] = "spherical",
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
    out: PicturesOutFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Walk through latent space from one test image to another, or between two prior draws."""
    from dlcli.vae.pictures import path_between_images, path_between_seeds

    if images is not None and seeds is not None:
        raise UsageFault("--images and --seeds name different ends.", hint="Give one of them.")
    ends = integers(seeds, flag="--seeds")
    consoles = show.consoles
    trained = found(run, checkpoint=checkpoint, consoles=consoles)
    if ends is not None:
        gallery = path_between_seeds(trained, seeds=ends, steps=steps, path=path)
        title = f"from seed {ends[0]} to seed {ends[1]}"
    else:
        ends = integers(images, flag="--images") or [0, 1]
        gallery = path_between_images(
            trained, images=ends, steps=steps, path=path, offline=offline, notice=consoles.notice
        )
        title = f"from test image {ends[0]} to {ends[1]}"
    name = f"interpolate-{'seeds' if seeds else 'images'}-{ends[0]}-{ends[1]}"
    wanted = Wanted(
        name=name, out=out, formats=formats, seed=ends[0] if seeds else 0, show=show_pictures
    )
    sheet = gallery_sheet(gallery, title=f"{gallery.label}, {title} ({path})")
    deliver(sheet, trained, wanted=wanted, show=show)
