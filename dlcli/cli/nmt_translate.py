"""`dl nmt translate`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcli.cli.options import RunFlag, Show, add_command, configured
from dlcli.cli.pictures import CheckpointFlag
from dlcli.cli.text_input import (
    InputFlag,
    line_groups,
    looks_like_a_file,
    waits_for_typing,
)
from dlcli.nmt.search_config import SearchConfig

if TYPE_CHECKING:
    from dlcli.nmt.translator import Translated, Translator

TextArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEXT]",
        help="What to translate; - or nothing is standard input, line by line.",
        show_default=False,
    ),
]
NBestFlag = Annotated[
    int,
    typer.Option(
        "--n-best",
        help="Translations of each line, best first; more than one are shown as "
        "`number ||| translation ||| score`.",
    ),
]

DIGITS = 4
"""Of a score: what sums in another order would change is not shown."""


def register(app: typer.Typer) -> None:
    """Add `nmt translate`."""
    add_command(app, "translate", translate, cls=SearchConfig)


@configured(SearchConfig)
def translate(
    config: SearchConfig,
    show: Show,
    *,
    text: TextArgument = None,
    file: InputFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    n_best: NBestFlag = 1,
) -> None:
    """Translate a sentence, a file, or what comes through a pipe; blank lines keep their place."""
    from dlcli.nmt.search import check_search
    from dlcli.nmt.translator import Translator

    check_search(beam_size=config.beam_size, length_penalty=config.length_penalty, n_best=n_best)
    consoles = show.consoles
    groups = line_groups(text, file)
    translator = Translator.load(run, checkpoint=checkpoint, config=config, notice=consoles.notice)
    if looks_like_a_file(text):
        consoles.warning(f"'{text}' is translated as text; for the file write --input {text}.")
    if waits_for_typing(text, file):
        consoles.notice("Type sentences, one a line; Ctrl-D ends.")
    count, strange, spent = 0, 0, 0.0
    for lines in groups:
        began = time.perf_counter()
        found = translator.translate(lines, config=config, n_best=n_best)
        spent += time.perf_counter() - began
        for one in found:
            words = [one.translation] if n_best == 1 else ranked_words(one, number=count)
            consoles.result(as_json(one, n_best=n_best), *words)
            count += 1
            strange += not translator.knows_words_of(one.source)
            for message in remarks(one, translator=translator):
                consoles.notice(f"Line {count:,} {message}")
    if strange:
        consoles.warning(
            f"Lines with words that this model has never seen: {strange:,} of {count:,}. Expect "
            "nonsense there, and train a model on more with `dl nmt train`."
        )
    if count > 1:
        consoles.notice(f"{count:,} lines in {spent:.1f} s: {count / spent:.1f} a second.")


def as_json(one: Translated, *, n_best: int) -> dict[str, Any]:
    """Return the fields of `--json`, one object a line."""
    fields: dict[str, Any] = {
        "source": one.source,
        "translation": one.translation,
        "score": round(one.score, DIGITS),
        "finished": one.candidates[0].finished,
        "parts": one.parts,
    }
    if n_best > 1:
        fields["n_best"] = [
            {
                "translation": best.translation,
                "score": round(best.score, DIGITS),
                "finished": best.finished,
            }
            for best in one.candidates
        ]
    return fields


def ranked_words(one: Translated, *, number: int) -> list[str]:
    """Return a line's translations in the form of Moses's n-best lists, lines counted from 0."""
    return [
        f"{number} ||| {best.translation} ||| {best.score:.{DIGITS}f}" for best in one.candidates
    ]


def remarks(one: Translated, *, translator: Translator) -> list[str]:
    """Say what is unusual about a translation."""
    longest = translator.trained.config.data.max_length
    found = []
    if one.parts > 1:
        found.append(
            f"was translated in {one.parts:,} parts: the model was trained on up to {longest} "
            "tokens."
        )
    if not one.candidates[0].finished:
        found.append("did not come to an end and was cut off; --max-length allows for more.")
    return found
