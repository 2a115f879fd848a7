"""Settings of `dl nmt align`; reading this needs neither torch nor pydantic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from dlcli.engine.config import STRICT, setting


@dataclass(frozen=True, kw_only=True)
class NmtAlignConfig:
    """Everything that `dl nmt align` can be told beside files and runs."""

    __pydantic_config__ = STRICT

    links_from: Literal["posterior", "attention"] = setting(
        "posterior",
        flag="--links-from",
        help="what links are taken from: attention, or the posterior, which weighs attention by "
        "how likely each source word alone makes the target word",
        source="Brown et al. 1993; Shankar & Sarawagi 2019",
    )
    threshold: Annotated[float, Ge(0), Lt(1)] = setting(
        0.0,
        flag="--threshold",
        help="leave out links of no more than this share of a word",
    )
    shift: bool = setting(
        False,
        flag="--shift/--no-shift",
        help="link a word by the row one step later, when it is the decoder's input",
        source="Chen et al. 2020",
    )
    heuristic: Literal[
        "intersection", "union", "grow-diag", "grow-diag-final-and", "forward", "backward"
    ] = setting(
        "grow-diag-final-and",
        flag="--heuristic",
        help="how --symmetrize joins the links of the two directions",
        source="Koehn, Och & Marcu 2003",
    )
    combine: Literal["none", "average", "product"] = setting(
        "none",
        flag="--combine",
        help="with --symmetrize: mix the matrices of the two directions before links are taken",
    )
    text: Literal["tokens", "running"] = setting(
        "tokens",
        flag="--text",
        help="what the lines are: tokens between spaces, put together before they are read "
        "(elisions and contractions done), or running text as it is",
    )
    gold_index: Annotated[int, Ge(0), Le(1)] = setting(
        0, flag="--gold-index", help="the number of the first word in the gold file: 0 or 1"
    )
    device: str = setting("auto", flag="--device", help="auto, cpu, cuda, cuda:N or mps")
    threads: Annotated[int, Ge(0), Le(1024)] = setting(
        0, flag="--threads", help="CPU threads; 0 leaves torch's own choice"
    )
