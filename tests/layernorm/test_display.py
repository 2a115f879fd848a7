"""What `dl ln-gradients` says and draws of one small measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlcli.display.tables import ResultTable, number
from dlcli.layernorm import display
from dlcli.layernorm.display import (
    depth_figure,
    equation_table,
    equation_words,
    layer_figure,
    layer_tables,
    lemma_table,
    lemma_words,
    ln_figures,
    ln_words,
    slopes_table,
    training_figure,
    training_table,
)
from dlcli.layernorm.measurement import LnGradients, run
from dlcli.layernorm.training import Curve
from tests.layernorm.tiny import small


@pytest.fixture(scope="module")
def found() -> LnGradients:
    """A measurement with every view."""
    sweep = {"placements": ["post", "pre", "rezero"], "widths": [8, 12], "seeds": 2}
    views = {"equations": True, "train": True, "layers": {"depth": 2, "steps": 1}}
    *_, result = run(small(**views, sweep=sweep))
    return result


def text(result: LnGradients, *, per_layer: bool = False) -> str:
    words = ln_words(result, per_layer=per_layer)
    return "\n".join(
        "\n".join([item.title, *item.lines()]) if isinstance(item, ResultTable) else str(item)
        for item in words
    )


def test_slopes_stand_beside_the_norms_of_each_depth(found: LnGradients) -> None:
    table = slopes_table(found)
    assert table.columns[:6] == ["placement", "d", "L=1", "L=2", "L=4", "slope"]
    post = found.placements["post"]
    cells = table.lines()[1].split()
    assert cells[:3] == ["post", "8", number(post.last_layer_norm[0])]
    assert cells[5] == f"{post.slope:+.3f}"
    assert table.signatures == found.signature
    assert "a gradient is exactly zero" in table.lines()[5]  # of rezero
    bare = replace(found, placements={"post": post})
    assert slopes_table(bare).columns[-1] == "95% interval"


def test_everything_that_was_measured_is_said_and_the_verdict_comes_last(
    found: LnGradients,
) -> None:
    words = text(found, per_layer=True)
    for part in ("Equation 21'", "Equation 22'", "Lemma 2", "Lemma 3", "by layer"):
        assert part in words
    assert found.training is not None
    assert all(sentence in words for sentence in found.training.words)
    assert f"Setting: {found.conditions}." in words
    assert "rezero: Bachlechner" in words
    assert f"post: slope {found.placements['post'].width_slope:+.3f} against the width" in words
    assert words.splitlines()[-1] == f"verdict: {found.verdict}"
    assert words.splitlines()[-2] == found.theorem["pre"].words
    assert text(replace(found, verdict=None)).endswith("verdict: undecided")


def test_a_partial_result_begins_by_saying_so(found: LnGradients) -> None:
    words = text(replace(found, complete=False, done=0.42))
    assert words.startswith("PARTIAL: interrupted with 2 complete seeds and 42% done.")
    assert words.splitlines()[-1].startswith("verdict so far: ")
    assert "PARTIAL" not in text(found)


def test_layers_are_shown_on_request_and_after_training_always(found: LnGradients) -> None:
    post = found.placements["post"]
    only = replace(found, placements={"post": replace(post, profiles=post.profiles[:1])})
    assert list(layer_tables(only, initial=False)) == []
    (table,) = layer_tables(only, initial=True)
    assert table.lines()[0].split() == ["layer", "post", "dW", "post", "dW2", "post", "dx"]
    assert table.lines()[-1].split()[:3] == ["output", "-", "-"]
    assert len(list(layer_tables(found, initial=False))) == 3
    lost = replace(post.profiles[-1], rows=(), note="seed 1: lost")
    (table,) = layer_tables(
        replace(found, placements={"post": replace(post, profiles=(lost,))}), initial=False
    )
    assert "after 1 update, warm-up; post: seed 1: lost" in table.title
    assert len(table.rows) == 1


def test_equations_show_what_question_16_leaves_out(found: LnGradients) -> None:
    post, pre = found.equations
    assert "sigma(I+J_A)" in equation_table(post).lines()[0]
    above = " ".join(equation_words(replace(post, largest_lambda=1.25)))
    assert "Equation 21' holds" in above
    assert "exceeds 1" in above
    assert "product of all 4 lambdas" in above
    assert "stays below 1" in " ".join(equation_words(replace(post, largest_lambda=0.9)))
    header = equation_table(pre).lines()[0]
    assert "sigma(I+J_A)" not in header
    assert "|gL|" not in header
    assert header.endswith("full bound")
    assert f"at the output {number(pre.final_gradient)}" in " ".join(equation_words(pre))


@pytest.mark.parametrize(("holds", "word"), [(True, "holds"), (False, "FAILS")])
def test_failures_are_loud(found: LnGradients, holds: bool, word: str) -> None:
    assert found.lemmas is not None
    assert word in next(equation_words(replace(found.equations[0], holds=holds)))
    assert word in next(lemma_words(replace(found.lemmas, lemma2_holds=holds)))
    assert lemma_table(found.lemmas).lines()[1].split()[:2] == ["0", "-"]


SOLVED = Curve(
    placement="post",
    warmup_steps=0,
    seed=3,
    steps=(5, 10),
    loss=(2.0, 1.5),
    accuracy=(0.1, 0.96),
    solved=True,
)


def test_trainings_say_where_they_ended(found: LnGradients) -> None:
    lost = Curve(placement="post", warmup_steps=9, seed=4, note="lost")
    assert found.training is not None
    lines = training_table(replace(found.training, curves=(SOLVED, lost))).lines()
    assert lines[1].split() == ["post", "0", "3", "10", "1.500", "0.9600", "yes"]
    assert lines[2].split() == ["post", "9", "4", "0", "-", "-", "lost"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is handed to the drawing function, which is tested elsewhere."""
    calls: list[dict[str, Any]] = []

    def lines(path: Path, series: Any, **rest: Any) -> None:
        calls.append({"path": path, "series": list(series), **rest})

    monkeypatch.setattr(display, "lines", lines)
    return calls


def test_one_file_for_each_view_there_is(
    found: LnGradients, drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    files = ln_figures(found, Path("fig.png"), per_layer=True)
    assert files == [tmp_path / f"fig{part}.png" for part in ("", "-layers", "-training")]
    assert [call["path"] for call in drawn] == files
    bare = replace(found, training=None)
    assert ln_figures(bare, Path("fig.png"), per_layer=False) == [tmp_path / "fig.png"]


def test_depth_has_seed_bands_and_the_theorems_slope(
    found: LnGradients, drawn: list[dict[str, Any]]
) -> None:
    depth_figure(found, Path("a.png"))
    post, pre = (found.placements[name] for name in ("post", "pre"))
    line = drawn[0]["series"][0]
    assert line.name == f"post, d = 8: slope {post.slope:+.3f}"
    assert line.low == [min(column) for column in zip(*post.by_seed, strict=True)]
    assert not any("rezero" in line.name for line in drawn[0]["series"])  # it has no gradient
    slopes = drawn[0]["slopes"]
    assert [slope.exponent for slope in slopes] == [0.0, -0.5]
    assert slopes[1].through == (1, pre.last_layer_norm[0])


def test_layers_after_training_stand_beside_those_before(
    found: LnGradients, drawn: list[dict[str, Any]]
) -> None:
    post = found.placements["post"]
    layer_figure(replace(found, placements={"post": post}), Path("a.png"))
    names = ["post, initialisation", "post, no warm-up", "post, warm-up"]
    assert [line.name for line in drawn[0]["series"]] == names
    untrained = replace(post, profiles=post.profiles[:1])
    layer_figure(replace(found, placements={"post": untrained}), Path("a.png"))
    assert [line.name for line in drawn[1]["series"]] == ["post"]


def test_training_curves_are_means_with_bands_over_seeds(
    found: LnGradients, drawn: list[dict[str, Any]]
) -> None:
    short = replace(SOLVED, steps=(5,), loss=(3.0,), accuracy=(0.0,), seed=4)
    assert found.training is not None
    training = replace(found.training, curves=(SOLVED, short))
    training_figure(replace(found, training=training), Path("a.png"))
    (line,) = drawn[0]["series"]
    assert line.name == "post, no warm-up"
    assert (list(line.x), line.y) == ([5, 10], [2.5, 1.5])
    assert (line.low, line.high) == ([2.0, 1.5], [3.0, 1.5])
    assert drawn[0]["levels"][0].y == training.chance_loss
