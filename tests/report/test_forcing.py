"""The table and the figure of teacher forcing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dlcli.errors import UsageFault
from dlcli.nmt.display import forcing_figure, forcing_table
from dlcli.nmt.evaluation import LengthScore, NmtEvaluation
from dlcli.nmt.forcing import ForcingRow
from dlcli.nmt.scoring import Score
from tests.nmt.test_result import RESULT, VALID


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
