"""Settings of a search: `dl nmt translate`, `dl nmt attend`, and whoever translates a test set.

Reading this module needs neither torch nor pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from dlcli.engine.config import STRICT, setting
from dlcli.engine.settings import Precision


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How translations are looked for, and where that is computed."""

    __pydantic_config__ = STRICT

    beam_size: int = setting(
        5, flag="--beam", help="hypotheses kept a sentence; 1 is greedy search"
    )
    length_penalty: float = setting(
        1.0,
        flag="--length-penalty",
        help="exponent of the length that log-probabilities are divided by; 0 does not divide",
    )
    max_length: Annotated[int, Ge(0)] = setting(
        0,
        flag="--max-length",
        help="tokens a translation may have; 0 is 10 more than twice the source's",
    )
    batch_size: Annotated[int, Ge(1), Le(100_000)] = setting(
        64, flag="--batch-size", help="sentences translated at a time"
    )
    device: str = setting("auto", flag="--device", help="auto, cpu, cuda, cuda:N or mps")
    precision: Literal[Precision, "int8"] = setting(
        "auto",
        flag="--precision",
        help="fp32, bf16 (autocast), int8 (the decoder's products, on a CPU with VNNI), or auto: "
        "fp32 or bf16, whichever was measured to pay",
    )
    threads: Annotated[int, Ge(0), Le(1024)] = setting(
        0, flag="--threads", help="CPU threads; 0 leaves torch's own choice"
    )
