"""Results and events in, words and pictures out: Rich, matplotlib and JSON live here alone.

Opening this room loads none of them; each name brings what it needs at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.report.console import Consoles as Consoles
    from dlcli.report.console import is_live as is_live
    from dlcli.report.console import say as say
    from dlcli.report.download import DownloadProgress as DownloadProgress
    from dlcli.report.numbers import count as count
    from dlcli.report.numbers import duration as duration
    from dlcli.report.numbers import interval as interval
    from dlcli.report.numbers import number as number
    from dlcli.report.numbers import size as size
    from dlcli.report.numbers import with_error as with_error
    from dlcli.report.progress import TrainingProgress as TrainingProgress
    from dlcli.report.strict_json import emit as emit
    from dlcli.report.strict_json import error_object as error_object
    from dlcli.report.strict_json import to_json as to_json
    from dlcli.report.strict_json import to_plain as to_plain
    from dlcli.report.terminal import PictureRows as PictureRows

_WHERE = {
    "console": "Consoles is_live say",
    "download": "DownloadProgress",
    "numbers": "count duration interval number size with_error",
    "progress": "TrainingProgress",
    "strict_json": "emit error_object to_json to_plain",
    "terminal": "PictureRows",
}

__getattr__, __dir__, __all__ = exports(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _WHERE.items() for name in names.split()},
)
