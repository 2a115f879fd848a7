"""The figures of a run, drawn while it happens: a listener for the engine's events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.engine.events import Event, Finished, Pictures, RunStarted
from dlcli.engine.runs import RunFolder
from dlcli.errors import DlError
from dlcli.report.console import Consoles
from dlcli.report.pixels import as_bytes, save_png, tile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 28
"""Pixels of an image in a snapshot."""


class RunFigures:
    """Write `figures/` of each run it hears of.

    `epoch-0010.png` are the pixels of a snapshot as they are, written at once; `snapshots.png`
    (these side by side) and `curves.png` are drawn when the run ends, from what is on disk, so
    that a resumed run has them whole. A picture that cannot be written costs a warning, not the
    run.

    Args:
        consoles: where to warn.
    """

    def __init__(self, consoles: Consoles | None = None) -> None:
        self._consoles = consoles or Consoles()
        self._run: RunFolder | None = None
        self._title = ""
        self._caption = ""

    def __call__(self, event: Event) -> None:
        """Take an event; those of no interest are passed over."""
        try:
            self._take(event)
        except DlError as error:
            self._consoles.warning(error.message)

    def _take(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._run, self._title, self._caption = RunFolder(event.run), event.title, ""
        elif self._run is not None and isinstance(event, Pictures):
            self._caption = event.caption
            save_png(
                self._run.figures / f"epoch-{event.epoch:04d}.png", as_bytes(tile(event.images))
            )
        elif self._run is not None and isinstance(event, Finished):
            draw_curves(self._run, title=self._title)
            draw_snapshots(self._run, title=self._title)


def draw_curves(run: RunFolder, *, title: str = "") -> None:
    """Draw `figures/curves.png` from metrics.jsonl, if there are any metrics."""
    from dlcli.report.curves import loss_curves

    rows = run.metrics()
    if rows:
        loss_curves(run.figures / "curves.png", rows, title=title)


def draw_snapshots(run: RunFolder, *, title: str = "") -> None:
    """Draw `figures/snapshots.png` from the run's snapshot pictures, if there are any."""
    from dlcli.report.grids import snapshots

    panels = {
        f"epoch {int(path.stem.removeprefix('epoch-'))}": _images(path)
        for path in sorted(run.figures.glob("epoch-*.png"))
    }
    if panels:
        words = f"{title}: the same z at each epoch" if title else "the same z at each epoch"
        columns = next(iter(panels.values())).shape[1]
        snapshots(
            run.figures / "snapshots.png",
            {name: images.reshape(-1, SIDE, SIDE) for name, images in panels.items()},
            title=words,
            columns=columns,
        )


def _images(path: Path) -> NDArray[np.float64]:
    """Cut a snapshot's pixels back into (R, C, 28, 28)."""
    import numpy as np
    from matplotlib.image import imread

    pixels = np.asarray(imread(path), dtype=np.float64)
    R, C = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
    return pixels[: R * SIDE, : C * SIDE].reshape(R, SIDE, C, SIDE).transpose(0, 2, 1, 3)
