"""The figures of `dl ln-gradients`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlcli.layernorm import display as figures
from dlcli.layernorm.display import ln_figures
from tests.report.test_ln_tables import CURVE, TRAINING, placement, profile, result


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
