"""Alignments in words: links where nothing is known about them, else how good they are."""

from __future__ import annotations

import dataclasses
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dlcli.display.console import to_json
from dlcli.errors import UsageFault
from dlcli.nmt.align import NmtAlignment
from dlcli.nmt.alignment import AlignmentScore
from dlcli.nmt.display import (
    alignment_object,
    alignment_words,
    forcing_figure,
    forcing_table,
    length_figure,
    translation_object,
    translation_words,
    translator_facts,
    translators_table,
)
from dlcli.nmt.evaluation import LengthDifference, LengthScore, NmtComparison, NmtEvaluation
from dlcli.nmt.forcing import ForcingRow
from dlcli.nmt.scoring import Difference, Score
from tests.nmt.test_validation import RESULT, VALID

SCORE = AlignmentScore(
    aer=0.12345, precision=0.75, recall=0.5, sentences=2, links=1234, sure=99, possible=200
)


def alignment(**changed: object) -> NmtAlignment:
    fields: dict[str, object] = {
        "run": "/one", "symmetrized_with": None, "direction": "en-fr",
        "links_from": "posterior", "shift": 0,
        "links": ("0-0 1-1", ""), "score": None, "sentences": 2, "elapsed_s": 0.5,
        "sentences_per_s": 4.0, "signature": "task:align",
    }  # fmt: skip
    return NmtAlignment(**{**fields, **changed})  # type: ignore[arg-type]


def words(found: NmtAlignment) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for item in alignment_words(found):
        console.print(item, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue()


def test_links_alone_are_a_line_a_pair() -> None:
    assert words(alignment()) == "0-0 1-1\n\n"


def test_a_score_is_shown_with_its_counts_and_signature() -> None:
    text = words(alignment(score=SCORE, symmetrized_with="/two"))
    for part in ("12.35 %", "75.00 % of 1,234", "50.00 % of 99", "/two", "signature task:align"):
        assert part in text


def test_the_object_is_strict_json() -> None:
    without = alignment_object(alignment(), files=[])
    assert without["aer"] is None
    found = alignment_object(alignment(score=SCORE), files=["/x"])
    assert (found["aer"], found["predicted_links"]) == (0.12345, 1234)
    assert '"links": ["0-0 1-1", ""]' in to_json(found)


# -- The table and the figure of teacher forcing


def _score(value: float) -> Score:
    return Score(score=value, ci95=(value - 2, value + 2), signature="x")


def _row(ratio: float, *, bleu: float) -> ForcingRow:
    bins = tuple(
        LengthScore(
            name=name, low=low, high=high, sentences=5, mean_words=4.0, bleu=_score(bleu - low)
        )
        for name, low, high in (("0-5", 0, 5), ("> 5", 6, None))
    )
    tested = NmtEvaluation(
        run="/runs/x",
        checkpoint="best",
        data="toy",
        split="test",
        direction="en-fr",
        sentences=10,
        bleu=_score(bleu),
        chrf=_score(50.0),
        bleu_tokenized=None,
        by_length=bins,
        longer_than=(),
        elapsed_s=1.0,
        sentences_per_s=10.0,
        device="cpu",
        precision="fp32",
        signature=f"forcing:{ratio:g}",
        translations=(),
    )
    valid = dataclasses.replace(VALID, nll_per_token=2.0 - ratio, free_nll_per_token=2.5)
    trained = dataclasses.replace(RESULT, valid=valid)
    return ForcingRow(teacher_forcing=ratio, trained=trained, tested=tested)


ROWS = [_row(1.0, bleu=40.0), _row(0.5, bleu=30.0), _row(0.0, bleu=20.0)]


def test_one_ratio_a_line_with_both_losses_and_their_difference() -> None:
    table = forcing_table(ROWS)
    lines = table.lines()
    for words in ("1.000", "2.500", "1.500", "40.00", "34.00 (> 5 words)"):
        assert words in lines[1]
    assert "0.500" in lines[3]
    assert table.signatures == {"1": "forcing:1", "0.5": "forcing:0.5", "0": "forcing:0"}


def test_without_validation_pairs_the_losses_are_left_out(tmp_path: Path) -> None:
    rows = [
        dataclasses.replace(row, trained=dataclasses.replace(RESULT, valid=None)) for row in ROWS
    ]
    assert rows[0].exposure_gap is None
    assert "–" in forcing_table(rows).lines()[1]
    assert forcing_figure(tmp_path / "a.png", rows).is_file()


def test_the_figure_names_ratios_losses_and_lengths(tmp_path: Path) -> None:
    text = forcing_figure(tmp_path / "a.svg", ROWS).read_text()
    for words in ("teacher-forced", "free-running", "teacher forcing 0.5", "0-5", "BLEU on test"):
        assert words in text, words


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="picture format"):
        forcing_figure(tmp_path / "a.txt", ROWS)


# -- A translator's evaluation in words and as a figure

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


def translations_words(found: NmtEvaluation, *, against: NmtComparison | None = None) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for item in translation_words(found, against=against):
        console.print(item, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue()


def test_every_number_has_its_interval_and_signature() -> None:
    text = translations_words(evaluation(bleu_tokenized=BLEU))
    for part in (
        "58.12, 95% in [56.79, 59.40]", "1,000 of multi30k, test_2016_flickr, en-fr", "0-5",
        "125 sentences/s", "signature data:multi30k", "signature BLEU nrefs:1", "Moses tokens",
    ):  # fmt: skip
        assert part in text, part
    assert "Moses" not in translations_words(evaluation())


def test_a_comparison_shows_every_bin() -> None:
    text = translations_words(evaluation(), against=comparison())
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


# -- The words of finished trainings of translators


def test_one_training_says_values_units_and_signature() -> None:
    table = translator_facts(RESULT)
    text = "\n".join(table.lines())
    for words in ("1.5000 nats a token", "2.5000 nats a token", "30.00 (greedy)", "tokens/s"):
        assert words in text
    assert table.signatures == RESULT.signature


def test_several_trainings_are_a_line_each() -> None:
    other = dataclasses.replace(RESULT, run="/runs/y", valid=None)
    lines = translators_table({"seed-0": RESULT, "seed-1": other}, what="seed").lines()
    assert lines[0].startswith("seed")
    assert "30.00" in lines[1]
    assert "–" in lines[2]


def test_without_validation_there_are_no_scores() -> None:
    text = "\n".join(translator_facts(dataclasses.replace(RESULT, valid=None)).lines())
    assert "BLEU" not in text
