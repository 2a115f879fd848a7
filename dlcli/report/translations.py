"""A translator's evaluation in words, and BLEU by sentence length as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from dlcli.report.numbers import count, duration
from dlcli.report.plots import Line, lines
from dlcli.report.strict_json import to_plain
from dlcli.report.tables import ResultTable, facts

if TYPE_CHECKING:
    from dlcli.nmt.scoring import Difference, Score
    from dlcli.study.nmt_evaluation import (
        LengthDifference,
        LengthScore,
        NmtComparison,
        NmtEvaluation,
    )


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
