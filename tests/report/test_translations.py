"""A translator's evaluation in words and as a figure."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from dlcli.display.console import to_json
from dlcli.nmt.display import length_figure, translation_object, translation_words
from dlcli.nmt.evaluation import LengthDifference, LengthScore, NmtComparison, NmtEvaluation
from dlcli.nmt.scoring import Difference, Score

BLEU = Score(score=58.123, ci95=(56.789, 59.4), signature="nrefs:1|tok:13a")
GAIN = Difference(value=6.25, ci95=(4.5, 8.0), p_value=0.001)


def at(name: str, low: int, high: int | None) -> LengthScore:
    return LengthScore(name=name, low=low, high=high, sentences=40, mean_words=low + 1.5, bleu=BLEU)


def evaluation(**changed: object) -> NmtEvaluation:
    fields: dict[str, object] = {
        "run": "/runs/one", "checkpoint": "best", "data": "multi30k", "split": "test_2016_flickr",
        "direction": "en-fr", "sentences": 1000, "bleu": BLEU, "chrf": BLEU, "bleu_tokenized": None,
        "by_length": (at("0-5", 0, 5), at("> 5", 6, None)), "longer_than": (), "elapsed_s": 8.0,
        "sentences_per_s": 125.0, "device": "cpu", "precision": "fp32",
        "signature": "data:multi30k|attention:updated-384", "translations": ("Bonjour.",),
    }  # fmt: skip
    return NmtEvaluation(**{**fields, **changed})  # type: ignore[arg-type]


def comparison() -> NmtComparison:
    row = LengthDifference(
        name="> 15", low=16, high=None, sentences=150, bleu=50.0, other=43.75, difference=GAIN
    )
    return NmtComparison(
        run="/runs/two",
        bleu=BLEU,
        difference=GAIN,
        by_length=(row,),
        longer_than=(row,),
        signature="other|attention:none",
    )


def words(found: NmtEvaluation, *, against: NmtComparison | None = None) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for item in translation_words(found, against=against):
        console.print(item, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue()


def test_every_number_has_its_interval_and_signature() -> None:
    text = words(evaluation(bleu_tokenized=BLEU))
    for part in (
        "58.12, 95% in [56.79, 59.40]", "1,000 of multi30k, test_2016_flickr, en-fr", "0-5",
        "125 sentences/s", "signature data:multi30k", "signature BLEU nrefs:1", "Moses tokens",
    ):  # fmt: skip
        assert part in text, part
    assert "Moses" not in words(evaluation())


def test_a_comparison_shows_every_bin() -> None:
    text = words(evaluation(), against=comparison())
    for part in ("/runs/two", "+6.25", "[4.50, 8.00]", "> 15", "0.001", "signature other other"):
        assert part in text, part


def test_the_object_is_strict_json_without_the_translations() -> None:
    found = translation_object(evaluation(), against=comparison(), files=[Path("/a.png")])
    assert "translations" not in found
    text = to_json(found)
    assert '"ci95": [56.789, 59.4]' in text
    assert '"files": ["/a.png"]' in text
    assert translation_object(evaluation(), against=None, files=[])["against"] is None


def test_the_figure_names_its_lines_by_their_attention(tmp_path: Path) -> None:
    blind = evaluation(run="/runs/two", signature="data:multi30k|attention:none")
    path = length_figure(evaluation(), tmp_path / "lengths.svg", others=[blind])
    text = path.read_text()
    assert "attention additive (58.1)" in text
    assert "attention none (58.1)" in text
    same = length_figure(evaluation(), tmp_path / "runs.svg", others=[evaluation(run="/runs/two")])
    assert "one, best" in same.read_text()
