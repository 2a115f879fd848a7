"""`dl vae` and `dl sample`: train, evaluate, and draw pictures with variational auto-encoders."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from dlcli.cli.options import (
    CheckpointFlag,
    OfflineFlag,
    OpenFlag,
    OutFlag,
    PageFlag,
    RunArgument,
    RunFlag,
    SeedFlag,
    ThreadsFlag,
    computing,
    configured,
    one_run,
    plain,
)
from dlcli.cli.training import (
    ForceFlag,
    InitFlag,
    ResumeFlag,
    SeedsFlag,
    TensorBoardFlag,
    advice,
    is_main_process,
    leave_if_partial,
    measured,
    run_trainings,
    saved_config,
    settle,
)
from dlcli.display.console import Consoles, to_plain
from dlcli.display.images import PictureRows, image_grid, is_colour, save_npz
from dlcli.display.progress import FractionProgress
from dlcli.engine.settings import seeds_of
from dlcli.errors import UsageFault, nearest, plural
from dlcli.vae.config import VaeEvalConfig, VaeTrainConfig

if TYPE_CHECKING:
    from dlcli.engine.runs import RunFolder
    from dlcli.vae.evaluation import VaeEvaluation
    from dlcli.vae.generation import Array, Gallery, Images
    from dlcli.vae.sampling import AncestralSample
    from dlcli.vae.trained import Trained, TrainResult


_advice = partial(advice, kind="vae")
_saved = partial(saved_config, kind="vae")


def _settle(
    configs: Mapping[str, VaeTrainConfig], own: Mapping[str, Any], consoles: Consoles
) -> Mapping[str, Mapping[str, Any]]:
    """Settle the data sets, and read a user's own images into the cache with progress."""
    from dlcli.data.catalogue import is_image_path
    from dlcli.vae.images import images_of

    settled = settle(configs, own, consoles, kind="vae")
    if is_main_process():
        for data in {config.data for config in configs.values() if is_image_path(config.data.name)}:
            with FractionProgress(consoles, label="reading images") as progress:
                images_of(data, notice=consoles.notice, progress=progress)
    return settled


@configured(VaeTrainConfig, advice=_advice, settle=_settle, base=_saved)
def train(
    config: VaeTrainConfig,
    consoles: Consoles,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    tensorboard: TensorBoardFlag = False,
    init_from: InitFlag = None,
    seeds: SeedsFlag = 1,
) -> None:
    """Train a variational auto-encoder and write a run folder with checkpoints and pictures.

    Examples:
        dl vae train --arch conv --data glyphs:2000 --epochs 3 --out runs/first
        dl vae train --resume latest --epochs 100
    """
    results = run_trainings(
        consoles,
        seeds_of(config, seeds),
        chapter="vae",
        title=f"vae-{config.model.arch}-seeds",
        out=out,
        resume=resume,
        force=force,
        init_from=init_from,
        tensorboard=tensorboard,
    )
    if results:
        show_results(consoles, results)


def show_results(consoles: Consoles, results: Mapping[str, TrainResult]) -> None:
    """Show one run, or several seeds: every run, then mean and standard deviation."""
    if len(results) == 1:
        from dlcli.vae.display import trained_facts

        (result,) = results.values()
        consoles.result(result, trained_facts(result))
        return
    from dlcli.display.tables import with_error
    from dlcli.engine.statistics import mean_std
    from dlcli.vae.display import trained_table
    from dlcli.vae.trained import summarise

    elbo = mean_std([result.test.elbo for result in results.values()])
    mean = (
        f"test ELBO over {len(results)} seeds: {with_error(elbo.mean, elbo.std)} nats (mean ± std)"
    )
    consoles.result(summarise(results), trained_table(results, what="seed"), mean)


PlotFlag = Annotated[
    Path | None,
    typer.Option("--plot", help="Figure of the curves. (default: compare.png in the folder)"),
]


def settle_grid(
    cells: Mapping[str, VaeTrainConfig], own: Mapping[str, Any], consoles: Consoles
) -> Mapping[str, Mapping[str, Any]]:
    """Refuse a grid of one, and settle the data sets of the others."""
    check_several(cells)
    return _settle(cells, own, consoles)


def check_several(cells: Mapping[str, VaeTrainConfig]) -> None:
    """Refuse a grid of one."""
    if len(cells) < 2:
        raise UsageFault(
            "`vae compare` needs a setting with several values.",
            hint="Write --set optim.lr=1e-4,1e-3,1e-2.",
        )


@configured(VaeTrainConfig, advice=_advice, settle=settle_grid, base=_saved, grid=True)
def compare(
    cells: Mapping[str, VaeTrainConfig],
    consoles: Consoles,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    tensorboard: TensorBoardFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Train every combination of `--set key=a,b,c` and compare them.

    Examples:
        dl vae compare --data glyphs:2000 --epochs 5 --set model.latent_dim=2,5,20
    """
    check_several(cells)
    results = run_trainings(
        consoles,
        cells,
        chapter="vae",
        title="vae-compare",
        tolerant=True,
        out=out,
        resume=resume,
        force=force,
        tensorboard=tensorboard,
    )
    if results:
        failed = [label for label in cells if label not in results]
        show_grid(consoles, results, failed=failed, plot=plot)


def show_grid(
    consoles: Consoles, results: Mapping[str, TrainResult], *, failed: list[str], plot: Path | None
) -> None:
    """Show a grid: a table, the curves in one figure, and the settings that did best.

    Where losses are of different images or likelihoods, none is the best.
    """
    from dlcli.display.runs import compare_curves
    from dlcli.engine.runs import RunFolder, curve_of, signature_warning
    from dlcli.vae.display import trained_table, winner_words

    runs = {label: RunFolder(Path(found.run)) for label, found in results.items()}
    base = next(iter(runs.values())).path.parent
    figure = (plot or base / "compare.png").absolute()
    curves = {label: curve_of(run) for label, run in runs.items()}
    compare_curves(figure, curves, title="the grid")
    best, words, close = None, "", list[str]()
    unlike = signature_warning([{"signature": result.signature} for result in results.values()])
    if unlike:
        consoles.warning(unlike)
    else:
        best = max(results, key=lambda label: results[label].test.elbo)
        words, close = winner_words(results)
    found = {
        "run": base,
        "best": best,
        "close": close,
        "results": results,
        "failed": failed,
        "files": [figure],
    }
    sentences = [word for word in (words, f"figure {figure}") if word]
    consoles.result(found, trained_table(results, what="setting"), *sentences)


BoundsPlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Figure of --checkpoints, PNG, SVG or PDF. (default: bounds.png in the run's figures)",
    ),
]


@configured(VaeEvalConfig)
def evaluate(
    config: VaeEvalConfig,
    consoles: Consoles,
    *,
    name: RunArgument = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    plot: BoundsPlotFlag = None,
) -> None:
    """Measure a trained VAE: ELBO, NLL by IWAE and AIS, the gap, active units, ambiguity.

    Examples:
        dl vae eval --images 100 --k 50
        dl vae eval runs/first --ais
    """
    from dlcli.vae.display import evaluation_words, snapshots_figure
    from dlcli.vae.evaluation import evaluate_run as evaluations

    trained = _find_trained(one_run(name, run), checkpoint, consoles)
    with FractionProgress(consoles, label="vae eval", by_note=True) as progress:
        results = evaluations(
            trained,
            config,
            notice=consoles.notice,
            progress=progress,
        )
        result = measured(results, progress=lambda found: progress(found.done, found.stage))
    files = []
    if result.checkpoints:
        path = plot or Path(f"{_usual_path('bounds', run=trained.run)}.png")
        files = [snapshots_figure(result, path)]
    words = [*evaluation_words(result), *(f"figure: {file}" for file in files)]
    consoles.result(_evaluation_object(result, files=files), *words)
    leave_if_partial(result, consoles, during=result.stage)


def _evaluation_object(result: VaeEvaluation, *, files: list[Path]) -> dict[str, Any]:

    found = to_plain(result)
    assert isinstance(found, dict)
    if result.ais is not None:
        found["ais"]["verdict"] = result.ais.verdict
    if result.ambiguity is not None:
        found["ambiguity"]["generated"]["balance"] = result.ambiguity.generated.balance
    return {**found, "partial": not result.complete, "files": files}


def _find_trained(run: str | None, checkpoint: str | None, consoles: Consoles) -> Trained:
    """Return the model that `--run` names, saying on standard error which one that is."""
    from dlcli.vae.trained import find_trained

    return find_trained(run, checkpoint=checkpoint, notice=consoles.notice)


Format = Literal["png", "npz", "svg", "pdf"]

DrawFlag = Annotated[
    bool,
    typer.Option("--mean/--draw", help="Show pixel means, or draw pixels from p(x|z)."),
]
ShowFlag = Annotated[bool, typer.Option("--show", help="Also print the pictures here.")]
FormatFlag = Annotated[
    tuple[Format, ...] | None,
    typer.Option(
        "--format",
        help="Kinds of file: figures, or npz with pixels and latents. "
        "(default: by the ending of --out, else png)",
    ),
]
PicturesFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A file or a folder. (default: the run's figures folder; of an exported or packaged "
        "model, and with --untrained: runs/pictures)",
    ),
]


OldImagesFlag = Annotated[
    tuple[int, ...] | None,
    typer.Option("--images", hidden=True, help="The old name of --image."),
]
"""What 0.1.0 called `--image`; everywhere else `--images` is a number of images."""


def _named_images(words: Sequence[str] | None) -> Images:
    """Read test images by number or picture files, as `--image` takes them.

    Raises:
        UsageFault: numbers beside files.
    """
    words = words or ()
    numbers = [int(word) for word in words if re.fullmatch(r"-?[0-9]{1,18}", word)]
    if len(numbers) not in (0, len(words)):
        raise UsageFault(
            "--image names test images by number and picture files.",
            hint="Name one kind at a time; a file named 3 is ./3.",
        )
    return numbers or [Path(word) for word in words]


def _images_of(image: Sequence[str] | None, images: Sequence[int] | None) -> Images | None:
    """Return the images that `--image`, or `--images` of 0.1.0, names.

    Raises:
        UsageFault: both, numbers beside files, or `--images` with one number, which may be a
            number of images.
    """
    if images is None:
        return _named_images(image) or None
    if image is not None:
        raise UsageFault("--images is the old name of --image.", hint="Give --image alone.")
    if len(images) == 1:
        raise UsageFault(
            f"--images {images[0]} could be that many images, or the image of that number.",
            hint=f"Write --n {images[0]} for the first {images[0]}, or --image {images[0]}.",
        )
    return images


def _stem(image: int | Path) -> str:
    """Return what the name of a picture file says of an image."""
    return image.stem if isinstance(image, Path) else str(image)


@computing
def generate(
    consoles: Consoles,
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
    out: PicturesFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Draw latents from the prior and show what the decoder makes of them.

    Examples:
        dl vae generate --show
        dl vae generate --run runs/first --n 16 --seed 1 --out digits.png
    """
    from dlcli.vae import generation

    trained = _find_trained(run, checkpoint, consoles)
    gallery = generation.generate(
        trained, count=n, seed=seed, temperature=temperature, draw=not mean
    )
    name = f"generate-{'mean' if mean else 'draw'}-seed{seed}"
    files = PictureFiles(name, out=out, formats=formats)
    sheet = _gallery_sheet(gallery, loose=True)
    _deliver(sheet, trained, files, consoles, seed=seed, printed=show_pictures)


@computing
def reconstruct(
    consoles: Consoles,
    *,
    run: RunFlag = None,
    n: Annotated[int, typer.Option("--n", min=1, help="The first N test images.")] = 10,
    image: Annotated[
        tuple[str, ...] | None,
        typer.Option(
            "--image",
            metavar="<int|FILE>…",
            help="Test images by number, from 0, or picture files, cropped and resized.",
        ),
    ] = None,
    images: OldImagesFlag = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw z from q(z|x) instead of taking its mean.")
    ] = False,
    seed: SeedFlag = 0,
    mean: DrawFlag = True,
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
    out: PicturesFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Encode images and decode them again: inputs above, reconstructions below.

    Examples:
        dl vae reconstruct --image 3 7 --show
        dl vae reconstruct --n 16 --out pairs.png
    """
    from dlcli.vae import generation

    trained = _find_trained(run, checkpoint, consoles)
    made = generation.reconstruct(
        trained,
        images=_images_of(image, images) or range(n),
        seed=seed,
        sample=sample,
        draw=not mean,
        offline=offline,
        notice=consoles.notice,
    )
    rows, names = made.paired_rows()
    sheet = Sheet(
        images=rows,
        title=made.label,
        count=len(made.images),
        rows=names,
        arrays={"inputs": made.inputs, "images": made.images, "z": made.z},
    )
    name = f"reconstruct-{'mean' if mean else 'draw'}-seed{seed}"
    files = PictureFiles(name, out=out, formats=formats)
    _deliver(sheet, trained, files, consoles, seed=seed, printed=show_pictures)


@computing
def interpolate(
    consoles: Consoles,
    *,
    run: RunFlag = None,
    image: Annotated[
        tuple[str, ...] | None,
        typer.Option(
            "--image",
            metavar="A B",
            help="Between two test images by number, or two picture files. (default: 0 1)",
        ),
    ] = None,
    images: OldImagesFlag = None,
    seeds: Annotated[
        tuple[int, ...] | None,
        typer.Option("--seeds", metavar="A B", help="Between the prior draws of two seeds."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Pictures on the way.")] = 10,
    path: Annotated[
        Literal["spherical", "linear"], typer.Option("--path", help="Which way to go.")
    ] = "spherical",
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
    out: PicturesFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Walk through latent space from one image to another, or between two prior draws.

    Examples:
        dl vae interpolate --image 3 7 --show
        dl vae interpolate --seeds 1 2 --steps 9
    """
    from dlcli.vae.generation import interpolate_images, interpolate_seeds

    ends = _named_images(image) or images
    if ends is not None and seeds is not None:
        raise UsageFault("--image and --seeds name different ends.", hint="Give one of them.")
    trained = _find_trained(run, checkpoint, consoles)
    if seeds is not None:
        gallery = interpolate_seeds(trained, seeds=seeds, steps=steps, path=path)
        kind, title = f"seeds-{seeds[0]}-{seeds[1]}", f"from seed {seeds[0]} to seed {seeds[1]}"
    else:
        ends, notice = ends or (0, 1), consoles.notice
        gallery = interpolate_images(
            trained, images=ends, steps=steps, path=path, offline=offline, notice=notice
        )
        kind = f"images-{_stem(ends[0])}-{_stem(ends[1])}"
        what = "test image " if isinstance(ends[0], int) else ""
        title = f"from {what}{ends[0]} to {ends[1]}"
    files = PictureFiles(f"interpolate-{kind}", out=out, formats=formats)
    sheet = _gallery_sheet(gallery, title=f"{gallery.label}, {title} ({path})")
    seed = seeds[0] if seeds else 0
    _deliver(sheet, trained, files, consoles, seed=seed, printed=show_pictures)


@computing
def traverse(
    consoles: Consoles,
    *,
    run: RunFlag = None,
    dims: Annotated[
        tuple[int, ...] | None,
        typer.Option(
            "--dims",
            help="Latents from 0, one a row; two make a plane. (default: the 20 with the largest "
            "KL; of a model of two, the plane)",
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="<int|FILE>",
            help="Start from the posterior mean of this test image or picture file. (default: 0)",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Start from the prior draw of this seed instead."),
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
    out: PicturesFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Vary one latent at a time and show what changes; two latents make a plane.

    Examples:
        dl vae traverse --image 3 --show
        dl vae traverse --dims 0 1 --out plane.png
    """
    from dlcli.vae import generation

    trained = _find_trained(run, checkpoint, consoles)
    first = None if image is None else _named_images([image])[0]
    gallery = generation.traverse(
        trained,
        dims=dims,
        steps=steps,
        span=span,
        image=first,
        seed=seed,
        offline=offline,
        notice=consoles.notice,
    )
    starts = {"image": None if first is None else _stem(first), "seed": seed}
    start = "".join(f"-{name}{value}" for name, value in starts.items() if value is not None)
    files = PictureFiles(f"traverse{start}", out=out, formats=formats)
    sheet = _gallery_sheet(gallery)
    _deliver(sheet, trained, files, consoles, seed=seed or 0, printed=show_pictures)


@computing
def explore(
    consoles: Consoles,
    *,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
    out: PageFlag = Path("explore.html"),
    open_: OpenFlag = False,
) -> None:
    """Write an HTML page in which the network runs: move its latents, draw an image, see the ELBO.

    Examples:
        dl vae explore --run pretrained:vae-conv --open
        dl vae explore --run runs/first --out first.html
    """
    from dlcli.display.page import check_page_path, open_page, write_page
    from dlcli.vae.explore import SIZE_HINT, explore_page

    check_page_path(out)
    trained = _find_trained(run, checkpoint, consoles)
    named = run if run not in (None, "latest") else trained.run.path.name
    words = ["dl", "vae", "explore", "--run", str(named)]
    words += ["--checkpoint", checkpoint] if checkpoint else []
    page = explore_page(trained, command=shlex.join(words), offline=offline, notice=consoles.notice)
    path = write_page(out, page.text, notice=consoles.notice, hint=SIZE_HINT)
    value = {
        "run": trained.run.path,
        "checkpoint": trained.checkpoint,
        "files": [path],
        "bytes": path.stat().st_size,
        "images": page.images,
        "signature": page.signature,
    }
    consoles.result(value, str(path))
    if open_:
        open_page(path, notice=consoles.notice)


LATENTS = 8
"""How many latents `dl sample` draws by default."""


@computing
def sample(
    consoles: Consoles,
    *,
    run: RunFlag = None,
    untrained: Annotated[
        bool,
        typer.Option("--untrained", help="A fresh random decoder instead of a trained run."),
    ] = False,
    arch: Annotated[
        Literal["mlp", "conv"] | None,
        typer.Option("--arch", help="With --untrained: mlp or conv. (default: mlp)"),
    ] = None,
    latent_dim: Annotated[
        int | None,
        typer.Option(
            "--latent-dim",
            min=1,
            max=100_000,
            help="With --untrained: latent dimensions D. (default: 20)",
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", min=1, help=f"How many. (default: {LATENTS}, or all of --z)"),
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=1, help="Pictures drawn from p(x|z) for each latent.")
    ] = 4,
    seed: SeedFlag = 0,
    z: Annotated[
        Path | None,
        typer.Option(
            "--z", help="Latents from an npz, npy or text file, one a line, instead of new ones."
        ),
    ] = None,
    checkpoint: CheckpointFlag = None,
    out: PicturesFlag = None,
    formats: FormatFlag = None,
    show_pictures: ShowFlag = False,
) -> None:
    """Ancestral sampling: z ~ N(0, I), then x ~ p(x|z); means and draws side by side.

    Examples:
        dl sample --n 4 --draws 3 --show
        dl sample --untrained --latent-dim 2 --show
    """
    from dlcli.vae.sampling import ancestral_sample, chosen_latents, fresh, of_run

    if untrained and (run is not None or checkpoint is not None):
        raise UsageFault("--untrained is no run.", hint="Leave out --run and --checkpoint.")
    if not untrained and (arch is not None or latent_dim is not None):
        flag = "--arch" if arch is not None else "--latent-dim"
        raise UsageFault(f"{flag} describes a fresh decoder.", hint="Add --untrained.")
    trained = None if untrained else _find_trained(run, checkpoint, consoles)
    if trained is not None:
        source = of_run(trained)
    else:
        source = fresh(arch=arch or "mlp", latent_dim=latent_dim or 20, seed=seed)
    latents = chosen_latents(source.model, file=z, count=n, default=LATENTS, seed=seed)
    made = ancestral_sample(source.model, latents, draws=draws, seed=seed)
    more = {
        "z": made.z.tolist(),
        "draws": made.draws.shape[1],
        "log_prior": made.log_prior,
        "log_joint": made.log_joint,
        "unit": "nats",
        "signature": source.signature(count=made.count, draws=draws, seed=seed, file=z),
    }
    files = PictureFiles(f"sample-{source.stem}seed{seed}", out=out, formats=formats)
    sheet = _sample_sheet(made, what=source.name)
    _deliver(sheet, trained, files, consoles, seed=seed, printed=show_pictures, more=more)


def _sample_sheet(made: AncestralSample, *, what: str) -> Sheet:
    """Lay out each latent's mean with its draws to the right, several latents a row if narrow."""
    import numpy as np

    S = made.draws.shape[1]
    across = max(1, round(math.sqrt(made.count / (S + 1))))
    rows = -(-made.count // across)
    shape = made.means.shape[1:]
    cells = np.full((rows * across, S + 1, *shape), np.nan, dtype=np.float32)
    cells[: made.count, 0], cells[: made.count, 1:] = made.means, made.draws
    kind = "draw" if S == 1 else "draws"
    return Sheet(
        images=cells.reshape(rows, across * (S + 1), *shape),
        title=f"{what}: mean of p(x|z), then {S} {made.label.replace('draw', kind)}, for each z",
        count=made.count,
        columns=across * (S + 1),
        heads=["mean", *(f"draw {i + 1}" for i in range(S))] * across,
        arrays={"means": made.means, "draws": made.draws, "z": made.z, "log_joint": made.log_joint},
    )


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Pictures laid out, with words around them."""

    images: Array
    """(N, H, W) or (R, C, H, W), in colour with 3 at the end."""
    title: str
    count: int
    columns: int = 0
    """Pictures a row; 0 where their places mean nothing."""
    rows: Sequence[str] = ()
    heads: Sequence[str] = ()
    """Names of the columns."""
    arrays: dict[str, object]
    """What an npz holds."""

    def start(self) -> tuple[Sheet, str]:
        """Return what a picture file shows, and a few words where that is not all of it."""
        in_rows = self.images.ndim - is_colour(self.images) == 4
        columns = self.images.shape[1] if in_rows else self.columns
        rows = max(1, MOST_DRAWN // columns) if columns else MOST_DRAWN
        shown = self.images[: rows if in_rows or not columns else rows * columns]
        if len(shown) == len(self.images):
            return self, ""
        first = plural(rows, "row") if columns else f"{rows:,} of {self.count:,}"
        return dataclasses.replace(self, images=shown, rows=self.rows[:rows]), f"the first {first}"


MOST_DRAWN = 2500
"""Pictures in one file: 50 x 50 make one of 1,500 x 1,500 dots."""


def _gallery_sheet(gallery: Gallery, *, title: str = "", loose: bool = False) -> Sheet:
    return Sheet(
        images=gallery.images,
        title=title or gallery.label,
        count=len(gallery.images),
        columns=0 if loose else gallery.columns,
        rows=gallery.rows,
        arrays={"images": gallery.images, "z": gallery.z},
    )


def _deliver(
    sheet: Sheet,
    trained: Trained | None,
    wanted: PictureFiles,
    consoles: Consoles,
    *,
    seed: int,
    printed: bool,
    more: Mapping[str, object] | None = None,
) -> None:
    """Write the files and say where they are, with `more` fields under `--json`."""
    paths = wanted.paths(run=trained.run if trained else None)
    start, what = sheet.start()
    files = [str(_write(sheet if _is_npz(path) else start, path)) for path in paths]
    if what and not all(map(_is_npz, paths)):
        whole = "the npz has" if any(map(_is_npz, paths)) else "--format npz writes"
        consoles.notice(f"The picture shows {what}; {whole} all.")
    result = {
        "run": str(trained.run.path) if trained else None,
        "checkpoint": trained.checkpoint if trained else None,
        "files": files,
        "count": sheet.count,
        "seed": seed,
        "label": sheet.title,
        **(more or {}),
    }
    words: list[Any] = [sheet.title, *files]
    if printed:
        words.insert(0, PictureRows(sheet.images, columns=sheet.columns))
    consoles.result(result, *words)


def _write(sheet: Sheet, path: Path) -> Path:
    """Write one file in the form that its ending names."""
    if _is_npz(path):
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


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


@dataclass(frozen=True)
class PictureFiles:
    """Where a command's pictures go: `--out` and `--format`, and the stem where none is given."""

    stem: str
    out: Path | None = None
    formats: Sequence[str] | None = None

    def paths(self, *, run: RunFolder | None) -> list[Path]:
        """Return one path for each format.

        Args:
            run: whose pictures they are; None for a network that is of none.

        Raises:
            UsageFault: a format that does not exist.
        """
        out = self.out
        ending = out.suffix.lstrip(".").lower() if out is not None and not out.is_dir() else ""
        formats = list(self.formats or [ending or "png"])
        for name in formats:
            if name not in get_args(Format):
                near = nearest(name, get_args(Format))
                raise UsageFault(
                    f"There is no picture format '{name}'.",
                    hint=near.capitalize() or f"Choose from {', '.join(get_args(Format))}.",
                )
        if out is not None and ending:
            if formats == [ending]:
                return [out]
            return [out.with_suffix(f".{name}") for name in formats]
        usual = _usual_path(self.stem, run=run)
        return [(out or usual.parent) / f"{usual.name}.{name}" for name in formats]


def _usual_path(stem: str, *, run: RunFolder | None) -> Path:
    """Return where a picture goes that was given no name, without its ending.

    Pictures of an exported model do not go into it, and have its name.
    """
    if run is None:
        from dlcli.engine.runs import PICTURES

        return PICTURES / stem
    return run.gallery / "-".join(filter(None, [stem, run.mark]))


@plain
def gradients(
    consoles: Consoles,
    *,
    run: RunFlag = None,
    images: Annotated[int, typer.Option("--images", min=1, help="The first N test images.")] = 64,
    samples: Annotated[
        int, typer.Option("--samples", min=4, help="Gradients of each estimator, an even number.")
    ] = 200,
    seed: SeedFlag = 0,
    checkpoint: CheckpointFlag = None,
    offline: OfflineFlag = False,
    threads: ThreadsFlag = 0,
) -> None:
    """Compare two estimators of the same gradient: reparametrisation and score function.

    Examples:
        dl vae gradients --images 4 --samples 100
    """
    from dlcli.engine.device import use_threads
    from dlcli.vae.display import gradients_table
    from dlcli.vae.gradients import compare_on_test_images

    use_threads(threads)
    trained = _find_trained(run, checkpoint, consoles)
    result, signature = compare_on_test_images(
        trained,
        images=images,
        samples=samples,
        seed=seed,
        offline=offline,
        notice=consoles.notice,
    )
    value = {
        "run": str(trained.run.path),
        "checkpoint": trained.checkpoint,
        "seed": seed,
        **vars(result),
        "signature": signature,
    }
    consoles.result(value, gradients_table(result, signature=signature))
