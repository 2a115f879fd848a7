"""What the translator's commands show: tables and words, figures, files, and the JSON objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from dlcli.display.console import to_json, to_plain, write_file
from dlcli.display.images import save_npz
from dlcli.display.plots import (
    METADATA,
    Line,
    colour,
    house_style,
    label,
    lines,
    new_figure,
    save_figure,
)
from dlcli.display.tables import ResultTable, count, duration, facts, interval
from dlcli.errors import UsageFault
from dlcli.nmt.heatmap import HeatMap, matrix_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dlcli.nmt.aligner import LayerScore, NmtAlignment
    from dlcli.nmt.attention import AttentionMap
    from dlcli.nmt.evaluation import NmtComparison, NmtEvaluation
    from dlcli.nmt.forcing import ForcingRow
    from dlcli.nmt.scoring import Difference, Score
    from dlcli.nmt.trained import NmtResult

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
    rows = []
    for name, result in results.items():
        measured = [NOT_MEASURED] * 4
        if (valid := result.valid) is not None:
            losses = (valid.nll_per_token, valid.free_nll_per_token)
            measured = [f"{valid.bleu:.2f}", f"{valid.chrf:.2f}", *(f"{x:.4f}" for x in losses)]
        updates, speed = count(result.updates), count(result.tokens_per_s)
        rows.append([name, *measured, updates, speed, result.run])
    signatures = {name: result.signature for name, result in results.items()}
    return ResultTable(columns, rows, signatures=signatures)


def forcing_object(rows: Sequence[ForcingRow]) -> list[dict[str, object]]:
    """Return what `--json` says of each teacher-forcing ratio."""
    return [
        {
            "teacher_forcing": row.teacher_forcing,
            "run": row.trained.run,
            "updates": row.trained.updates,
            "tokens_per_s": row.trained.tokens_per_s,
            "valid": row.trained.valid,
            "exposure_gap": row.exposure_gap,
            "bleu": row.tested.bleu,
            "chrf": row.tested.chrf,
            "by_length": row.tested.by_length,
            "sentences": row.tested.sentences,
            "signature": row.tested.signature,
        }
        for row in rows
    ]


def forcing_table(rows: Sequence[ForcingRow]) -> ResultTable:
    """Show one teacher-forcing ratio a line."""
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
        losses = [NOT_MEASURED] * 3
        if valid is not None:
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


LOSSES = {"teacher-forced": "nll_per_token", "free-running": "free_nll_per_token"}
MARKERS = "osD^vP*X"


def forcing_figure(path: Path, rows: Sequence[ForcingRow]) -> Path:
    """Draw losses, BLEU, and BLEU by length side by side: Question 14's figure.

    Raises:
        UsageFault: the path is no picture's.
        RunFailed: it cannot be written.
    """
    with house_style():
        figure = new_figure(10.5, 3.6)
        losses, bleu, lengths = figure.subplots(1, 3, width_ratios=(1.1, 0.8, 1.4))
        _losses(losses, rows)
        _bleu(bleu, rows)
        for axes in (losses, bleu):
            axes.set_xticks(range(len(rows)), [f"{row.teacher_forcing:g}" for row in rows])
            axes.grid(False, axis="x")
            axes.set_xlabel("teacher forcing in training")
        _by_length(lengths, rows)
        return save_figure(figure, path)


def _losses(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    valid = [row.trained.valid for row in rows]
    for index, (name, field) in enumerate(LOSSES.items()):
        places = [at + 0.38 * (index - 0.5) for at in range(len(rows))]
        values = [getattr(found, field) if found is not None else 0.0 for found in valid]
        axes.bar(places, values, width=0.36, color=colour(index), label=name)
    axes.set_ylabel("validation loss (nats a token)")
    axes.legend(loc="best")


def _bleu(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    for at, row in enumerate(rows):
        bleu = row.tested.bleu
        axes.bar([at], [bleu.score], width=0.6, color=colour(at + len(LOSSES)))
        axes.plot([at, at], bleu.ci95, color="black", linewidth=1.2)
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


def evaluation_words(
    found: NmtEvaluation, *, against: NmtComparison | None = None
) -> list[RenderableType]:
    """Show an evaluation: scores, intervals and speed, then BLEU by length."""
    scores = {"BLEU": found.bleu, "chrF": found.chrf}
    if found.bleu_tokenized is not None:
        scores["BLEU, Moses tokens"] = found.bleu_tokenized
    speed = f"{count(found.sentences_per_s)} sentences/s ({duration(found.elapsed_s)})"
    shown: dict[str, object] = {
        "run": f"{found.run} ({found.checkpoint})",
        "sentences": f"{found.sentences:,} of {found.data}, {found.split}, {found.direction}",
        **{name: _score(score) for name, score in scores.items()},
        "exact": f"{100 * found.exact:.1f} % of the translations are their reference",
        "speed": f"{speed}, {found.device}, {found.precision}",
    }
    signatures = {"": found.signature, **{name: s.signature for name, s in scores.items()}}
    words = facts(shown, signatures=signatures)
    if against is not None:
        return [words, *_comparison(against)]
    columns = ["source words", "sentences", "BLEU", "95% interval"]
    cells = [
        [row.name, row.sentences, f"{row.bleu.score:.2f}", _interval(row.bleu.ci95)]
        for row in (*found.by_length, *found.longer_than)
    ]
    return [words, ResultTable(columns, cells, title="By sentence length")]


def _comparison(against: NmtComparison) -> list[RenderableType]:
    def cells(name: str, sentences: int, bleu: float, other: float, found: Difference) -> list[str]:
        return [
            name,
            str(sentences),
            f"{bleu:.2f}",
            f"{other:.2f}",
            f"{found.value:+.2f}",
            _interval(found.ci95),
            f"{found.p_value:.3f}",
        ]

    other, difference = against.bleu.score, against.difference
    sentences = sum(row.sentences for row in against.by_length)
    rows = [
        cells("all", sentences, difference.value + other, other, difference),
        *(
            cells(row.name, row.sentences, row.bleu, row.other, row.difference)
            for row in (*against.by_length, *against.longer_than)
        ),
    ]
    columns = ["source words", "sentences", "BLEU", "other", "difference", "95% interval", "p"]
    title = "Against the other run, the same sentences resampled for both"
    return [
        facts({"other run": against.run, "its BLEU": _score(against.bleu)}),
        ResultTable(columns, rows, title=title, signatures={"other": against.signature}),
    ]


def _score(score: Score) -> str:
    return f"{score.score:.2f}, 95% in {_interval(score.ci95)}"


def _interval(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"


def evaluation_object(
    found: NmtEvaluation, *, against: NmtComparison | None, files: Sequence[Path]
) -> dict[str, object]:
    """Return the fields of `--json`; translations go to a file, not here."""
    plain = to_plain(found)
    assert isinstance(plain, dict)
    del plain["translations"]
    return {**plain, "against": to_plain(against), "files": list(files)}


def evaluation_figure(path: Path, found: Sequence[NmtEvaluation]) -> Path:
    """Draw BLEU by sentence length, one line an evaluation: Question 13's figure.

    Lines are named by their attention, or where that does not tell them apart, by their run.

    Raises:
        RunFailed: the path cannot be written.
    """
    names = [f"attention {_attention(one.signature)}" for one in found]
    if len(set(names)) < len(found):
        names = [f"{Path(one.run).name}, {one.checkpoint}" for one in found]
    first = found[0]
    title = f"BLEU by sentence length: {first.data}, {first.split}"
    length_figure(dict(zip(names, found, strict=True)), path, title=title, note=first.signature)
    return path.absolute()


def _attention(signature: str) -> str:
    fields = dict(field.partition(":")[::2] for field in signature.split("|"))
    return "none" if fields.get("attention") == "none" else "additive"


def length_figure(
    evaluations: Mapping[str, NmtEvaluation], path: Path, *, title: str = "", note: str = ""
) -> None:
    """Draw BLEU by the length of the source sentence, one line an evaluation."""
    series = [
        Line(
            name=f"{name} ({found.bleu.score:.1f})",
            x=[row.mean_words for row in found.by_length],
            y=[row.bleu.score for row in found.by_length],
            low=[row.bleu.ci95[0] for row in found.by_length],
            high=[row.bleu.ci95[1] for row in found.by_length],
        )
        for name, found in evaluations.items()
    ]
    lines(
        path,
        series,
        x_label="source length (words; mean of each bin)",
        y_label="BLEU, with 95% intervals",
        title=title,
        note=note,
    )


FORMATS = (*METADATA, ".json", ".npz")
"""Endings of the files that an attention map can be written to."""


def attention_words(found: AttentionMap) -> list[RenderableType]:
    """Return what the terminal shows: the translation, the matrix, and what it amounts to."""
    back, steps = found.steps_back
    rows, columns = _axes(found)
    return [
        found.translation,
        HeatMap(found.matrix, rows, columns),
        f"links (source-target): {found.alignment}",
        f"{back} of {steps} steps run against the diagonal; attention is spread over "
        f"{math.exp(found.entropy_nats):.1f} {found.unit} a step, as its entropy of "
        f"{found.entropy_nats:.3f} nats says; {found.nll_per_token:.3f} nats per token",
        found.signature,
    ]


def attention_object(found: AttentionMap, *, files: Sequence[Path]) -> dict[str, object]:
    """Return the fields of `--json`."""
    back, steps = found.steps_back
    return {
        "text": found.text,
        "translation": found.translation,
        "source": found.source,
        "target": found.target,
        "attention": found.matrix,
        "alignment": found.alignment,
        "unit": found.unit,
        "forced": found.forced,
        "finished": found.finished,
        "parts": found.parts,
        "unknown": {"source": found.unknown_source, "target": found.unknown_target},
        "entropy_nats": found.entropy_nats,
        "steps": steps,
        "steps_back": back,
        "nll_per_token": found.nll_per_token,
        "files": files,
        "signature": found.signature,
    }


def check_format(path: Path) -> None:
    """Refuse an ending that no attention map can be written to.

    Raises:
        UsageFault: it lists those there are.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageFault(
            f"{path} does not say which form it wants.", hint=f"End it with {', '.join(FORMATS)}."
        )


def save_attention(found: AttentionMap, path: Path) -> Path:
    """Write a map in the form that the path's ending names; return the absolute path.

    Raises:
        UsageFault: another ending.
        RunFailed: it cannot be written.
    """
    check_format(path)
    ending = path.suffix.lower()
    if ending == ".json":
        text = to_json(attention_object(found, files=[path]))
        return write_file(path, text.encode() + b"\n")
    if ending == ".npz":
        return save_npz(
            path,
            attention=found.matrix,
            source=found.source,
            target=found.target,
            alignment=found.alignment,
            signature=found.signature,
        )
    rows, columns = _axes(found)
    matrix_figure(path, found.matrix, rows=rows, columns=columns)
    return path.absolute()


def _axes(found: AttentionMap) -> tuple[list[str], list[str]]:
    """Return the names of rows and columns; what the model saw as `<unk>` is marked so."""
    sides = ((found.target, found.unknown_target), (found.source, found.unknown_source))
    rows, columns = (
        [
            f"{word} <unk>" if index in unknown and word != "<unk>" else word
            for index, word in enumerate(words)
        ]
        for words, unknown in sides
    )
    return rows, columns


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
    shown_facts = facts(shown, signatures=found.signature)
    return [_layers_table(found.by_layer), shown_facts] if found.by_layer else [shown_facts]


def _layers_table(scores: Sequence[LayerScore]) -> ResultTable:
    """Show the error of each layer, a line, and of its heads; the best one is described below."""
    rows: dict[int, list[object]] = {}
    for one in scores:
        rows.setdefault(one.layer, [one.layer]).append(f"{100 * one.score.aer:.2f}")
    heads = len(next(iter(rows.values()))) - 2
    columns = ["layer", "mean", *(f"head {head}" for head in range(1, heads + 1))]
    title = "Alignment error rate in %, by layer and head"
    return ResultTable(columns, list(rows.values()), title=title)


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
        "by_layer": [
            {
                "layer": one.layer,
                "head": one.head,
                "aer": one.score.aer,
                "precision": one.score.precision,
                "recall": one.score.recall,
            }
            for one in found.by_layer
        ],
        "links": found.links,
        "sentences_per_s": found.sentences_per_s,
        "files": files,
        "signature": found.signature,
    }
