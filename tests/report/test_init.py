"""Opening the room is free, and every name in it can be had."""

from __future__ import annotations

import subprocess
import sys

import dlcli.report


def loaded_by(code: str) -> set[str]:
    """Return which of the heavy packages a fresh interpreter has after `code`."""
    show = "import sys; print(*{'torch', 'matplotlib', 'rich', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_opening_the_room_loads_nothing_heavy() -> None:
    assert loaded_by("import dlcli.report") == set()


def test_words_need_neither_matplotlib_nor_torch() -> None:
    names = "Consoles, TrainingProgress, DownloadProgress, PictureRows, HeatMap, emit, runs_table"
    more = "RunFigures, image_grid, lines, save_png"
    assert loaded_by(f"from dlcli.report import {names}, {more}") == {"rich"}


def test_every_public_name_can_be_had() -> None:
    for name in dlcli.report.__all__:
        assert getattr(dlcli.report, name) is not None
    assert dir(dlcli.report) == sorted(dlcli.report.__all__)
