"""The figures of a run, drawn from its events and from what is on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcli.display.runs import RunFigures
from dlcli.engine.events import Finished, Pictures, RunStarted
from tests.report.terminals import on_pipes


def started(run: Path) -> RunStarted:
    return RunStarted(run=run, title="conv", epochs=2, steps_per_epoch=3, step=0, unit="images")


def pictures(epoch: int, *, count: int = 5) -> Pictures:
    return Pictures(epoch=epoch, images=np.full((count, 28, 28), epoch / 10), caption="means")


FINISHED = Finished(reason="done", epoch=2, step=6, train_s=1.0, rate=1.0)


@pytest.fixture
def run() -> Path:
    folder = Path("runs/a").absolute()
    (folder / "figures").mkdir(parents=True)
    rows = [{"epoch": epoch, "train_loss": 100.0 - epoch} for epoch in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_snapshots_and_curves_are_drawn(run: Path) -> None:
    listener = RunFigures()
    for event in (started(run), pictures(0), pictures(2), FINISHED):
        listener(event)
    names = sorted(path.name for path in (run / "figures").iterdir())
    assert names == ["curves.png", "epoch-0000.png", "epoch-0002.png", "snapshots.png"]
    with Image.open(run / "figures" / "epoch-0002.png") as read:
        pixels = np.asarray(read)
    assert pixels.shape == (2 * 28, 3 * 28)
    assert (pixels[:28] == 51).all()
    assert (pixels[28:, 56:] == 0).all()


def test_a_resumed_run_shows_the_snapshots_from_before(run: Path) -> None:
    whole, resumed = RunFigures(), RunFigures()
    for event in (started(run), pictures(0), pictures(2), FINISHED):
        whole(event)
    expected = (run / "figures" / "snapshots.png").read_bytes()
    (run / "figures" / "snapshots.png").unlink()
    for event in (started(run), FINISHED):
        resumed(event)
    assert (run / "figures" / "snapshots.png").read_bytes() == expected


def test_a_run_without_anything_to_draw_has_no_figures() -> None:
    Path("empty/figures").mkdir(parents=True)
    listener = RunFigures()
    listener(pictures(0))
    listener(started(Path("empty")))
    listener(FINISHED)
    assert list(Path("empty/figures").iterdir()) == []


def test_a_picture_that_cannot_be_written_costs_a_warning_and_not_the_run(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    (run / "figures").rmdir()
    (run / "figures").write_text("in the way")
    listener = RunFigures(consoles)
    for event in (started(run), pictures(0), FINISHED):
        listener(event)
    assert err.getvalue().startswith("warning: ")
    assert "figures" in err.getvalue()
