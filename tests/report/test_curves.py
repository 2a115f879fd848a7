"""Learning curves: what is drawn, from what, in which frame."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dlcli.display.runs import compare_curves, loss_curves

ROWS = [
    {
        "epoch": epoch, "step": 7 * epoch, "train_loss": 100 + 50 / epoch, "train_kl": 25.0,
        "train_reconstruction": 75 + 50 / epoch, "valid_loss": 101 + 50 / epoch, "train_s": 3.0,
        "valid_bleu": None, "kl_per_dim": [1.0], "lr": 1e-3,
    }
    for epoch in range(1, 41)
]  # fmt: skip


def test_each_part_of_the_loss_has_a_panel() -> None:
    figure = loss_curves(Path("curves.png"), ROWS, title="conv")
    assert [axes.get_title() for axes in figure.axes] == ["loss", "kl", "reconstruction"]
    loss = figure.axes[0]
    assert [line.get_label() for line in loss.get_lines()] == ["training", "validation"]
    assert np.asarray(loss.get_lines()[0].get_ydata())[3] == 112.5
    assert loss.get_ylabel() == "nats"
    assert loss.get_xlabel() == "epoch"


def test_the_first_epochs_do_not_flatten_the_rest() -> None:
    loss = loss_curves(Path("curves.png"), ROWS).axes[0]
    assert loss.get_ylim()[1] < 125
    assert loss.get_ylim()[0] < 101


def test_several_evaluations_an_epoch_are_counted_in_updates() -> None:
    rows = [{"epoch": 1, "step": step, "valid_bleu": 20.0 + step} for step in (10, 20, 30)]
    axes = loss_curves(Path("curves.png"), rows).axes[0]
    assert axes.get_xlabel() == "update"
    assert np.asarray(axes.get_lines()[0].get_xdata()).tolist() == [10.0, 20.0, 30.0]
    assert axes.get_ylabel() == "BLEU"


def test_a_run_without_numbers_still_has_a_figure() -> None:
    for rows in ([], [{"epoch": 1, "train_loss": None}]):
        figure = loss_curves(Path("curves.png"), rows)
        assert [text.get_text() for text in figure.texts] == ["nothing measured yet"]


def test_runs_are_compared_in_one_frame_by_name() -> None:
    curves = {f"run {i}": ([1.0, 2.0], [100.0 + i, 99.0 + i]) for i in range(10)}
    figure = compare_curves(Path("compare.svg"), curves)
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(curves)
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(looks) == 10


def test_a_run_that_diverged_is_named_and_does_not_flatten_the_others() -> None:
    curves = {
        "good": ([1.0, 2.0], [150.0, 100.0]),
        "bad": ([1.0, 2.0], [1e6, 9e4]),
        "worse": ([1.0], [math.nan]),
        "none": ([], []),
    }
    (axes,) = compare_curves(Path("compare.png"), curves).axes
    assert axes.get_ylim()[1] < 200
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "good", "bad (above: 90000)", "worse (no values)", "none (no values)",
    ]  # fmt: skip


def test_one_point_is_visible() -> None:
    (axes,) = compare_curves(Path("compare.png"), {"a": ([1.0], [100.0])}).axes
    assert axes.get_lines()[0].get_marker() == "o"
    assert np.ptp(axes.get_ylim()) > 0
