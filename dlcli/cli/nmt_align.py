"""`dl nmt align`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import OutFlag, RunFlag, Show, add_command, configured
from dlcli.cli.pictures import CheckpointFlag
from dlcli.errors import UsageFault
from dlcli.study.nmt_align_config import NmtAlignConfig

if TYPE_CHECKING:
    from dlcli.study.nmt_alignment import NmtAlignment

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
    source: SourceFlag = None,
    target: TargetFlag = None,
    pairs: PairsFlag = None,
    gold: GoldFlag = None,
    symmetrize: SymmetrizeFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    out: OutFlag = None,
) -> None:
    """Align the words of translations by attention: Pharaoh links, or their error rate."""
    from dlcli.report.alignments import alignment_object, alignment_words
    from dlcli.report.output import write_file

    lines = _lines(source, target, pairs)
    found = _aligned(lines, gold, config, show, runs=(run, symmetrize), checkpoint=checkpoint)
    files = []
    if out is not None:
        text = "".join(f"{links}\n" for links in found.links)
        files = [str(write_file(out, text.encode()))]
    words = [*alignment_words(found), *(f"links {file}" for file in files)]
    show.consoles.result(alignment_object(found, files=files), *words)


def _lines(source: Path | None, target: Path | None, pairs: Path | None) -> list[tuple[str, str]]:
    """Read the pairs from whichever files were named."""
    from dlcli.study.sentence_files import read_joined, read_two, require_lines

    if pairs is not None and source is None and target is None:
        lines = read_joined(pairs)
    elif pairs is None and source is not None and target is not None:
        lines = read_two(source, target)
    else:
        raise UsageFault(
            "`nmt align` needs either --source and --target, or --pairs.",
            hint="Write --source a.en --target a.fr, or --pairs a.en-fr.",
        )
    require_lines(len(lines), name=str(pairs or source))
    return lines


def _aligned(
    lines: list[tuple[str, str]],
    gold: Path | None,
    config: NmtAlignConfig,
    show: Show,
    *,
    runs: tuple[str | None, str | None],
    checkpoint: str | None,
) -> NmtAlignment:
    from dlcli.nmt.trained import find_trained
    from dlcli.report.fraction import FractionProgress
    from dlcli.study import nmt_alignment
    from dlcli.study.sentence_files import read_sentences

    right = None if gold is None else read_sentences(gold)
    notice = show.consoles.notice
    trained = find_trained(runs[0], checkpoint=checkpoint, notice=notice)
    backward = None if runs[1] is None else find_trained(runs[1], notice=notice)
    nmt_alignment.check_directions(trained, backward)
    pairs = nmt_alignment.prepare_pairs(lines, text=config.text, languages=trained.direction)
    links = (
        None if right is None else nmt_alignment.read_gold(right, pairs, index=config.gold_index)
    )
    with FractionProgress(show.consoles, label="nmt align") as at:
        return nmt_alignment.align(trained, pairs, config, backward=backward, gold=links, at=at)
