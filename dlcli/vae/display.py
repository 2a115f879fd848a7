"""What trainings and evaluations of VAEs found, as tables, words and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from dlcli.display.plots import Line, lines
from dlcli.display.tables import (
    ResultTable,
    count,
    duration,
    facts,
    interval,
    number,
    out_of,
    with_error,
)
from dlcli.errors import plural

if TYPE_CHECKING:
    from dlcli.vae.bounds import AnnealedNll, Average
    from dlcli.vae.evaluation import Nll, SnapshotBounds, VaeEvaluation
    from dlcli.vae.gradients import GradientComparison, TargetComparison
    from dlcli.vae.judge import Ambiguity
    from dlcli.vae.trained import TrainResult


FEW_EFFECTIVE = 5.0
"""Effective samples an image below which an IWAE bound may still be far from log p(x)."""
GREY = "grey pixels have no density under a Bernoulli likelihood"


def trained_facts(result: TrainResult) -> ResultTable:
    """Show one finished training."""
    test = result.test
    shown: dict[str, object] = {
        "run": result.run,
        "data": result.data,
        "images": _images(result),
        "epochs": result.epochs,
        "test ELBO": f"{with_error(test.elbo, test.std_error)} nats",
        "  reconstruction": f"{test.reconstruction:.3f} nats",
        "  KL": f"{test.kl:.3f} nats",
        "active units": out_of(
            result.active_units, whole=result.latent_dim or len(result.kl_per_dim)
        ),
        "speed": f"{count(result.images_per_s)} images/s",
        "training": duration(result.train_s),
        "pictures": f"{result.run}/figures",
    }
    return facts(shown, signatures=result.signature)


def _images(result: TrainResult) -> str:
    """Say what the losses are of: size, colours and likelihood."""
    colours = "colour" if len(result.shape) == 3 else "grey"
    likelihood = f", {result.likelihood} likelihood" if result.likelihood else ""
    return f"{'x'.join(map(str, result.shape[:2]))} {colours}{likelihood}"


def trained_table(results: Mapping[str, TrainResult], *, what: str) -> ResultTable:
    """Show several finished trainings, one a line.

    Args:
        results: label → result.
        what: what the labels are: `seed`, `setting`.
    """
    columns = [what, "test ELBO (nats)", "reconstruction", "KL", "active units", "images/s", "run"]
    rows = [
        [
            label,
            with_error(result.test.elbo, result.test.std_error),
            f"{result.test.reconstruction:.3f}",
            f"{result.test.kl:.3f}",
            result.active_units,
            count(result.images_per_s),
            result.run,
        ]
        for label, result in results.items()
    ]
    signatures = {label: result.signature for label, result in results.items()}
    return ResultTable(columns, rows, signatures=signatures)


def winner_words(results: Mapping[str, TrainResult]) -> tuple[str, list[str]]:
    """Name the setting with the highest test ELBO, and those that may be as good.

    Returns:
        a sentence, and the settings that chance alone may have put behind the best: their interval
        of two standard errors and its interval overlap.
    """
    best = max(results, key=lambda label: results[label].test.elbo)
    test = results[best].test
    error = test.std_error or 0.0
    close = [
        label
        for label, result in results.items()
        if label != best
        and test.elbo - result.test.elbo < 2 * (error + (result.test.std_error or 0.0))
    ]
    if not close:
        return f"highest test ELBO: {best}", []
    return (
        f"no clear winner: the intervals of {best} and {', '.join(close)} overlap (two standard "
        "errors over test images); several seeds of each would show more",
        close,
    )


def evaluation_words(found: VaeEvaluation) -> list[RenderableType]:
    """Show everything that an evaluation found."""
    words: list[RenderableType] = [_main(found)]
    nll = found.nll or found.nll_binarized
    if nll is not None:
        words.append(_bounds(nll, binarized=found.nll is None))
    if found.ais is not None:
        words.append(_annealed(found.ais))
    if found.checkpoints:
        words.append(snapshots_table(found.checkpoints))
    if found.ambiguity is not None:
        words.append(_ambiguity(found.ambiguity))
    if found.collapse:
        words.append(found.collapse)
    words.append(f"signature {found.signature}")
    return words


def _main(found: VaeEvaluation) -> ResultTable:
    shown: dict[str, object] = {
        "run": f"{found.run} ({found.checkpoint})",
        "images": f"{found.images:,} of the {found.data} test set, {found.pixels}",
        "ELBO": f"{with_error(found.elbo, found.elbo_std_error)} nats",
        "  reconstruction": f"{found.reconstruction:.3f} nats",
        "  KL": f"{found.kl:.3f} nats",
    }
    if found.nll is not None:
        shown["NLL"] = _nll_words(found.nll)
    elif found.nll_binarized is not None:
        shown["NLL"] = f"none: {GREY}"
        shown["NLL, binarized pixels"] = _nll_words(found.nll_binarized)
        shown["ELBO, binarized pixels"] = f"{found.nll_binarized.elbo:.3f} nats"
    if found.gap is not None:
        where = "" if found.nll is not None else ", binarized pixels"
        text = with_error(found.gap, found.gap_std_error)
        shown[f"gap{where}"] = f"{text} nats: KL(q(z|x) || p(z|x))"
    shares = sorted(found.kl_per_dim, reverse=True)
    shown["active units"] = out_of(found.active_units, whole=found.latent_dim)
    if shares:  # a learned prior has none
        shown["KL per dimension"] = " ".join(f"{kl:.2f}" for kl in shares[:20])
    speed = count(found.evaluations_per_s)
    shown["speed"] = f"{speed} decoder evaluations/s ({duration(found.elapsed_s)})"
    return facts(shown)


def _nll_words(nll: Nll) -> str:
    value = with_error(nll.value, nll.std_error)
    return f"{value} nats or less ({nll.estimator.upper()}, k = {nll.k:,})"


def _bounds(nll: Nll, *, binarized: bool) -> ResultTable:
    pixels = " on binarized pixels" if binarized else ""
    rising = "they rise, as they must" if nll.rises else "they do not rise: something is wrong"
    trust = f"median {number(nll.ess, digits=2)} effective samples an image"
    if nll.ess < FEW_EFFECTIVE:
        trust += ", too few: log p(x) may be higher still (--ais)"
    rows = [[bound.name, f"{bound.value:.3f}", bound.std_error] for bound in nll.bounds]
    title = f"Lower bounds of log p(x){pixels}, same images and samples; {rising}; {trust}"
    return ResultTable(["bound", "nats an image", "std. error"], rows, title=title)


def _annealed(ais: AnnealedNll) -> ResultTable:
    difference = with_error(ais.above_iwae.value, ais.above_iwae.std_error)
    verdicts = ", ".join(f"{word} {images}" for word, images in ais.verdicts.items() if images)
    shown: dict[str, object] = {
        "NLL by AIS": f"{with_error(ais.value, ais.monte_carlo_error)} nats (error of the chains)",
        "NLL by IWAE": f"{ais.iwae:.3f} nats, same images",
        "log p, AIS - IWAE": f"{difference} nats: {ais.verdict}",
        "images": f"{ais.images}, {ais.images_below} of them below IWAE ({verdicts})",
        "chains": f"{ais.chains} an image, {max(ais.temperatures):,} temperatures, "
        f"acceptance {ais.acceptance:.2f}",
        "time": duration(ais.elapsed_s),
    }
    return facts(shown, title="Annealed importance sampling")


def snapshots_table(rows: tuple[SnapshotBounds, ...]) -> ResultTable:
    """Show Question 5's two possibilities: does log p rise, or does the gap shrink?"""
    k = rows[0].k
    cells = [
        [
            row.epoch,
            with_error(row.elbo.value, row.elbo.std_error),
            with_error(row.iwae.value, row.iwae.std_error),
            with_error(row.gap.value, row.gap.std_error),
        ]
        for row in rows
    ]
    columns = ["epoch", "ELBO (nats)", f"IWAE-{k} (nats)", "gap (nats)"]
    return ResultTable(columns, cells, title="Over the snapshots")


def snapshots_figure(found: VaeEvaluation, path: Path) -> Path:
    """Draw ELBO, IWAE bound and their gap over the snapshots.

    Raises:
        RunFailed: the path cannot be written.
    """
    rows = found.checkpoints
    epochs = [float(row.epoch) for row in rows]
    series = [
        _curve("-ELBO", epochs, [row.elbo for row in rows], sign=-1),
        _curve(f"-IWAE-{rows[0].k} (NLL from above)", epochs, [row.iwae for row in rows], sign=-1),
        _curve("gap: KL(q || posterior) from below", epochs, [row.gap for row in rows], sign=1),
    ]
    lines(
        path,
        series,
        x_label="epoch",
        y_label="nats an image",
        title="Does log p(x) rise, or does the posterior gap shrink?",
        # From 550 nats to a gap of 5: densities of grey pixels alone can be above one.
        log_y=all(value > 0 for line in series for value in line.y),
        note=found.signature,
    )
    return path.absolute()


def _curve(name: str, epochs: list[float], values: list[Average], *, sign: int) -> Line:
    """Make a line with a band of two standard errors."""
    y = [sign * value.value for value in values]
    errors = [2 * (value.std_error or 0.0) for value in values]
    low = [at - error for at, error in zip(y, errors, strict=True)]
    high = [at + error for at, error in zip(y, errors, strict=True)]
    return Line(name=name, x=epochs, y=y, low=low, high=high)


def _ambiguity(found: Ambiguity) -> ResultTable:
    read = found.generated
    real = f"of {found.real.images:,} real images {100 * found.real.ambiguous:.2f} %"
    bare = f"{100 * found.real.nearly_empty:.2f} % of the real ones"
    shares = " ".join(f"{100 * share:.1f}" for share in read.class_shares)
    error = with_error(100 * read.ambiguous, 100 * read.ambiguous_std_error)
    shown: dict[str, object] = {
        "images": f"{read.images:,}, {found.pixels}",
        "ambiguous": f"{error} % (largest class probability below 0.9); {real}",
        "mean entropy": f"{number(read.entropy)} nats",
        "nearly empty": f"{100 * read.nearly_empty:.2f} % ({bare})",
        f"classes 0 to {len(read.class_shares) - 1}": f"{shares} % (balance {read.balance:.3f})",
        "judge": f"{100 * found.judge_accuracy:.2f} % of the {found.judge_data} test images right",
    }
    return facts(shown, title="How ambiguous generated images are")


def gradients_table(found: GradientComparison, *, signature: str) -> ResultTable:
    """Show how much each estimator of each gradient scatters."""
    heads = ("gradient of", "estimator", "variance", "times pathwise", "95% interval", "agrees")
    of = f"{plural(found.images, 'image')}, {found.samples} samples each"
    title = f"Gradient of the reconstruction term, {of}"
    rows = [*_gradient_rows(found.outputs), *_gradient_rows(found.parameters)]
    return ResultTable(heads, rows, title=title, signatures=signature)


def _gradient_rows(target: TargetComparison) -> list[tuple[object, ...]]:
    """Return the table's rows about one gradient."""
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
