"""The translator: subwords, network, search, training, attention, alignment, scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.nmt.attention_map import AttentionMap as AttentionMap
    from dlcli.nmt.config import NmtModelConfig as NmtModelConfig
    from dlcli.nmt.config import NmtTrainConfig as NmtTrainConfig
    from dlcli.nmt.search_config import SearchConfig as SearchConfig
    from dlcli.nmt.translator import Translated as Translated
    from dlcli.nmt.translator import Translator as Translator

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "AttentionMap": "dlcli.nmt.attention_map",
        "NmtModelConfig": "dlcli.nmt.config",
        "NmtTrainConfig": "dlcli.nmt.config",
        "SearchConfig": "dlcli.nmt.search_config",
        "Translated": "dlcli.nmt.translator",
        "Translator": "dlcli.nmt.translator",
    },
)
