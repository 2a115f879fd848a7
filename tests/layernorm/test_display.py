"""The figures of `dl ln-gradients`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlcli.display.tables import ResultTable
from dlcli.layernorm import display as figures
from dlcli.layernorm.display import (
    equation_table,
    equation_words,
    layer_tables,
    lemma_table,
    lemma_words,
    ln_figures,
    ln_words,
    slopes_table,
    training_table,
)
from dlcli.layernorm.results import (
    Curve,
    EquationCheck,
    LayerProfile,
    LayerRow,
    Lemma2Row,
    Lemmas,
    LnGradients,
    PlacementResult,
    Slope,
    StepCheck,
    TrainingResult,
    WidthSweep,
    judge,
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is handed to the drawing function, which is tested elsewhere."""
    calls: list[dict[str, Any]] = []

    def lines(path: Path, series: Any, **rest: Any) -> None:
        calls.append({"path": path, "series": list(series), **rest})

    monkeypatch.setattr(figures, "lines", lines)
    return calls


def test_one_file_for_each_view_there_is(drawn: list[dict[str, Any]], tmp_path: Path) -> None:
    found = result(training=TRAINING)
    files = ln_figures(found, Path("fig.png"), per_layer=True)
    assert files == [tmp_path / f"fig{part}.png" for part in ("", "-layers", "-training")]
    assert [call["path"] for call in drawn] == files
    assert ln_figures(result(), Path("fig.png"), per_layer=False) == [tmp_path / "fig.png"]


def test_depth_has_seed_bands_and_the_theorems_slope(drawn: list[dict[str, Any]]) -> None:
    figures.depth_figure(result(), Path("a.png"))
    (line,) = drawn[0]["series"]
    assert line.name == "pre: slope -0.500"
    assert (line.low, line.high) == ([0.4, 0.2], [0.6, 0.3])
    (slope,) = drawn[0]["slopes"]
    assert (slope.exponent, slope.through) == (-0.5, (2, 0.5))


def test_what_has_no_gradient_is_left_out(drawn: list[dict[str, Any]]) -> None:
    width = replace(placement().widths[0], by_seed=((0.0, 0.0),), slope=None)
    dead = replace(placement(), widths=(width,))
    figures.depth_figure(result(placements={"rezero": dead}), Path("a.png"))
    assert drawn[0]["series"] == []


def test_layers_after_training_stand_beside_those_before(drawn: list[dict[str, Any]]) -> None:
    task = profile(problem="copy")
    after = profile(problem="copy", condition="warm-up", step=3)
    found = replace(placement(), profiles=(profile(), task, after))
    figures.layer_figure(result(placements={"pre": found}), Path("a.png"))
    assert [line.name for line in drawn[0]["series"]] == ["pre, initialisation", "pre, warm-up"]
    figures.layer_figure(result(), Path("a.png"))
    assert [line.name for line in drawn[1]["series"]] == ["pre"]


def test_training_curves_are_means_with_bands_over_seeds(drawn: list[dict[str, Any]]) -> None:
    short = replace(CURVE, steps=(5,), loss=(3.0,), accuracy=(0.0,), seed=4)
    found = result(training=replace(TRAINING, curves=(CURVE, short)))
    figures.training_figure(found, Path("a.png"))
    (line,) = drawn[0]["series"]
    assert line.name == "post, no warm-up"
    assert (list(line.x), line.y) == ([5, 10], [2.5, 1.5])
    assert (line.low, line.high) == ([2.0, 1.5], [3.0, 1.5])
    assert drawn[0]["levels"][0].y == 2.0


def test_a_real_file_is_written(tmp_path: Path) -> None:
    (file,) = ln_figures(result(), tmp_path / "fig.svg", per_layer=False)
    assert "theory -0.5" in file.read_text(encoding="utf-8") or file.stat().st_size > 5000


# -- What `dl ln-gradients` says in words


def profile(**changes: Any) -> LayerProfile:
    rows = tuple(LayerRow(layer=i, weights=0.1 * i, w2=0.01 * i, hidden=0.001 * i) for i in (1, 2))
    base = LayerProfile(
        condition="initialisation",
        step=0,
        problem="gaussian",
        rows=rows,
        output_hidden=0.5,
        first_to_last=0.002,
        loss=1.0,
        seeds=2,
    )
    return replace(base, **changes)


def placement(*, ci: tuple[float, float] | None = (-0.55, -0.45), note: str = "") -> Any:
    width = WidthSweep(
        width=8,
        depths=(2, 4),
        last_layer_norm=(0.5, 0.25),
        by_seed=((0.4, 0.2), (0.6, 0.3)),
        slope=-0.5,
        slope_ci95=ci,
        note=note,
    )
    return PlacementResult(
        source="a paper",
        width=8,
        depths=width.depths,
        last_layer_norm=width.last_layer_norm,
        by_seed=width.by_seed,
        slope=width.slope,
        slope_ci95=ci,
        note=note,
        profiles=(profile(),),
        widths=(width,),
    )


def result(**changes: Any) -> LnGradients:
    claim = judge("pre", Slope(value=-0.5, ci95=(-0.55, -0.45), per_seed=()), tolerance=0.1)
    base = LnGradients(
        setting="theorem",
        conditions="one head",
        seeds=2,
        placements={"pre": placement()},
        theorem={"pre": claim},
        verdict="pass",
        complete=True,
        done=1.0,
        signature="measure:ln",
    )
    return replace(base, **changes)


def step(index: int) -> StepCheck:
    return StepCheck(
        step=index,
        layer=1,
        sublayer="attention",
        difference=1e-16,
        lambda_measured=1.25,
        lambda_closed=1.25,
        dropped_factor=2.5,
        gradient=0.5,
        seed_bound=0.75,
        lambda_product=0.125,
        full_bound=8.0,
    )


def check(kind: str, *, holds: bool = True) -> EquationCheck:
    return EquationCheck(
        equation="21'" if kind == "post" else "22'",
        placement=kind,
        largest_difference=1e-16,
        tolerance=1e-10,
        holds=holds,
        largest_lambda=1.25,
        final_gradient=0.3,
        steps=(step(0), step(1)),
    )


LEMMAS = Lemmas(
    width=8,
    rows=(Lemma2Row(layer=0, post=None, pre=1.0, pre_low=1.0, pre_high=1.0),),
    lemma2_holds=True,
    lemma3_ratio=(1.0, 1.02),
)
CURVE = Curve(
    placement="post",
    warmup_steps=0,
    seed=3,
    steps=(5, 10),
    loss=(2.0, 1.5),
    accuracy=(0.1, 0.96),
    solved=True,
)
TRAINING = TrainingResult(
    task="copy",
    depth=2,
    width=8,
    heads=2,
    chance_loss=2.0,
    curves=(CURVE,),
    words=("post: 1 of 1",),
)


def text(found: LnGradients, *, per_layer: bool = False) -> str:
    words = ln_words(found, per_layer=per_layer)
    return "\n".join(
        "\n".join([item.title, *item.lines()]) if isinstance(item, ResultTable) else str(item)
        for item in words
    )


def test_slopes_stand_beside_the_norms_of_each_depth() -> None:
    lines = slopes_table(result()).lines()
    assert lines[0].split() == ["placement", "d", "L=2", "L=4", "slope", "95%", "interval"]
    assert lines[1].split() == ["pre", "8", "0.5000", "0.2500", "-0.500", "[-0.550,", "-0.450]"]
    assert slopes_table(result()).signatures == "measure:ln"


def test_a_missing_interval_says_why() -> None:
    found = result(placements={"pre": placement(ci=None, note="one seed gives no interval")})
    assert "one seed gives no interval" in slopes_table(found).lines()[1]


def test_the_verdict_comes_last_after_the_claims() -> None:
    lines = text(result()).splitlines()
    assert lines[-1] == "verdict: pass"
    assert "consistent with" in lines[-2]
    assert "Setting: one head." in lines
    assert text(result(verdict=None)).endswith("verdict: undecided")


def test_a_partial_result_begins_by_saying_so() -> None:
    words = text(result(complete=False, done=0.42))
    assert words.startswith("PARTIAL: interrupted with 2 complete seeds and 42% done.")
    assert words.endswith("verdict so far: pass")
    assert "PARTIAL" not in text(result())


def test_remedies_name_their_source_and_widths_their_slope() -> None:
    wide = replace(placement(), width_slope=0.25, width_slope_ci95=(0.1, 0.4))
    words = text(result(placements={"dlcl": wide}))
    assert "dlcl: a paper" in words
    assert "dlcl: slope +0.250 against the width at L = 4, 95% interval [0.100, 0.400]" in words


def test_layers_are_shown_when_asked_for_and_after_training_always() -> None:
    assert list(layer_tables(result(), initial=False)) == []
    (table,) = layer_tables(result(), initial=True)
    assert table.lines()[0].split() == ["layer", "pre", "dW", "pre", "dW2", "pre", "dx"]
    assert table.lines()[-1].split() == ["output", "-", "-", "0.5000"]
    trained = profile(condition="warm-up", step=7, problem="copy", rows=(), note="seed 1: lost")
    found = replace(placement(), profiles=(profile(), trained))
    (table,) = layer_tables(result(placements={"pre": found}), initial=False)
    assert "after 7 updates, warm-up; pre: seed 1: lost" in table.title
    assert len(table.rows) == 1


def test_equations_show_what_question_16_leaves_out() -> None:
    lines = equation_table(check("post")).lines()
    assert "sigma(I+J_A)" in lines[0]
    assert "seed |gL|" in lines[0]
    words = " ".join(equation_words(check("post")))
    assert "Equation 21' holds" in words
    assert "exceeds 1" in words
    assert "product of all 2 lambdas" in words
    below = " ".join(equation_words(replace(check("post"), largest_lambda=0.9)))
    assert "stays below 1" in below


def test_pre_norm_has_no_bound_of_question_16() -> None:
    header = equation_table(check("pre")).lines()[0]
    assert "seed" not in header
    assert "sigma(I+J_A)" not in header
    assert header.endswith("full bound")
    assert "at the output 0.3000" in " ".join(equation_words(check("pre")))


@pytest.mark.parametrize(("holds", "word"), [(True, "holds"), (False, "FAILS")])
def test_failures_are_loud(holds: bool, word: str) -> None:
    assert word in next(equation_words(check("post", holds=holds)))
    assert word in next(lemma_words(replace(LEMMAS, lemma2_holds=holds)))


def test_lemmas_and_trainings_have_tables() -> None:
    assert lemma_table(LEMMAS).lines()[1].split()[:3] == ["0", "-", "1.000"]
    line = training_table(TRAINING).lines()[1]
    assert line.split() == ["post", "0", "3", "10", "1.500", "0.9600", "yes"]
    empty = replace(CURVE, steps=(), loss=(), accuracy=(), note="lost")
    assert training_table(replace(TRAINING, curves=(empty,))).lines()[1].endswith("lost")


def test_everything_that_was_measured_is_said() -> None:
    words = text(
        result(equations=(check("post"), check("pre")), lemmas=LEMMAS, training=TRAINING),
        per_layer=True,
    )
    for part in ("Equation 21'", "Equation 22'", "Lemma 2", "Lemma 3", "post: 1 of 1", "by layer"):
        assert part in words
