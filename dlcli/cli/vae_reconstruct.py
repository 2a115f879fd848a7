"""`dl vae reconstruct`."""

from __future__ import annotations

from typing import Annotated

import typer

from dlcli.cli import lists
from dlcli.cli.options import RunFlag, Show, add_command, plain
from dlcli.cli.pictures import (
    LIST_OPTIONS,
    CheckpointFlag,
    DrawFlag,
    FormatFlag,
    OfflineFlag,
    PicturesOutFlag,
    SeedFlag,
    Sheet,
    ShowFlag,
    Wanted,
    deliver,
    found,
    integers,
)


def register(app: typer.Typer) -> None:
    """Add `vae reconstruct`."""
    options = {**LIST_OPTIONS, "--images": lists.is_int}
    add_command(app, "reconstruct", reconstruct, list_options=options)


@plain
def reconstruct(
    show: Show,
    *,
    run: RunFlag = None,
    n: Annotated[int, typer.Option("--n", min=1, help="The first N test images.")] = 10,
    images: Annotated[
        str | None,
        typer.Option(
            "--images", metavar="INT…", help="Test images by number, from 0.", show_default=False
        ),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw z from q(z|x) instead of taking its mean.")
    ] = False,
    seed: SeedFlag = 0,
    mean: DrawFlag = True,
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
    out: PicturesOutFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Encode test images and decode them again: inputs above, reconstructions below."""
    from dlcli.vae.gallery import paired_rows
    from dlcli.vae.pictures import reconstructions

    trained = found(run, checkpoint=checkpoint, consoles=show.consoles)
    made = reconstructions(
        trained,
        images=integers(images, flag="--images") or range(n),
        seed=seed,
        sample=sample,
        draw=not mean,
        offline=offline,
        notice=show.consoles.notice,
    )
    rows, names = paired_rows(made)
    sheet = Sheet(
        images=rows,
        title=made.label,
        count=len(made.images),
        rows=names,
        arrays={"inputs": made.inputs, "images": made.images, "z": made.z},
    )
    name = f"reconstruct-{'mean' if mean else 'draw'}-seed{seed}"
    wanted = Wanted(name=name, out=out, formats=formats, seed=seed, show=show_pictures)
    deliver(sheet, trained, wanted=wanted, show=show)
