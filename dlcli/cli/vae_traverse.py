"""`dl vae traverse`."""

from __future__ import annotations

from typing import Annotated

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


def register(app: typer.Typer) -> None:
    """Add `vae traverse`."""
    options = {**LIST_OPTIONS, "--dims": lists.is_int}
    add_command(app, "traverse", traverse, list_options=options)


@plain
def traverse(
    show: Show,
    *,
    run: RunFlag = None,
    dims: Annotated[
        str | None,
        typer.Option(
            "--dims",
            metavar="INT…",
            help="Latents from 0, one a row. (default: the 20 that matter most; of two, the plane)",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        int | None,
        typer.Option(
            "--image", help="Start from this test image. (default: z = 0)", show_default=False
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Pictures a row (and a column, of a plane).")
    ] = 11,
    span: Annotated[
        float,
        typer.Option(
            "--span", min=0, help="Reach to both sides, standard deviations of the normal latents."
        ),
    ] = 3.0,
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
    out: PicturesOutFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Vary one latent at a time and show what changes; two latents make a plane."""
    from dlcli.vae.pictures import traversal

    trained = found(run, checkpoint=checkpoint, consoles=show.consoles)
    gallery = traversal(
        trained,
        dims=integers(dims, flag="--dims"),
        steps=steps,
        span=span,
        image=image,
        offline=offline,
        notice=show.consoles.notice,
    )
    start = "z = 0" if image is None else f"test image {image}"
    what = f"each row one latent from -{span:g} to {span:g}, around {start}"
    if not gallery.rows:
        what = "the plane of both latents, in equal shares of the prior"
    name = "traverse" if image is None else f"traverse-image{image}"
    wanted = Wanted(name=name, out=out, formats=formats, seed=0, show=show_pictures)
    sheet = gallery_sheet(gallery, title=f"{gallery.label}: {what}")
    deliver(sheet, trained, wanted=wanted, show=show)
