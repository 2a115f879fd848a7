"""Settings of `dl vae eval`: how hard to look, at how many images, by which estimators.

Reading this module needs neither torch nor pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from dlcli.engine.config import STRICT, setting
from dlcli.engine.settings import Precision

DEFAULT_IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class VaeEvalConfig:
    """Everything that `dl vae eval` can be told."""

    __pydantic_config__ = STRICT

    k: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        5000,
        flag="--k",
        help="posterior samples an image in the IWAE bound",
        source="Burda et al. 2016, section 5",
    )
    images: Annotated[int, Ge(1)] | None = setting(
        None,
        flag="--images",
        help=f"test images, drawn once and for all; none is {DEFAULT_IMAGES:,}, or all where there "
        "are fewer",
    )
    ais: bool = setting(
        False,
        flag="--ais/--no-ais",
        help="also estimate by annealed importance sampling, on some of the images",
        source="Wu et al. 2017",
    )
    ais_images: Annotated[int, Ge(1)] = setting(
        16, flag="--ais-images", help="images to anneal, the first of those evaluated"
    )
    ais_chains: Annotated[int, Ge(2), Le(10_000)] = setting(
        64, flag="--ais-chains", help="annealing chains an image; fewer than 32 are never trusted"
    )
    ais_temperatures: Annotated[int, Ge(0), Le(100_000)] = setting(
        0, flag="--ais-temperatures", help="steps from prior to posterior; 0 lets a pilot choose"
    )
    checkpoints: Literal["none", "all"] = setting(
        "none",
        flag="--checkpoints",
        help="all: ELBO, IWAE bound and their gap at every snapshot the run kept, in one figure",
        source="seed, Question 5",
    )
    checkpoints_k: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        500, flag="--checkpoints-k", help="posterior samples an image at a snapshot"
    )
    judge: bool = setting(
        False,
        flag="--judge/--no-judge",
        help="let a digit classifier read generated images and say how ambiguous they are",
        source="seed, Questions 10 and 11",
    )
    judge_images: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        10_000, flag="--judge-images", help="generated images that the judge reads"
    )
    device: str = setting("auto", flag="--device", help="auto, cpu, cuda, cuda:N or mps")
    precision: Precision = setting(
        "fp32",
        flag="--precision",
        help="of the decoder: fp32, bf16 (autocast), or auto, which is fp32",
    )
    seed: Annotated[int, Ge(0), Lt(2**63)] = setting(
        0, flag="--seed", help="of noise and pixels: one number for every random choice"
    )
    threads: Annotated[int, Ge(0), Le(1024)] = setting(
        0, flag="--threads", help="CPU threads; 0 leaves torch's own choice"
    )
