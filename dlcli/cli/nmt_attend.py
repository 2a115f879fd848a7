"""`dl nmt attend`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import RunFlag, Show, add_command, configured
from dlcli.cli.pictures import CheckpointFlag
from dlcli.cli.text_input import line_groups, waits_for_typing
from dlcli.errors import UsageFault
from dlcli.nmt.search_config import SearchConfig

if TYPE_CHECKING:
    from dlcli.nmt.attention_map import AttentionMap
    from dlcli.nmt.translator import Translator
    from dlcli.report import Consoles

LONGEST_STEM = 60
"""Letters of the sentence in a figure's name."""

TextArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEXT]",
        help="A sentence; - or nothing is standard input, line by line.",
        show_default=False,
    ),
]
TargetFlag = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="The translation to read along. (default: the model's own)",
        show_default=False,
    ),
]
SubwordsFlag = Annotated[
    bool, typer.Option("--subwords", help="Show the pieces instead of merging them to words.")
]
FileFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A figure (png, svg, pdf) or the numbers (json, npz). (default: for one sentence, a "
        "PNG in the run's figures)",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add `nmt attend`."""
    add_command(app, "attend", attend, cls=SearchConfig)


@configured(SearchConfig)
def attend(
    config: SearchConfig,
    show: Show,
    *,
    text: TextArgument = None,
    target: TargetFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    subwords: SubwordsFlag = False,
    out: FileFlag = None,
) -> None:
    """Show where the model looks while it writes: the attention matrix, words on both axes."""
    from dlcli.nmt.translator import Translator
    from dlcli.report.attention_maps import (
        attention_fields,
        attention_words,
        check_format,
        save_attention,
    )

    if out is not None:
        check_format(out)
    consoles = show.consoles
    one = text not in (None, "-")
    if not one and (target is not None or out is not None):
        flag = "--target" if target is not None else "--out"
        raise UsageFault(f"{flag} goes with one sentence.", hint="Give it as TEXT, in quotes.")
    translator = Translator.load(run, checkpoint=checkpoint, config=config, notice=consoles.notice)
    for line in sentences(text, consoles=consoles):
        found = translator.attend(line, target, subwords=subwords, config=config)
        _remark(found, consoles=consoles)
        own = default_file(found, translator=translator, given=target) if one else None
        path = out or own
        files = [save_attention(found, path)] if path is not None else []
        fields = {"run": str(translator.trained.run.path), **attention_fields(found, files=files)}
        consoles.result(fields, *attention_words(found), *map(str, files))


def sentences(text: str | None, *, consoles: Consoles) -> Iterator[str]:
    """Yield TEXT as one sentence, or the lines of standard input that are not blank."""
    if text is not None and text != "-":
        yield text
        return
    if waits_for_typing(text, None):
        consoles.notice("Type sentences, one a line; Ctrl-D ends.")
    for lines in line_groups(text, None):
        yield from (line for line in lines if line.strip())


def default_file(found: AttentionMap, *, translator: Translator, given: str | None = None) -> Path:
    """Return where a figure goes: into the run, or here, with its name, if the run came packaged.

    A translation that was given is told by a digest, so that it leaves the model's own alone.
    """
    run = translator.trained.run
    words = re.findall(r"\w+", found.text.lower())
    while len("-".join(words)) > LONGEST_STEM and len(words) > 1:
        words.pop()
    ends = ["subwords"] if found.unit == "subwords" else []
    if given is not None:
        ends.insert(0, hashlib.sha256(given.encode(errors="replace")).hexdigest()[:6])
    parts = ["attend", run.mark, "-".join(words)[:LONGEST_STEM], *ends]
    return run.gallery / f"{'-'.join(part for part in parts if part)}.png"


def _remark(found: AttentionMap, *, consoles: Consoles) -> None:
    """Warn of words that the vocabulary does not know, and of a translation without an end."""
    for side, words, places in (
        ("sentence", found.source, found.unknown_source),
        ("translation", found.target, found.unknown_target),
    ):
        lost = [words[place] for place in places if words[place] != "<unk>"]
        if lost:
            listed = ", ".join(f"'{word}'" for word in lost)
            consoles.warning(f"The model saw <unk> in the {side} for {listed}.")
    if found.target[-1:] != ("</s>",):
        consoles.warning("The translation did not come to an end; --max-length allows for more.")
