"""Settings of `dl nmt eval`; reading this needs neither torch nor pydantic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from dlcli.engine.config import STRICT, setting
from dlcli.nmt.search_config import SearchConfig


@dataclass(frozen=True, kw_only=True)
class NmtEvalConfig:
    """Everything that `dl nmt eval` can be told beside files and runs."""

    __pydantic_config__ = STRICT

    data: str | None = setting(
        None, flag="--data", help="corpus to translate; none is the one the run was trained on"
    )
    split: str = setting(
        "test",
        flag="--split",
        help="test, valid, or a test set's own name, such as test_2017_flickr",
    )
    lowercase: bool = setting(
        False,
        flag="--lowercase/--no-lowercase",
        help="score without regard to case; always so for a run trained on lower case",
    )
    bins: tuple[Annotated[int, Ge(1)], ...] = setting(
        (5, 10, 15, 20, 30, 40),
        flag="--bins",
        help="BLEU by sentence length: the longest source, in words, of each bin",
        source="seed, Question 13",
    )
    resamples: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        1000, flag="--resamples", help="bootstrap resamples behind the intervals"
    )
    offline: bool = setting(
        False, flag="--offline/--no-offline", help="never ask the network for data"
    )
    search: SearchConfig = setting(SearchConfig(), help="how translations are looked for")
