"""The translator: subwords, network, search, training, attention, alignment, scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.nmt.alignment import AlignmentScore as AlignmentScore
    from dlcli.nmt.alignment import GoldLinks as GoldLinks
    from dlcli.nmt.alignment import attention_links as attention_links
    from dlcli.nmt.alignment import format_pharaoh as format_pharaoh
    from dlcli.nmt.alignment import parse_gold as parse_gold
    from dlcli.nmt.alignment import parse_pharaoh as parse_pharaoh
    from dlcli.nmt.alignment import score_alignments as score_alignments
    from dlcli.nmt.attention_map import AttentionMap as AttentionMap
    from dlcli.nmt.config import NmtModelConfig as NmtModelConfig
    from dlcli.nmt.config import NmtTrainConfig as NmtTrainConfig
    from dlcli.nmt.scoring import Metric as Metric
    from dlcli.nmt.scoring import Score as Score
    from dlcli.nmt.scoring import compare as compare
    from dlcli.nmt.scoring import score_corpus as score_corpus
    from dlcli.nmt.search_config import SearchConfig as SearchConfig
    from dlcli.nmt.translator import Translated as Translated
    from dlcli.nmt.translator import Translator as Translator

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "AlignmentScore": "dlcli.nmt.alignment",
        "AttentionMap": "dlcli.nmt.attention_map",
        "GoldLinks": "dlcli.nmt.alignment",
        "Metric": "dlcli.nmt.scoring",
        "NmtModelConfig": "dlcli.nmt.config",
        "NmtTrainConfig": "dlcli.nmt.config",
        "Score": "dlcli.nmt.scoring",
        "SearchConfig": "dlcli.nmt.search_config",
        "Translated": "dlcli.nmt.translator",
        "Translator": "dlcli.nmt.translator",
        "attention_links": "dlcli.nmt.alignment",
        "compare": "dlcli.nmt.scoring",
        "format_pharaoh": "dlcli.nmt.alignment",
        "parse_gold": "dlcli.nmt.alignment",
        "parse_pharaoh": "dlcli.nmt.alignment",
        "score_alignments": "dlcli.nmt.alignment",
        "score_corpus": "dlcli.nmt.scoring",
    },
)
