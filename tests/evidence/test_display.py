"""The figures of `dl mc-estimate` and `dl kl`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dlcli.display.plots import Line, Slope
from dlcli.display.tables import ResultTable
from dlcli.evidence import display as evidence_figures
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig, KlConfig
from dlcli.evidence.display import density_figure, error_figure, evidence_words, kl_words
from dlcli.evidence.estimate import McEstimate, run
from dlcli.evidence.gaussians import run_kl


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the figures hand to the plotter, which still draws."""
    calls: list[dict] = []
    real = evidence_figures.lines

    def spy(path: Path, series: list[Line], **rest: object) -> None:
        calls.append({"series": series, **rest})
        real(path, series, **rest)

    monkeypatch.setattr(evidence_figures, "lines", spy)
    return calls


@pytest.fixture(scope="module")
def found() -> McEstimate:
    config = EvidenceConfig(
        dims=(1, 30),
        estimators=("prior", "ais"),
        samples=(10, 100, 10_000),
        repeats=3,
        pixels=60,
        annealing=AnnealingConfig(chains=32, temperatures=40),
    )
    *_, last = run(config)
    return last


def test_the_half_line_is_drawn_only_where_n_is_far_above_rho(
    found: McEstimate, drawn: list[dict], tmp_path: Path
):
    error_figure(found, tmp_path / "mc.png")
    (call,) = drawn
    assert [line.name for line in call["series"]] == ["prior, D = 1", "prior, D = 30"]
    assert all(isinstance(slope, Slope) for slope in call["slopes"])
    assert len(call["slopes"]) == 1
    assert call["slopes"][0].exponent == -0.5
    assert (tmp_path / "mc.png").stat().st_size > 5000


def test_without_a_truth_standard_errors_are_drawn(
    found: McEstimate, drawn: list[dict], tmp_path: Path
):
    bare = replace(found, results=(replace(found.results[0], truth=None),))
    error_figure(bare, tmp_path / "mc.png")
    points = found.results[0].estimators[0].sweep.points
    assert list(drawn[0]["series"][0].y) == [point.estimate.std_error for point in points]


def test_densities_integrate_to_one(drawn: list[dict], tmp_path: Path):
    density_figure(run_kl(KlConfig(mu_p=(2.0,), sigma_p=(0.5,), samples=10)), tmp_path / "kl.svg")
    for line in drawn[0]["series"]:
        step = line.x[1] - line.x[0]
        assert abs(sum(line.y) * step - 1) < 1e-3
    assert (tmp_path / "kl.svg").stat().st_size > 1000


def spoken(found: McEstimate) -> str:
    parts = []
    for item in evidence_words(found):
        parts += item.lines() if isinstance(item, ResultTable) else [str(item)]
    return "\n".join(parts)


def test_one_row_an_estimator_with_its_verdict(found: McEstimate):
    table = next(iter(evidence_words(found)))
    assert isinstance(table, ResultTable)
    assert [row[1] for row in table.rows] == ["prior", "ais"] * 2
    verdicts = [each.estimate.verdict for r in found.results for each in r.estimators]
    assert [row[-1] for row in table.rows] == verdicts
    assert table.signatures == found.signature


def test_says_why_and_which_way_it_errs(found: McEstimate):
    text = spoken(found)
    for each in found.results[0].estimators:
        assert each.estimate.reason in text
    assert "low on average" in text
    assert "for a standard error of 0.01" in text
    assert "PARTIAL" not in text


def test_partial_results_say_so(found: McEstimate):
    assert spoken(replace(found, complete=False)).startswith("PARTIAL")


def test_without_a_truth_there_is_no_bias(found: McEstimate):
    bare = replace(
        found,
        results=(replace(found.results[0], truth=None, case="test-3"),),
    )
    assert "D = 1, test-3: log p(x) is not known beforehand." in spoken(bare)


def test_kl_of_equal_laws_is_zero_with_zero_error():
    table, gradient, examples = kl_words(run_kl(KlConfig(samples=10)))
    assert isinstance(table, ResultTable)
    assert [row[1:] for row in table.rows] == [[0.0, 0.0, 0.0, 0.0]] * 2
    assert "holds" in str(gradient)
    assert "50 for mu_p = 10" in str(examples)
