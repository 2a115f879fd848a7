"""The translator: subwords, network, search, training, attention, alignment, scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.nmt.config import NmtModelConfig as NmtModelConfig
    from dlcli.nmt.config import NmtTrainConfig as NmtTrainConfig

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "NmtModelConfig": "dlcli.nmt.config",
        "NmtTrainConfig": "dlcli.nmt.config",
    },
)
