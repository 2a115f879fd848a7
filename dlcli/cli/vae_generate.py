"""`dl vae generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from dlcli.cli.options import RunFlag, Show, add_command, plain
from dlcli.cli.pictures import (
    LIST_OPTIONS,
    CheckpointFlag,
    DrawFlag,
    FormatFlag,
    PicturesOutFlag,
    SeedFlag,
    ShowFlag,
    Wanted,
    deliver,
    found,
    gallery_sheet,
)


def register(app: typer.Typer) -> None:
    """Add `vae generate`."""
    add_command(app, "generate", generate, list_options=LIST_OPTIONS)


@plain
def generate(
    show: Show,
    *,
    run: RunFlag = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 64,
    seed: SeedFlag = 0,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            min=0,
            help="Standard deviation of the latents, before a learned prior's flow.",
        ),
    ] = 1.0,
    mean: DrawFlag = True,
    checkpoint: CheckpointFlag = None,
    out: PicturesOutFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Draw latents from the prior and show what the decoder makes of them."""
    from dlcli.vae.pictures import sample_pictures

    trained = found(run, checkpoint=checkpoint, consoles=show.consoles)
    gallery = sample_pictures(trained, count=n, seed=seed, temperature=temperature, draw=not mean)
    kind = "mean" if mean else "draw"
    name = f"generate-{kind}-seed{seed}"
    wanted = Wanted(name=name, out=out, formats=formats, seed=seed, show=show_pictures)
    deliver(gallery_sheet(gallery), trained, wanted=wanted, show=show)
