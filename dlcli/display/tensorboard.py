"""`--tensorboard`: what a training measures, as events that TensorBoard reads."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from dlcli.engine.events import Evaluated, Event, Pictures, RunStarted
from dlcli.errors import UsageFault

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
"""In a run folder."""


class TensorBoard:
    """Write the numbers of every evaluation and the pictures of snapshots, by update.

    A resumed run goes on in its folder, and what it had written after its checkpoint is hidden.

    Raises:
        UsageFault: the package `tensorboard` is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageFault(
                "--tensorboard needs the package tensorboard.",
                hint="Install it with `pip install tensorboard`, or in a copy of this repository "
                "with `pip install '.[tensorboard]'`.",
            ) from None
        self._make = SummaryWriter
        self._writer: SummaryWriter | None = None
        self._step = 0

    def __call__(self, event: Event) -> None:
        """Take an event; those of no interest are passed over."""
        if isinstance(event, RunStarted):
            self._close()
            self._step = event.step
            purge = event.step + 1 if event.step else None
            self._writer = self._make(str(event.run / FOLDER), purge_step=purge)
        elif self._writer is not None and isinstance(event, Evaluated):
            self._step = event.step
            for name, value in event.metrics.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._writer.add_scalar(name, value, event.step)
            self._writer.flush()
        elif self._writer is not None and isinstance(event, Pictures):
            images = np.asarray(event.images)
            pixels = images if images.ndim == 4 else images[..., None]
            self._writer.add_images("samples", pixels, self._step, dataformats="NHWC")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
