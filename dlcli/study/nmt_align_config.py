"""Settings of `dl nmt align`; reading this needs neither torch nor pydantic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from dlcli.engine.config import STRICT, setting
from dlcli.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NmtAlignConfig:
    """Everything that `dl nmt align` can be told beside files and runs."""

    __pydantic_config__ = STRICT

    links_from: Literal["auto", "posterior", "attention"] = setting(
        "auto",
        flag="--links-from",
        help="what links are taken from: attention, or the posterior, which weighs attention by "
        "how likely each source word alone makes the target word; auto is the posterior, with "
        "--shift attention",
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
        "intersection",
        flag="--heuristic",
        help="how --symmetrize joins the links of the two directions; grow-diag-final-and is usual "
        "without --combine",
        source="Koehn, Och & Marcu 2003",
    )
    combine: Literal["none", "average", "product"] = setting(
        "average",
        flag="--combine",
        help="with --symmetrize: mix the matrices of the two directions before links are taken; "
        "average with intersection was measured best on Hansards",
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

    @property
    def kind(self) -> Literal["posterior", "attention"]:
        """What links are taken from."""
        if self.links_from == "auto":
            return "attention" if self.shift else "posterior"
        return self.links_from


def check(config: NmtAlignConfig, *, symmetrized: bool) -> None:
    """Refuse settings that contradict one another, or have no effect beside the others.

    Args:
        config: to look at.
        symmetrized: whether there is a model of the other direction.

    Raises:
        ConfigError: it names the flag.
    """
    if config.shift and config.kind == "posterior":
        raise ConfigError(
            "--shift has no meaning for --links-from posterior, which knows the word it links.",
            hint="Use --links-from attention, or leave --shift out.",
        )
    usual = NmtAlignConfig()
    for flag, given, default in (
        ("--heuristic", config.heuristic, usual.heuristic),
        ("--combine", config.combine, usual.combine),
    ):
        if given != default and not symmetrized:
            raise ConfigError(
                f"{flag} {given} joins two directions, and there is one.",
                hint=f"Add --symmetrize RUN, or leave {flag} out.",
            )
