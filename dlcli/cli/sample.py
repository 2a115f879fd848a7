"""`dl sample`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dlcli.cli.options import RunFlag, Show, add_command, plain
from dlcli.cli.pictures import (
    LIST_OPTIONS,
    CheckpointFlag,
    FormatFlag,
    SeedFlag,
    Sheet,
    ShowFlag,
    Wanted,
    found,
    paths,
    write,
)
from dlcli.errors import UsageFault

if TYPE_CHECKING:
    from dlcli.study.ancestral import AncestralSample
    from dlcli.vae import Trained

LATENTS = 8

UntrainedFlag = Annotated[
    bool, typer.Option("--untrained", help="A fresh random decoder instead of a trained run.")
]
ArchFlag = Annotated[
    Literal["mlp", "conv"] | None,
    typer.Option("--arch", help="With --untrained: mlp or conv. (default: mlp)"),
]
DimFlag = Annotated[
    int | None,
    typer.Option(
        "--latent-dim",
        min=1,
        max=100_000,
        help="With --untrained: latent dimensions D. (default: 20)",
        show_default=False,
    ),
]
CountFlag = Annotated[
    int | None,
    typer.Option(
        "--n",
        min=1,
        help=f"How many latents. (default: {LATENTS}, or all of --z)",
        show_default=False,
    ),
]
LatentsFlag = Annotated[
    Path | None,
    typer.Option(
        "--z",
        help="Latents from an npz, npy or text file, one a line, instead of new ones.",
        show_default=False,
    ),
]
OutFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A file or a folder. (default: the run's figures folder; of an exported or packaged "
        "model, and with --untrained: here)",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add `sample`."""
    add_command(app, "sample", sample, list_options=LIST_OPTIONS)


@plain
def sample(
    show: Show,
    *,
    run: RunFlag = None,
    untrained: UntrainedFlag = False,
    arch: ArchFlag = None,
    latent_dim: DimFlag = None,
    n: CountFlag = None,
    draws: Annotated[
        int, typer.Option("--draws", min=1, help="Pictures drawn from p(x|z) for each latent.")
    ] = 4,
    seed: SeedFlag = 0,
    z: LatentsFlag = None,
    checkpoint: CheckpointFlag = None,
    out: OutFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Ancestral sampling: z ~ N(0, I), then x ~ p(x|z); means and draws side by side."""
    from dlcli.report import PictureRows
    from dlcli.study.ancestral import ancestral_sample
    from dlcli.study.sampling import chosen_latents, fresh, of_run

    if untrained and (run is not None or checkpoint is not None):
        raise UsageFault("--untrained is no run.", hint="Leave out --run and --checkpoint.")
    if not untrained and (arch is not None or latent_dim is not None):
        flag = "--arch" if arch is not None else "--latent-dim"
        raise UsageFault(f"{flag} describes a fresh decoder.", hint="Add --untrained.")
    trained = None if untrained else found(run, checkpoint=checkpoint, consoles=show.consoles)
    if trained is not None:
        source = of_run(trained)
    else:
        source = fresh(arch=arch or "mlp", latent_dim=latent_dim or 20, seed=seed)
    latents = chosen_latents(source.model, file=z, count=n, default=LATENTS, seed=seed)
    made = ancestral_sample(
        source.model, latents, draws=draws, seed=seed, likelihood=source.likelihood
    )
    sheet = side_by_side(made, what=source.name)
    wanted = Wanted(
        name=f"sample-{source.stem}seed{seed}",
        out=out,
        formats=formats,
        seed=seed,
        show=show_pictures,
    )
    files = [write(sheet, path) for path in paths(wanted, run=trained.run if trained else None)]
    value = {
        **as_json(made, trained=trained, seed=seed),
        "files": [str(file) for file in files],
        "label": sheet.title,
        "signature": source.signature(count=made.count, draws=draws, seed=seed, file=z),
    }
    words = [sheet.title, *map(str, files)]
    pictures = [PictureRows(sheet.images, columns=sheet.columns)] if show_pictures else []
    show.consoles.result(value, *pictures, *words)


def as_json(made: AncestralSample, *, trained: Trained | None, seed: int) -> dict[str, object]:
    """Return the fields of `--json` that the sample itself decides."""
    return {
        "run": str(trained.run.path) if trained else None,
        "checkpoint": trained.checkpoint if trained else None,
        "z": made.z.tolist(),
        "count": made.count,
        "seed": seed,
        "draws": made.draws.shape[1],
        "log_prior": made.log_prior,
        "log_joint": made.log_joint,
        "unit": "nats",
    }


def side_by_side(made: AncestralSample, *, what: str) -> Sheet:
    """Lay out each latent's mean with its draws to the right, several latents a row if narrow."""
    import numpy as np

    S = made.draws.shape[1]
    across = max(1, round(math.sqrt(made.count / (S + 1))))
    rows = -(-made.count // across)
    cells = np.full((rows * across, S + 1, 28, 28), np.nan, dtype=np.float32)
    cells[: made.count, 0], cells[: made.count, 1:] = made.means, made.draws
    kind = "draw" if S == 1 else "draws"
    return Sheet(
        images=cells.reshape(rows, across * (S + 1), 28, 28),
        title=f"{what}: mean of p(x|z), then {S} {made.label.replace('draw', kind)}, for each z",
        count=made.count,
        columns=across * (S + 1),
        heads=["mean", *(f"draw {i + 1}" for i in range(S))] * across,
        arrays={"means": made.means, "draws": made.draws, "z": made.z, "log_joint": made.log_joint},
    )
