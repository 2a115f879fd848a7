"""`dl nmt align`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import OutFlag, RunFlag, Show, add_command, configured
from dlcli.cli.pictures import CheckpointFlag, OfflineFlag
from dlcli.errors import UsageFault
from dlcli.study.nmt_align_config import NmtAlignConfig, check

if TYPE_CHECKING:
    from dlcli.nmt.trained import Trained
    from dlcli.study.aligned_pairs import AlignedPairs
    from dlcli.study.nmt_alignment import NmtAlignment

DataFlag = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A corpus to align instead of files; the links of `grammar` are known, which shows "
        "the error rate. (default: none)",
        show_default=False,
    ),
]
SplitFlag = Annotated[str, typer.Option("--split", help="Of --data: test, valid, train.")]
CountFlag = Annotated[
    int, typer.Option("--n", min=0, help="Of --data: pairs, from the first; 0 takes all.")
]

SourceFlag = Annotated[
    Path | None,
    typer.Option("--source", help="Sentences, a line each. (default: none)", show_default=False),
]
TargetFlag = Annotated[
    Path | None,
    typer.Option("--target", help="Their translations. (default: none)", show_default=False),
]
PairsFlag = Annotated[
    Path | None,
    typer.Option(
        "--pairs",
        help="Both in one file, `source ||| target`; - is standard input. (default: none)",
        show_default=False,
    ),
]
GoldFlag = Annotated[
    Path | None,
    typer.Option(
        "--gold",
        help="The right links, i-j sure and ipj possible: shows the error rate. (default: none)",
        show_default=False,
    ),
]
SymmetrizeFlag = Annotated[
    str | None,
    typer.Option(
        "--symmetrize",
        help="A run of the other direction, whose links are joined in. (default: none)",
        metavar="RUN",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add `nmt align`."""
    add_command(app, "align", align, cls=NmtAlignConfig)


@configured(NmtAlignConfig)
def align(
    config: NmtAlignConfig,
    show: Show,
    *,
    data: DataFlag = None,
    split: SplitFlag = "test",
    n: CountFlag = 0,
    offline: OfflineFlag = False,
    source: SourceFlag = None,
    target: TargetFlag = None,
    pairs: PairsFlag = None,
    gold: GoldFlag = None,
    symmetrize: SymmetrizeFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    out: OutFlag = None,
) -> None:
    """Align the words of translations: Pharaoh links, or their error rate."""
    from dlcli.nmt.trained import find_trained
    from dlcli.report.alignments import alignment_object, alignment_words
    from dlcli.report.output import write_file
    from dlcli.study import aligned_pairs

    check(config, symmetrized=symmetrize is not None)
    named = [source, target, pairs, gold]
    if data is not None and any(named):
        raise UsageFault(
            "--data has its own pairs and links.",
            hint="Leave out --source, --target, --pairs and --gold, or leave out --data.",
        )
    notice = show.consoles.notice
    lines = None
    if data is None:
        lines = aligned_pairs.pairs_of_files(source=source, target=target, pairs=pairs, gold=gold)
    trained = find_trained(run, checkpoint=checkpoint, notice=notice)
    backward = None if symmetrize is None else find_trained(symmetrize, notice=notice)
    if lines is None:
        config = dataclasses.replace(config, text="running", gold_index=0)
        lines = aligned_pairs.pairs_of_corpus(
            data or "",
            split=split,
            count=n,
            direction=trained.config.data.direction,
            offline=offline,
            notice=notice,
        )
    found = _aligned(lines, trained, config, show, backward=backward)
    files = []
    if out is not None:
        text = "".join(f"{links}\n" for links in found.links)
        files = [str(write_file(out, text.encode()))]
    words = [*alignment_words(found), *(f"links {file}" for file in files)]
    show.consoles.result(alignment_object(found, files=files), *words)


def _aligned(
    given: AlignedPairs,
    trained: Trained,
    config: NmtAlignConfig,
    show: Show,
    *,
    backward: Trained | None,
) -> NmtAlignment:
    from dlcli.report.fraction import FractionProgress
    from dlcli.study.nmt_alignment import align, check_directions, prepare_pairs, read_gold

    check_directions(trained, backward)
    pairs = prepare_pairs(given.lines, text=config.text, languages=trained.direction)
    gold = None if given.gold is None else read_gold(given.gold, pairs, index=config.gold_index)
    with FractionProgress(show.consoles, label="nmt align") as at:
        return align(trained, pairs, config, data=given.name, backward=backward, gold=gold, at=at)
