"""Results and events in, words and pictures out: Rich, matplotlib and JSON live here alone.

Opening this room loads none of them; each name brings what it needs at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.report.canvas import save_figure as save_figure
    from dlcli.report.console import Consoles as Consoles
    from dlcli.report.console import is_live as is_live
    from dlcli.report.console import say as say
    from dlcli.report.curves import compare_curves as compare_curves
    from dlcli.report.curves import loss_curves as loss_curves
    from dlcli.report.download import DownloadProgress as DownloadProgress
    from dlcli.report.forcing import forcing_figure as forcing_figure
    from dlcli.report.forcing import forcing_table as forcing_table
    from dlcli.report.grids import image_grid as image_grid
    from dlcli.report.grids import snapshots as snapshots
    from dlcli.report.heatmap import HeatMap as HeatMap
    from dlcli.report.matrix import matrix_figure as matrix_figure
    from dlcli.report.numbers import count as count
    from dlcli.report.numbers import duration as duration
    from dlcli.report.numbers import interval as interval
    from dlcli.report.numbers import number as number
    from dlcli.report.numbers import size as size
    from dlcli.report.numbers import with_error as with_error
    from dlcli.report.pixels import as_bytes as as_bytes
    from dlcli.report.pixels import save_npz as save_npz
    from dlcli.report.pixels import save_png as save_png
    from dlcli.report.pixels import tile as tile
    from dlcli.report.plots import Level as Level
    from dlcli.report.plots import Line as Line
    from dlcli.report.plots import Slope as Slope
    from dlcli.report.plots import bars as bars
    from dlcli.report.plots import lines as lines
    from dlcli.report.progress import TrainingProgress as TrainingProgress
    from dlcli.report.run_figures import RunFigures as RunFigures
    from dlcli.report.run_figures import draw_curves as draw_curves
    from dlcli.report.run_figures import draw_snapshots as draw_snapshots
    from dlcli.report.run_tables import record_table as record_table
    from dlcli.report.run_tables import removals_table as removals_table
    from dlcli.report.run_tables import runs_table as runs_table
    from dlcli.report.strict_json import emit as emit
    from dlcli.report.strict_json import error_object as error_object
    from dlcli.report.strict_json import to_json as to_json
    from dlcli.report.strict_json import to_plain as to_plain
    from dlcli.report.tables import ResultTable as ResultTable
    from dlcli.report.tables import facts as facts
    from dlcli.report.tables import signature_lines as signature_lines
    from dlcli.report.terminal import PictureRows as PictureRows
    from dlcli.report.trained import trained_facts as trained_facts
    from dlcli.report.trained import trained_table as trained_table
    from dlcli.report.translators import translator_facts as translator_facts
    from dlcli.report.translators import translators_table as translators_table

_WHERE = {
    "canvas": "save_figure",
    "console": "Consoles is_live say",
    "curves": "compare_curves loss_curves",
    "download": "DownloadProgress",
    "forcing": "forcing_figure forcing_table",
    "grids": "image_grid snapshots",
    "heatmap": "HeatMap",
    "matrix": "matrix_figure",
    "numbers": "count duration interval number size with_error",
    "pixels": "as_bytes save_npz save_png tile",
    "plots": "Level Line Slope bars lines",
    "progress": "TrainingProgress",
    "run_figures": "RunFigures draw_curves draw_snapshots",
    "run_tables": "record_table removals_table runs_table",
    "strict_json": "emit error_object to_json to_plain",
    "tables": "ResultTable facts signature_lines",
    "terminal": "PictureRows",
    "trained": "trained_facts trained_table",
    "translators": "translator_facts translators_table",
}

__getattr__, __dir__, __all__ = exports(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _WHERE.items() for name in names.split()},
)
