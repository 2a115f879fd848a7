"""Training runs: learning curves, the figures of a run, tables of runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcli.display.runs import (
    RunFigures,
    compare_curves,
    loss_curves,
    metrics_csv,
    record_table,
    removals_table,
    runs_table,
)
from dlcli.engine.events import Event, Finished, Measured, Pictures, RunStarted
from dlcli.engine.runs import Curve, Removal
from tests.display.terminals import on_pipes

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
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "nats")
    low, high = loss.get_ylim()
    assert low < 101
    assert high < 125, "the first epochs do not flatten the rest"


def test_curves_say_what_they_are_of_and_the_test_set_is_a_point_at_the_end() -> None:
    sets = {"training": "1,600 images", "test": "400 images"}
    rows = [{"epoch": epoch, "train_kl": 25.0 + epoch} for epoch in (1, 2)]
    (axes,) = loss_curves(Path("c.png"), rows, sets=sets, test={"kl": 22.0, "loss": 99.0}).axes
    training, test = axes.get_lines()
    assert training.get_label() == "training: 1,600 images"
    assert test.get_label() == "test: 400 images"
    assert (list(test.get_xdata()), list(test.get_ydata())) == ([2.0], [22.0])
    assert axes.get_ylim()[0] < 22


def test_compared_curves_say_which_side_they_are_and_where_the_test_set_ends() -> None:
    curves = {
        "a": Curve([1.0, 2.0], [100.0, 99.0], "training", 98.0),
        "b": Curve([1.0, 2.0], [101.0, 99.5], "validation"),
    }
    (axes,) = compare_curves(Path("compare.png"), curves).axes
    assert [line.get_label() for line in axes.get_lines()][::2] == ["a, training", "b, validation"]
    assert axes.get_lines()[-1].get_label() == "−ELBO, test set"
    (axes,) = compare_curves(Path("compare.png"), {"b": curves["b"]}).axes
    assert axes.get_ylabel() == "validation loss (nats)"


def test_several_evaluations_an_epoch_are_counted_in_updates() -> None:
    rows = [{"epoch": 1, "step": step, "valid_bleu": 20.0 + step} for step in (10, 20, 30)]
    axes = loss_curves(Path("curves.png"), rows).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("update", "BLEU")
    assert np.asarray(axes.get_lines()[0].get_xdata()).tolist() == [10.0, 20.0, 30.0]


def test_a_run_without_numbers_still_has_a_figure() -> None:
    figure = loss_curves(Path("curves.png"), [{"epoch": 1, "train_loss": None}])
    assert [text.get_text() for text in figure.texts] == ["nothing measured yet"]


def test_runs_are_compared_in_one_frame_by_name() -> None:
    curves = {f"run {i}": Curve([1.0, 2.0], [100.0 + i, 99.0 + i], "training") for i in range(10)}
    (axes,) = compare_curves(Path("compare.svg"), curves).axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(looks) == 10


def test_a_run_that_diverged_is_named_and_does_not_flatten_the_others() -> None:
    curves = {
        "good": Curve([1.0, 2.0], [150.0, 100.0], "training"),
        "bad": Curve([1.0, 2.0], [1e6, 9e4], "training", 9e4),
        "worse": Curve([1.0], [math.nan], "training"),
        "none": Curve([], [], "training"),
    }
    (axes,) = compare_curves(Path("compare.png"), curves).axes
    assert axes.get_ylim()[1] < 200
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "good", "bad (above: 90000)", "worse (no values)", "none (no values)",
    ]  # fmt: skip


def test_losses_that_are_not_to_be_compared_have_a_frame_for_each_kind() -> None:
    likelihoods = {"a": "bernoulli", "b": "logistic", "c": "bernoulli", "d": ""}
    curves = {
        name: Curve([1.0], [9.0], "training", None, of and f"likelihood:{of}|seed:{name}")
        for name, of in likelihoods.items()
    }
    panels = {
        axes.get_title(): [line.get_label() for line in axes.get_lines()]
        for axes in compare_curves(Path("compare.png"), curves, title="all").axes
    }
    assert panels == {
        "all, likelihood: bernoulli": ["a", "c"],
        "likelihood: logistic": ["b"],
        "likelihood: not known yet": ["d"],
    }
    del curves["b"]
    (axes,) = compare_curves(Path("compare.png"), curves, title="all").axes
    assert axes.get_title() == "all"


def test_one_point_is_visible() -> None:
    (axes,) = compare_curves(Path("compare.png"), {"a": Curve([1.0], [100.0], "training")}).axes
    assert axes.get_lines()[0].get_marker() == "o"
    assert np.ptp(axes.get_ylim()) > 0


def events_of(run: Path, *epochs: int) -> list[Event]:
    """Return the events of a run that draws pictures after these epochs."""
    started = RunStarted(
        run=run, title="conv", data="d", epochs=2, steps_per_epoch=3, step=0, unit="images"
    )
    drawn = (
        Pictures(epoch=epoch, images=np.full((5, 28, 28), epoch / 10), caption="means")
        for epoch in epochs
    )
    finished = Finished(reason="done", epoch=2, step=6, train_s=1.0, rate=1.0)
    return [started, *drawn, finished, Measured(test={})]


@pytest.fixture
def run() -> Path:
    folder = Path("runs/a").absolute()
    (folder / "figures").mkdir(parents=True)
    rows = [{"epoch": epoch, "train_loss": 100.0 - epoch} for epoch in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def draw(*events: Event) -> None:
    listener = RunFigures()
    for event in events:
        listener(event)


def test_snapshots_and_curves_are_drawn_from_what_is_on_disk(run: Path) -> None:
    draw(*events_of(run, 0, 2))
    figures = run / "figures"
    names = sorted(path.name for path in figures.iterdir())
    assert names == ["curves.png", "epoch-0000.png", "epoch-0002.png", "snapshots.png"]
    with Image.open(figures / "epoch-0002.png") as read:
        pixels = np.asarray(read)
    assert pixels.shape == (2 * 28, 3 * 28)
    assert (pixels[:28] == 51).all()
    assert (pixels[28:, 56:] == 0).all()
    expected = (figures / "snapshots.png").read_bytes()
    (figures / "snapshots.png").unlink()
    draw(*events_of(run))  # a run that is resumed has the snapshots from before
    assert (figures / "snapshots.png").read_bytes() == expected


def test_a_run_without_anything_to_draw_has_no_figures() -> None:
    Path("empty/figures").mkdir(parents=True)
    draw(*events_of(Path("empty")))
    assert list(Path("empty/figures").iterdir()) == []


def test_a_picture_that_cannot_be_written_costs_a_warning_and_not_the_run(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, err = on_pipes(monkeypatch)
    (run / "figures").rmdir()
    (run / "figures").write_text("in the way")
    draw(*events_of(run, 0))
    assert err.getvalue().startswith("warning: ")
    assert "figures" in err.getvalue()


RUN = {
    "run": "/runs/a", "name": "a", "kind": "vae", "title": "vae-conv", "status": "done",
    "started": "2026-11-23", "epoch": 80, "signature": "data:mnist|seed:0",
    "metrics": {"elbo": -96.123, "std_error": 0.05, "kl": 25.5, "images": 10000},
}  # fmt: skip
OTHER = {**RUN, "name": "b", "status": "running", "metrics": {}, "signature": None}


def test_runs_show_their_metrics_with_units_and_errors() -> None:
    table = runs_table([RUN, OTHER], settings={"optim.lr": [1e-3, 1e-2]})
    assert table.lines() == [
        "run  kind  status   epoch  optim.lr    elbo (nats)  kl (nats)",
        "a    vae   done        80     0.001  -96.12 ± 0.05     25.500",
        "b    vae   running     80      0.01              -          -",
    ]
    assert table.signatures == {"a": "data:mnist|seed:0"}


def test_a_record_shows_settings_metrics_and_machine() -> None:
    found = {
        **RUN,
        "record": {"command": ["dl", "vae", "train"], "machine": {"device": "cpu"}},
        "config": {"loop": {"epochs": 80}, "snapshots": [0, 10], "model": {"skip": False}},
        "last": {"train_loss": 97.0, "kl_per_dim": [1.0]},
        "files": ["x", "y"],
    }
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in record_table(found).lines()}
    expected = {
        "command": "dl vae train",
        "machine.device": "cpu",
        "loop.epochs": "80",
        "snapshots": "0 10",
        "model.skip": "no",
        "last.train_loss": "97.00",
        "files": "2",
    }
    assert {name: shown[name].strip() for name in expected} == expected
    assert shown["elbo"].split() == ["(nats)", "-96.12", "±", "0.05"]
    bare = record_table({"run": "/x", "metrics": None})
    assert bare.lines()[0].split() == ["run", "/x"]


def test_removals_add_up() -> None:
    removals = [
        Removal(path=Path("/runs/a"), reason="failed", size=1_500_000),
        Removal(path=Path("/runs/b"), reason="snapshot", size=500_000),
    ]
    lines = removals_table(removals).lines()
    assert lines[1].split() == ["/runs/a", "failed", "1.5", "MB"]
    assert lines[-1].split() == ["total:", "2", "paths", "2.0", "MB"]


def test_evaluations_as_csv_have_a_column_for_each_item_of_a_list() -> None:
    rows = [{"epoch": 1, "kl_per_dim": [0.5, 2]}, {"epoch": 2, "note": 'a "b", c'}]
    text = metrics_csv(rows)
    assert text == 'epoch,kl_per_dim.0,kl_per_dim.1,note\r\n1,0.5,2,\r\n2,,,"a ""b"", c"\r\n'
    assert metrics_csv([]) == "\r\n"
