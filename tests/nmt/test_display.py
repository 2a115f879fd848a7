"""What the commands show: every number with its interval and signature, figures, strict JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from dlcli.display.images import RAMP
from dlcli.nmt.aligner import NmtAlignment
from dlcli.nmt.attention import AttentionMap
from dlcli.nmt.display import (
    alignment_words,
    attention_words,
    evaluation_figure,
    evaluation_words,
    forcing_figure,
    forcing_table,
    save_attention,
    translator_facts,
    translators_table,
)
from dlcli.nmt.evaluation import LengthDifference, LengthScore, NmtComparison, NmtEvaluation
from dlcli.nmt.forcing import ForcingRow
from dlcli.nmt.heatmap import CELL_COLUMNS as CELL
from dlcli.nmt.heatmap import HeatMap, as_matrix, grey, matrix_figure
from dlcli.nmt.links import AlignmentScore
from dlcli.nmt.scoring import Difference, Score
from tests.display.terminals import on_pipes, on_terminal
from tests.nmt.toy import RESULT, VALID

UNMEASURED = dataclasses.replace(RESULT, run="/runs/y", valid=None)


def printed(items: Sequence[RenderableType]) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for item in items:
        console.print(item, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue()


def test_one_training_says_values_units_and_signature() -> None:
    text = printed([translator_facts(RESULT)])
    for words in ("1.5000 nats a token", "2.5000 nats a token", "30.00 (greedy)", "tokens/s"):
        assert words in text
    assert RESULT.signature in text
    assert "BLEU" not in printed([translator_facts(UNMEASURED)])


def test_several_trainings_are_a_line_each() -> None:
    lines = translators_table({"seed-0": RESULT, "seed-1": UNMEASURED}, what="seed").lines()
    assert lines[0].startswith("seed")
    assert "30.00" in lines[1]
    assert "–" in lines[2]


BLEU = Score(score=58.123, ci95=(56.789, 59.4), signature="nrefs:1|tok:13a")
GAIN = Difference(value=6.25, ci95=(4.5, 8.0), p_value=0.001)


def at(name: str, low: int, high: int | None, *, bleu: Score = BLEU) -> LengthScore:
    return LengthScore(name=name, low=low, high=high, sentences=40, mean_words=low + 1.5, bleu=bleu)


def evaluation(**changed: object) -> NmtEvaluation:
    fields: dict[str, object] = {
        "run": "/runs/one", "checkpoint": "best", "data": "multi30k", "split": "test_2016_flickr",
        "direction": "en-fr", "sentences": 1000, "bleu": BLEU, "chrf": BLEU, "bleu_tokenized": None,
        "exact": 0.125,
        "by_length": (at("0-5", 0, 5), at("> 5", 6, None)), "longer_than": (), "elapsed_s": 8.0,
        "sentences_per_s": 125.0, "device": "cpu", "precision": "fp32",
        "signature": "data:multi30k|attention:updated-384", "translations": ("Bonjour.",),
    }  # fmt: skip
    return NmtEvaluation(**{**fields, **changed})  # type: ignore[arg-type]


ROW = LengthDifference(
    name="> 15", low=16, high=None, sentences=150, bleu=50.0, other=43.75, difference=GAIN
)
COMPARISON = NmtComparison(
    run="/runs/two",
    bleu=BLEU,
    difference=GAIN,
    by_length=(ROW,),
    longer_than=(ROW,),
    signature="other|attention:none",
)


def test_every_number_has_its_interval_and_signature() -> None:
    text = printed(evaluation_words(evaluation(bleu_tokenized=BLEU)))
    for part in (
        "58.12, 95% in [56.79, 59.40]", "1,000 of multi30k, test_2016_flickr, en-fr", "0-5",
        "125 sentences/s", "signature data:multi30k", "signature BLEU nrefs:1", "Moses tokens",
        "12.5 % of the translations",
    ):  # fmt: skip
        assert part in text, part
    assert "Moses" not in printed(evaluation_words(evaluation()))


def test_a_comparison_shows_every_bin() -> None:
    text = printed(evaluation_words(evaluation(), against=COMPARISON))
    for part in ("/runs/two", "+6.25", "[4.50, 8.00]", "> 15", "0.001", "signature other other"):
        assert part in text, part


def test_the_figure_names_its_lines_by_their_attention(tmp_path: Path) -> None:
    blind = evaluation(run="/runs/two", signature="data:multi30k|attention:none")
    text = evaluation_figure(tmp_path / "lengths.svg", [evaluation(), blind]).read_text()
    assert "attention additive (58.1)" in text
    assert "attention none (58.1)" in text
    same = evaluation_figure(tmp_path / "runs.svg", [evaluation(), evaluation(run="/runs/two")])
    assert "one, best" in same.read_text()


def forcing(ratio: float, *, bleu: float, measured: bool = True) -> ForcingRow:
    def score(value: float) -> Score:
        return Score(score=value, ci95=(value - 2, value + 2), signature="x")

    tested = evaluation(
        split="test",
        bleu=score(bleu),
        by_length=(
            at("0-5", 0, 5, bleu=score(bleu)),
            at("> 5", 6, None, bleu=score(bleu - 6)),
        ),
        signature=f"forcing:{ratio:g}",
    )
    valid = dataclasses.replace(VALID, nll_per_token=2.0 - ratio, free_nll_per_token=2.5)
    trained = dataclasses.replace(RESULT, valid=valid if measured else None)
    return ForcingRow(teacher_forcing=ratio, trained=trained, tested=tested)


ROWS = [forcing(1.0, bleu=40.0), forcing(0.5, bleu=30.0), forcing(0.0, bleu=20.0)]


def test_one_ratio_a_line_with_both_losses_and_their_difference() -> None:
    table = forcing_table(ROWS)
    lines = table.lines()
    for words in ("1.000", "2.500", "1.500", "40.00", "34.00 (> 5 words)"):
        assert words in lines[1]
    assert "0.500" in lines[3]
    assert table.signatures == {"1": "forcing:1", "0.5": "forcing:0.5", "0": "forcing:0"}


def test_without_validation_pairs_the_losses_are_left_out(tmp_path: Path) -> None:
    rows = [forcing(ratio, bleu=30.0, measured=False) for ratio in (1, 0)]
    assert rows[0].exposure_gap is None
    assert "–" in forcing_table(rows).lines()[1]
    assert forcing_figure(tmp_path / "a.png", rows).is_file()


def test_the_figure_names_ratios_losses_and_lengths(tmp_path: Path) -> None:
    text = forcing_figure(tmp_path / "a.svg", ROWS).read_text()
    for words in ("teacher-forced", "free-running", "teacher forcing 0.5", "0-5", "BLEU on test"):
        assert words in text, words


SOURCE = ("The", "European", "Area", "...", "</s>")
TARGET = ("la", "zone", "européenne", "</s>")

MAP = AttentionMap(
    text="The European Area ...",
    translation="la zone européenne",
    source=SOURCE,
    target=TARGET,
    matrix=np.array(
        [[0.5, 0, 0.5, 0, 0], [0, 0.125, 0.875, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0.25, 0.75]]
    ),
    unknown_source=(),
    unknown_target=(1,),
    nll_per_token=1.5,
    forced=False,
    finished=True,
    parts=1,
    unit="words",
    signature="model:nmt|version:x",
)


@pytest.mark.parametrize("ending", ["svg", "SVG"])
def test_the_picture_carries_its_words(ending: str) -> None:
    unknown = dataclasses.replace(
        MAP, target=("la", "zone", "<unk>", "</s>"), unknown_target=(1, 2)
    )
    path = save_attention(unknown, Path(f"a.{ending}"))
    drawn = re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))
    words = [word.replace("&lt;", "<").replace("&gt;", ">") for word in drawn]
    assert words[:9] == [*SOURCE, "la", "zone <unk>", "<unk>", "</s>"]


def test_numbers_can_be_read_back() -> None:
    found = json.loads(save_attention(MAP, Path("a.json")).read_text(encoding="utf-8"))
    assert found["source"] == list(SOURCE)
    assert found["target"] == list(TARGET)
    assert np.array_equal(found["attention"], MAP.matrix)
    assert found["files"] == [str(Path("a.json").absolute())]
    with np.load(save_attention(MAP, Path("a.npz"))) as held:
        assert tuple(held["source"]) == SOURCE
        assert tuple(held["target"]) == TARGET
        assert np.array_equal(held["attention"], MAP.matrix)
        assert str(held["alignment"]) == MAP.alignment


@pytest.mark.parametrize("columns", [80, 20])
def test_the_terminal_shows_words_shades_and_numbers(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    consoles, out, _ = on_terminal(monkeypatch, columns=columns)
    consoles.result({}, *attention_words(MAP))
    assert "48;2;" in out.getvalue()
    assert "1 of 2 steps run against the diagonal" in " ".join(out.getvalue().split())
    monkeypatch.setenv("COLUMNS", str(columns))
    consoles, out, _ = on_pipes(monkeypatch)
    consoles.result({}, *attention_words(MAP))
    plain = out.getvalue()
    assert "\x1b" not in plain
    for word in ("la", "zone <unk>", "européenne", "</s>", "la zone européenne", "@@"):
        assert word in plain


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


def test_a_score_is_shown_with_its_counts_and_signature() -> None:
    text = printed(alignment_words(alignment(score=SCORE, symmetrized_with="/two")))
    for part in ("12.35 %", "75.00 % of 1,234", "50.00 % of 99", "/two", "signature task:align"):
        assert part in text


WORDS_DOWN, WORDS_ACROSS = ["Le", "chat", "dort"], ["The", "cat", "is", "sleeping", "."]


def plain(monkeypatch: pytest.MonkeyPatch, heat: HeatMap, *, columns: int = 120) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    consoles, out, _ = on_pipes(monkeypatch)
    consoles.result({}, heat)
    return out.getvalue().splitlines()


def test_letters_written_from_the_right_do_not_turn_a_line_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heat = HeatMap(np.eye(2), ["הכלב", "</s>"], ["كلب", "ab"])
    lines = plain(monkeypatch, heat)
    mark = "\u200e"
    row = next(line for line in lines if "הכלב" in line)
    assert row.startswith(f"{mark}הכלב {mark}")
    for line in lines:
        turning = [i for i, letter in enumerate(line) if letter in "הכלבكلب"]
        assert not turning or (mark in line[: turning[0]] and mark in line[turning[-1] :])
    bare = [line.replace(mark, "") for line in lines]
    assert [line[5:7].strip() for line in bare[:3]] == ["ك", "ل", "ب"]
    assert [line[7:8] for line in bare[:3]] == ["", "a", "b"]


def test_cells_get_brighter_with_their_value(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(0, 0.5, 20)[None]
    lines = plain(monkeypatch, HeatMap(values, ["x"], [str(i % 10) for i in range(20)]))
    body = next(line for line in lines if line.startswith("x"))[2:].ljust(40)
    levels = [RAMP.index(body[i]) for i in range(0, 40, CELL)]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, len(RAMP) - 1)
    greys = [grey(level) for level in np.linspace(0, 1, 256)]
    assert greys == sorted(greys)
    assert (greys[0], greys[-1]) == (0, 255)


def test_every_word_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = plain(monkeypatch, HeatMap(np.ones((3, 5)), WORDS_DOWN, WORDS_ACROSS))
    heads = [line.ljust(40) for line in lines[: max(map(len, WORDS_ACROSS))]]
    start = 1 + max(map(len, WORDS_DOWN))
    upright = ["".join(line[start + CELL * i] for line in heads).strip() for i in range(5)]
    assert upright == WORDS_ACROSS
    assert [line.split()[0] for line in lines[8:11]] == WORDS_DOWN
    assert lines[-1].endswith(" 1.0")


def test_colour_shades_are_backgrounds(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_terminal(monkeypatch)
    consoles.result({}, HeatMap([[0.0, 0.25, 1.0]], ["x"], ["a", "b", "c"]))
    row = next(line for line in out.getvalue().splitlines() if line.startswith("x"))
    shades = [int(shade) for shade in re.findall(r"48;2;(\d+);", row)]
    assert shades == [0, grey(0.25), 255]


def test_a_narrow_terminal_gets_bands_with_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [chr(ord("a") + i) for i in range(20)]
    lines = plain(monkeypatch, HeatMap(np.ones((2, 20)), ["x", "y"], names), columns=22)
    assert all(cell_len(line) <= 22 for line in lines)
    heads = "".join(line for line in lines if not line.startswith(("x", "y", "0")))
    assert heads.split() == names
    assert sum(line.startswith("x ") for line in lines) == 2


def test_labels_of_any_kind_keep_the_cells_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["", "e\u0301te\u0301", "汉字", "x" * 99, "tab\tnew\nline"]
    columns = ["", "e\u0301", "汉", "y" * 99, "a\nb"]
    lines = plain(monkeypatch, HeatMap(np.ones((5, 5)), rows, columns))
    body = [line for line in lines if line.endswith("@" * 5 * CELL)]
    assert len(body) == 5
    assert len({cell_len(line) for line in body}) == 1
    assert len(lines) == 16 + 5 + 1


def test_an_empty_attention_is_all_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = plain(monkeypatch, HeatMap(np.zeros((1, 2)), ["x"], ["a", "b"]))
    assert lines[1].rstrip() == "x"


MATRIX_ROWS, MATRIX_COLUMNS = ["Le", "chat", "x" * 80], ["The", "cat", "costs", "$5", "."]


def test_rows_and_columns_carry_their_words_inside_the_figure() -> None:
    values = np.arange(15.0).reshape(3, 5)
    figure = matrix_figure(Path("a.png"), values, rows=MATRIX_ROWS, columns=MATRIX_COLUMNS)
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()][:2] == MATRIX_ROWS[:2]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "The", "cat", "costs", r"\$5", ".",
    ]  # fmt: skip
    assert np.array_equal(np.asarray(axes.images[0].get_array()), values)
    width, height = figure.get_size_inches() * figure.dpi
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts]:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


def test_darker_is_more_and_white_is_zero() -> None:
    figure = matrix_figure(
        Path("a.png"), np.linspace(0, 0.7, 9)[None], rows=["x"], columns=list("abcdefghi")
    )
    image = figure.axes[0].images[0]
    shades = image.to_rgba(np.asarray(image.get_array()))[0, :, :3].mean(axis=1)
    assert shades[0] == pytest.approx(1.0)
    assert (np.diff(shades) < 0).all()


@pytest.mark.parametrize("values", [[[0.0]], [[float("nan")]]])
def test_an_empty_attention_can_be_drawn(values: list[list[float]]) -> None:
    matrix_figure(Path("a.pdf"), values, rows=["x"], columns=["y"])
    assert Path("a.pdf").stat().st_size > 1000


def test_a_matrix_that_does_not_fit_its_words_is_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        as_matrix(np.ones((2, 3)), rows=3, columns=2)
