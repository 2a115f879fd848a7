"""Word alignments in words: the error rate, and what it was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from dlcli.display.console import to_plain
from dlcli.display.plots import Line, colour, house_style, label, lines, new_figure, save_figure
from dlcli.display.tables import ResultTable, count, duration, facts, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dlcli.nmt.align import NmtAlignment
    from dlcli.nmt.evaluation import LengthDifference, LengthScore, NmtComparison, NmtEvaluation
    from dlcli.nmt.forcing import ForcingRow
    from dlcli.nmt.scoring import Difference, Score
    from dlcli.nmt.validation import NmtResult


def alignment_words(found: NmtAlignment) -> list[RenderableType]:
    """Show the links themselves, a line a pair, or how good they are where that is known."""
    if found.score is None:
        return ["\n".join(found.links)]
    score = found.score
    shown: dict[str, object] = {"run": found.run}
    if found.symmetrized_with is not None:
        shown["symmetrised with"] = found.symmetrized_with
    shown |= {
        "links from": f"the {found.links_from}",
        "pairs": f"{found.sentences:,} {found.direction}",
        "alignment error rate": f"{100 * score.aer:.2f} %",
        "precision": f"{100 * score.precision:.2f} % of {score.links:,} links possible",
        "recall": f"{100 * score.recall:.2f} % of {score.sure:,} sure links found",
        "speed": f"{count(found.sentences_per_s)} pairs/s ({duration(found.elapsed_s)})",
    }
    return [facts(shown, signatures=found.signature)]


def alignment_object(found: NmtAlignment, *, files: list[str]) -> dict[str, object]:
    """Return the fields of `--json`."""
    score = found.score
    return {
        "run": found.run,
        "symmetrized_with": found.symmetrized_with,
        "direction": found.direction,
        "links_from": found.links_from,
        "shift": found.shift,
        "aer": score and score.aer,
        "precision": score and score.precision,
        "recall": score and score.recall,
        "sentences": found.sentences,
        "predicted_links": score and score.links,
        "sure_links": score and score.sure,
        "possible_links": score and score.possible,
        "links": found.links,
        "sentences_per_s": found.sentences_per_s,
        "files": files,
        "signature": found.signature,
    }


# -- Teacher forcing compared, in one table and one figure (Question 14)

NONE = "–"
LOSSES = ("teacher-forced", "free-running")
MARKERS = "osD^vP*X"


def forcing_table(rows: Sequence[ForcingRow]) -> ResultTable:
    """Show one ratio a line."""
    columns = (
        "teacher forcing",
        "valid loss (nats/token)",
        "free-running",
        "difference",
        "test BLEU",
        "95% interval",
        "longest sentences",
        "updates",
        "tokens/s",
    )
    cells = []
    for row in rows:
        valid, bleu, last = row.trained.valid, row.tested.bleu, row.tested.by_length[-1]
        losses = [NONE] * 3
        if valid is not None and row.exposure_gap is not None:
            measured = (valid.nll_per_token, valid.free_nll_per_token, row.exposure_gap)
            losses = [f"{value:.3f}" for value in measured]
        cells.append(
            [
                f"{row.teacher_forcing:g}",
                *losses,
                f"{bleu.score:.2f}",
                interval(*bleu.ci95),
                f"{last.bleu.score:.2f} ({last.name} words)",
                count(row.trained.updates),
                count(row.trained.tokens_per_s),
            ]
        )
    signatures = {f"{row.teacher_forcing:g}": row.tested.signature for row in rows}
    return ResultTable(columns, cells, signatures=signatures)


def forcing_figure(path: Path, rows: Sequence[ForcingRow]) -> Path:
    """Draw losses, BLEU, and BLEU by length side by side, and save the figure.

    Raises:
        UsageFault: the path is no picture's.
        RunFailed: it cannot be written.
    """
    with house_style():
        figure = new_figure(10.5, 3.6)
        losses, bleu, lengths = figure.subplots(1, 3, width_ratios=(1.1, 0.8, 1.4))
        _losses(losses, rows)
        _bleu(bleu, rows)
        _by_length(lengths, rows)
        return save_figure(figure, path)


def _losses(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    names = [f"{row.teacher_forcing:g}" for row in rows]
    valid = [row.trained.valid for row in rows]
    for index, (name, field) in enumerate(
        zip(LOSSES, ("nll_per_token", "free_nll_per_token"), strict=True)
    ):
        places = [at + 0.38 * (index - 0.5) for at in range(len(rows))]
        values = [getattr(found, field) if found is not None else 0.0 for found in valid]
        axes.bar(places, values, width=0.36, color=colour(index), label=name)
    axes.set_xticks(range(len(rows)), names)
    axes.grid(False, axis="x")
    axes.set_xlabel("teacher forcing in training")
    axes.set_ylabel("validation loss (nats a token)")
    axes.legend(loc="best")


def _bleu(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    for at, row in enumerate(rows):
        bleu = row.tested.bleu
        axes.bar([at], [bleu.score], width=0.6, color=colour(at + len(LOSSES)))
        axes.plot([at, at], bleu.ci95, color="black", linewidth=1.2)
    axes.set_xticks(range(len(rows)), [f"{row.teacher_forcing:g}" for row in rows])
    axes.grid(False, axis="x")
    axes.set_xlabel("teacher forcing in training")
    axes.set_ylabel(label(f"BLEU on {rows[0].tested.split}", longest=60))


def _by_length(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    names = list(dict.fromkeys(found.name for row in rows for found in row.tested.by_length))
    for at, row in enumerate(rows):
        scores = {found.name: found.bleu.score for found in row.tested.by_length}
        places = [place for place, name in enumerate(names) if name in scores]
        axes.plot(
            places,
            [scores[names[place]] for place in places],
            color=colour(at + len(LOSSES)),
            marker=MARKERS[at % len(MARKERS)],
            label=f"teacher forcing {row.teacher_forcing:g}",
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("words in the source")
    axes.set_ylabel("BLEU")
    axes.legend(loc="best")


# -- A translator's evaluation in words, and BLEU by sentence length as a figure


def translation_words(
    found: NmtEvaluation, *, against: NmtComparison | None = None
) -> list[RenderableType]:
    """Show scores, intervals and speed, then BLEU by length."""
    shown: dict[str, object] = {
        "run": f"{found.run} ({found.checkpoint})",
        "sentences": f"{found.sentences:,} of {found.data}, {found.split}, {found.direction}",
        "BLEU": _score(found.bleu),
        "chrF": _score(found.chrf),
    }
    if found.bleu_tokenized is not None:
        shown["BLEU, Moses tokens"] = _score(found.bleu_tokenized)
    speed = f"{count(found.sentences_per_s)} sentences/s ({duration(found.elapsed_s)})"
    shown["speed"] = f"{speed}, {found.device}, {found.precision}"
    signatures = {
        "": found.signature,
        "BLEU": found.bleu.signature,
        "chrF": found.chrf.signature,
    }
    if found.bleu_tokenized is not None:
        signatures["BLEU, Moses tokens"] = found.bleu_tokenized.signature
    words: list[RenderableType] = [facts(shown, signatures=signatures)]
    if against is None:
        return [*words, _length_table([*found.by_length, *found.longer_than])]
    return [*words, *_comparison(against)]


def translation_object(
    found: NmtEvaluation, *, against: NmtComparison | None, files: Sequence[Path]
) -> dict[str, object]:
    """Return the fields of `--json`; translations go to a file, not here."""
    plain = to_plain(found)
    assert isinstance(plain, dict)
    del plain["translations"]
    return {**plain, "against": to_plain(against), "files": list(files)}


def length_figure(
    found: NmtEvaluation, path: Path, *, others: Sequence[NmtEvaluation] = ()
) -> Path:
    """Draw BLEU by sentence length, one line an evaluation: Question 13's figure.

    Raises:
        RunFailed: the path cannot be written.
    """
    names = _names([found, *others])
    series = [_line(name, one) for name, one in zip(names, (found, *others), strict=True)]
    lines(
        path,
        series,
        x_label="source length (words; mean of each bin)",
        y_label="BLEU, with 95% intervals",
        title=f"BLEU by sentence length: {found.data}, {found.split}",
        note=found.signature,
    )
    return path.absolute()


def _score(score: Score) -> str:
    return f"{score.score:.2f}, 95% in {_interval(score.ci95)}"


def _interval(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"


def _length_table(rows: Sequence[LengthScore]) -> ResultTable:
    cells = [
        [row.name, row.sentences, f"{row.bleu.score:.2f}", _interval(row.bleu.ci95)] for row in rows
    ]
    columns = ["source words", "sentences", "BLEU", "95% interval"]
    return ResultTable(columns, cells, title="By sentence length")


def _comparison(against: NmtComparison) -> list[RenderableType]:
    columns = ["source words", "sentences", "BLEU", "other", "difference", "95% interval", "p"]
    rows = [*against.by_length, *against.longer_than]
    cells = [
        ["all", sum(row.sentences for row in against.by_length), *_overall(against)],
        *([row.name, row.sentences, *_between(row)] for row in rows),
    ]
    title = "Against the other run, the same sentences resampled for both"
    signatures = {"other": against.signature}
    return [
        facts({"other run": against.run, "its BLEU": _score(against.bleu)}),
        ResultTable(columns, cells, title=title, signatures=signatures),
    ]


def _overall(against: NmtComparison) -> list[object]:
    other = against.bleu.score
    return _cells(against.difference.value + other, other, against.difference)


def _between(row: LengthDifference) -> list[object]:
    return _cells(row.bleu, row.other, row.difference)


def _cells(bleu: float, other: float, found: Difference) -> list[object]:
    difference = f"{found.value:+.2f}"
    return [
        f"{bleu:.2f}",
        f"{other:.2f}",
        difference,
        _interval(found.ci95),
        f"{found.p_value:.3f}",
    ]


def _names(found: Sequence[NmtEvaluation]) -> list[str]:
    """Name each line by its attention, or where that does not tell them apart, by its run."""
    attentions = [_attention(one.signature) for one in found]
    runs = [f"{Path(one.run).name}, {one.checkpoint}" for one in found]
    if len(set(attentions)) == len(found):
        return [f"attention {kind}" for kind in attentions]
    return runs


def _attention(signature: str) -> str:
    fields = dict(field.partition(":")[::2] for field in signature.split("|"))
    return "none" if fields.get("attention") == "none" else "additive"


def _line(name: str, found: NmtEvaluation) -> Line:
    rows = found.by_length
    return Line(
        name=f"{name} ({found.bleu.score:.1f})",
        x=[row.mean_words for row in rows],
        y=[row.bleu.score for row in rows],
        low=[row.bleu.ci95[0] for row in rows],
        high=[row.bleu.ci95[1] for row in rows],
    )


# -- The outcome of training translators, in words: one run, or several

NOT_MEASURED = "–"


def translator_facts(result: NmtResult) -> ResultTable:
    """Show one finished training."""
    shown: dict[str, object] = {
        "run": result.run,
        "data": f"{result.data}, {result.direction}",
        "parameters": count(result.parameters),
        "vocabulary": count(result.vocabulary),
        "epochs": result.epochs,
        "updates": count(result.updates),
    }
    if (valid := result.valid) is not None:
        shown |= {
            "validation loss": f"{valid.nll_per_token:.4f} nats a token",
            "  free-running": f"{valid.free_nll_per_token:.4f} nats a token",
            "validation BLEU": f"{valid.bleu:.2f} (greedy)",
            "validation chrF": f"{valid.chrf:.2f}",
        }
    shown |= {
        "checkpoint": result.checkpoint,
        "speed": f"{count(result.tokens_per_s)} target tokens/s",
        "training": duration(result.train_s),
    }
    return facts(shown, signatures=result.signature)


def translators_table(results: Mapping[str, NmtResult], *, what: str) -> ResultTable:
    """Show several finished trainings, one a line.

    Args:
        results: label → result.
        what: what the labels are: `seed`, `setting`.
    """
    columns = [
        what,
        "valid BLEU",
        "chrF",
        "loss (nats/token)",
        "free-running loss",
        "updates",
        "tokens/s",
        "run",
    ]
    rows = [[label, *_measured(result), *_rest(result)] for label, result in results.items()]
    signatures = {label: result.signature for label, result in results.items()}
    return ResultTable(columns, rows, signatures=signatures)


def _measured(result: NmtResult) -> list[str]:
    valid = result.valid
    if valid is None:
        return [NOT_MEASURED] * 4
    losses = (valid.nll_per_token, valid.free_nll_per_token)
    return [f"{valid.bleu:.2f}", f"{valid.chrf:.2f}", *(f"{loss:.4f}" for loss in losses)]


def _rest(result: NmtResult) -> list[str]:
    return [count(result.updates), count(result.tokens_per_s), result.run]
