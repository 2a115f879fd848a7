"""`dl vae train`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dlcli.cli import options as lists
from dlcli.cli.options import OutFlag, RunFlag, Show, add_command, configured, plain
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
    gallery_sheet,
    integers,
    paths,
    usual_path,
    write,
)
from dlcli.cli.training import (
    OPTIONAL_VALUES,
    ForceFlag,
    InitFlag,
    ResumeFlag,
    SeedsFlag,
    is_main_process,
    leave_if_partial,
    measured,
    run_location,
    saved_config,
    training_listeners,
)
from dlcli.errors import UsageFault
from dlcli.vae.config import VaeEvalConfig, VaeTrainConfig

if TYPE_CHECKING:
    from dlcli.vae.gradients import TargetComparison
    from dlcli.vae.sampling import AncestralSample
    from dlcli.vae.study import VaeEvaluation
    from dlcli.vae.trained import Trained, TrainResult


def advice(given: dict[str, Any]) -> Mapping[str, Any]:
    """Return what the chosen data set recommends."""
    from dlcli.data.catalogue import recommended

    return recommended(str(given.get("data", {}).get("name", "auto")), task="vae")


@configured(VaeTrainConfig, advice=advice, base=saved_config)
def train(
    config: VaeTrainConfig,
    show: Show,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    init_from: InitFlag = None,
    seeds: SeedsFlag = 1,
) -> None:
    """Train a variational auto-encoder and write a run folder with checkpoints and pictures."""
    with training_listeners(show) as listeners:
        from dlcli.engine.repeat import seeds_of, train_all, train_once
        from dlcli.vae import training

        location = run_location(show, out=out, resume=resume, force=force, several=seeds > 1)
        if seeds == 1:
            result = train_once(
                config,
                train=training.train,
                location=location,
                init_from=init_from,
                listeners=listeners,
            )
            results = {"": result} if result is not None else {}
        else:
            results = train_all(
                seeds_of(config, seeds),
                train=training.train,
                location=location,
                title=f"vae-{config.model.arch}-seeds",
                tolerant=False,
                init_from=init_from,
                listeners=listeners,
            )
    if results and is_main_process():
        show_results(show, results)


def show_results(show: Show, results: Mapping[str, TrainResult]) -> None:
    """Show one run, or several seeds: every run, then mean and standard deviation."""
    if len(results) == 1:
        from dlcli.vae.display import trained_facts

        (result,) = results.values()
        show.consoles.result(result, trained_facts(result))
        return
    from dlcli.display.tables import with_error
    from dlcli.engine.repeat import spread
    from dlcli.vae.display import trained_table
    from dlcli.vae.trained import summarise

    elbo = spread([result.test.elbo for result in results.values()])
    mean = (
        f"test ELBO over {len(results)} seeds: {with_error(elbo.mean, elbo.std)} nats (mean ± std)"
    )
    show.consoles.result(summarise(results), trained_table(results, what="seed"), mean)


# -- `dl vae compare`: a small grid of settings in one table and one figure

PlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Figure of the curves. (default: compare.png in the folder)",
        show_default=False,
    ),
]


@configured(VaeTrainConfig, advice=advice, base=saved_config, grid=True)
def compare(
    cells: Mapping[str, VaeTrainConfig],
    show: Show,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Train every combination of `--set key=a,b,c` and compare them."""
    if len(cells) < 2:
        raise UsageFault(
            "`vae compare` needs a setting with several values.",
            hint="Write --set optim.lr=1.0e-4,1.0e-3,1.0e-2.",
        )
    with training_listeners(show) as listeners:
        from dlcli.engine.repeat import train_all
        from dlcli.vae import training

        location = run_location(show, out=out, resume=resume, force=force, several=True)
        results = train_all(
            cells,
            train=training.train,
            location=location,
            title="vae-compare",
            tolerant=True,
            listeners=listeners,
        )
    if results and is_main_process():
        failed = [label for label in cells if label not in results]
        show_grid(show, results, failed=failed, plot=plot)


def show_grid(
    show: Show, results: Mapping[str, TrainResult], *, failed: list[str], plot: Path | None
) -> None:
    """Show a grid: a table, the curves in one figure, and the settings that did best."""
    from dlcli.display.runs import compare_curves
    from dlcli.engine.runs import RunFolder, curve_of
    from dlcli.vae.display import trained_table

    runs = {label: RunFolder(Path(found.run)) for label, found in results.items()}
    base = next(iter(runs.values())).path.parent
    figure = (plot or base / "compare.png").absolute()
    curves = {label: curve_of(run) for label, run in runs.items()}
    compare_curves(figure, curves, title="training loss of the grid")
    best = max(results, key=lambda label: results[label].test.elbo)
    found = {
        "run": base,
        "best": best,
        "results": results,
        "failed": failed,
        "files": [figure],
    }
    words = f"highest test ELBO: {best}"
    show.consoles.result(found, trained_table(results, what="setting"), words, f"figure {figure}")


# -- `dl vae eval`

RunArgument = Annotated[
    str | None, typer.Argument(metavar="RUN", help="The same as --run.", show_default=False)
]
EvalPlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Figure of --checkpoints, PNG, SVG or PDF. (default: bounds.png in the run's figures)",
        show_default=False,
    ),
]


@configured(VaeEvalConfig)
def evaluate(
    config: VaeEvalConfig,
    show: Show,
    *,
    name: RunArgument = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    plot: EvalPlotFlag = None,
) -> None:
    """Measure a trained VAE: ELBO, NLL by IWAE and AIS, the gap, active units, ambiguity."""
    from dlcli.display.progress import FractionProgress
    from dlcli.vae.display import evaluation_words
    from dlcli.vae.study import run as evaluations

    if name is not None and run is not None and name != run:
        raise UsageFault(f"'{name}' and --run {run} are two runs.", hint="Name one of them.")
    trained = found(run or name, checkpoint=checkpoint, consoles=show.consoles)
    with FractionProgress(show.consoles, label="vae eval", by_note=True) as at:
        results = evaluations(
            trained,
            config,
            notice=show.consoles.notice,
            tell=lambda stage, done: at(done, stage),
        )
        result = measured(results, told=lambda found: at(found.done, found.stage))
    files = _figure(result, plot or Path(f"{usual_path('bounds', run=trained.run)}.png"))
    words = [*evaluation_words(result), *(f"figure: {file}" for file in files)]
    show.consoles.result(as_json(result, files=files), *words)
    leave_if_partial(result, show, during=result.stage)


def as_json(result: VaeEvaluation, *, files: list[Path]) -> dict[str, Any]:
    """Return the fields of `--json`."""
    from dlcli.display.console import to_plain

    plain = to_plain(result)
    assert isinstance(plain, dict)
    if result.ais is not None:
        plain["ais"]["verdict"] = result.ais.verdict
    if result.ambiguity is not None:
        plain["ambiguity"]["generated"]["balance"] = result.ambiguity.generated.balance
    return {**plain, "partial": not result.complete, "files": files}


def _figure(result: VaeEvaluation, path: Path) -> list[Path]:
    if not result.checkpoints:
        return []
    from dlcli.vae.display import snapshots_figure

    return [snapshots_figure(result, path)]


# -- `dl vae generate`


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


# -- `dl vae reconstruct`


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
    from dlcli.vae.generation import paired_rows
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


# -- `dl vae interpolate`


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


# -- `dl vae traverse`


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


# -- `dl vae gradients`


@plain
def gradients(
    show: Show,
    *,
    run: RunFlag = None,
    images: Annotated[int, typer.Option("--images", min=1, help="The first N test images.")] = 64,
    samples: Annotated[
        int, typer.Option("--samples", min=4, help="Gradients of each estimator, an even number.")
    ] = 200,
    seed: SeedFlag = 0,
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
) -> None:
    """Compare two estimators of the same gradient: reparametrisation and score function."""
    from dlcli.display.console import to_plain
    from dlcli.display.tables import ResultTable
    from dlcli.vae.pictures import gradients_of

    trained = found(run, checkpoint=checkpoint, consoles=show.consoles)
    result, signature = gradients_of(
        trained,
        images=images,
        samples=samples,
        seed=seed,
        offline=offline,
        notice=show.consoles.notice,
    )
    plain_result = to_plain(result)
    assert isinstance(plain_result, dict)
    table = ResultTable(
        columns=(
            "gradient of",
            "estimator",
            "variance",
            "times pathwise",
            "95% interval",
            "agrees",
        ),
        rows=[*_rows(result.outputs), *_rows(result.parameters)],
        title=f"Gradient of the reconstruction term, {images} images, {samples} samples each",
        signatures={"": signature},
    )
    value = {
        "run": str(trained.run.path),
        "checkpoint": trained.checkpoint,
        "seed": seed,
        **plain_result,
        "signature": signature,
    }
    show.consoles.result(value, table)


def _rows(target: TargetComparison) -> list[tuple[object, ...]]:
    """Return the table's rows about one gradient."""
    from dlcli.display.tables import interval

    rows: list[tuple[object, ...]] = [
        (target.target, "pathwise (reparametrisation)", target.pathwise.variance, 1, None, None)
    ]
    for name, scatter, contrast in (
        ("score function", target.score, target.against_score),
        ("score function, best baseline", target.score_baseline, target.against_baseline),
    ):
        low, high = contrast.ratio_ci95
        agrees = "yes" if contrast.agrees else "no"
        ratio = (contrast.ratio, interval(low, high, digits=3))
        rows.append(("", name, scatter.variance, *ratio, agrees))
    return rows


# -- `dl sample`

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
SampleOutFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A file or a folder. (default: the run's figures folder; of an exported or packaged "
        "model, and with --untrained: here)",
        show_default=False,
    ),
]


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
    out: SampleOutFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Ancestral sampling: z ~ N(0, I), then x ~ p(x|z); means and draws side by side."""
    from dlcli.display.images import PictureRows
    from dlcli.vae.sampling import ancestral_sample, chosen_latents, fresh, of_run

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
        **sample_as_json(made, trained=trained, seed=seed),
        "files": [str(file) for file in files],
        "label": sheet.title,
        "signature": source.signature(count=made.count, draws=draws, seed=seed, file=z),
    }
    words = [sheet.title, *map(str, files)]
    pictures = [PictureRows(sheet.images, columns=sheet.columns)] if show_pictures else []
    show.consoles.result(value, *pictures, *words)


def sample_as_json(
    made: AncestralSample, *, trained: Trained | None, seed: int
) -> dict[str, object]:
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


def register(app: typer.Typer) -> None:
    """Add the commands of `vae`, and `sample`."""
    add_command(app, "train", train, cls=VaeTrainConfig, optional=OPTIONAL_VALUES)
    add_command(app, "compare", compare, cls=VaeTrainConfig, optional=OPTIONAL_VALUES)
    add_command(app, "eval", evaluate, cls=VaeEvalConfig)
    add_command(app, "generate", generate, list_options=LIST_OPTIONS)
    reconstruct_options = {**LIST_OPTIONS, "--images": lists.is_int}
    add_command(app, "reconstruct", reconstruct, list_options=reconstruct_options)
    interpolate_options = {**LIST_OPTIONS, "--images": lists.is_int, "--seeds": lists.is_int}
    add_command(app, "interpolate", interpolate, list_options=interpolate_options)
    traverse_options = {**LIST_OPTIONS, "--dims": lists.is_int}
    add_command(app, "traverse", traverse, list_options=traverse_options)
    add_command(app, "gradients", gradients)
    add_command(app, "sample", sample, list_options=LIST_OPTIONS)
