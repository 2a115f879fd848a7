"""Lines of text from the command line, from a file, or from a pipe as they come."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

import typer

from dlcli.cli import options as lists
from dlcli.cli.options import OutFlag, RunFlag, Show, add_command, configured
from dlcli.cli.pictures import CheckpointFlag, OfflineFlag
from dlcli.cli.training import (
    OPTIONAL_VALUES,
    ForceFlag,
    InitFlag,
    ResumeFlag,
    SeedsFlag,
    chosen_place,
    is_main_process,
    saved_config,
    training_listeners,
)
from dlcli.engine.config import merge
from dlcli.errors import DataError, UsageFault
from dlcli.nmt.config import (
    NmtAlignConfig,
    NmtEvalConfig,
    NmtTrainConfig,
    SearchConfig,
    check_align,
)

if TYPE_CHECKING:
    from dlcli.display.console import Consoles
    from dlcli.nmt.attention import AttentionMap
    from dlcli.nmt.evaluation import NmtComparison, NmtEvaluation, Parallel
    from dlcli.nmt.translator import Translated, Translator
    from dlcli.nmt.validation import NmtResult

STANDARD_INPUT = "-"
CHUNK = 1 << 16
"""Bytes read at once: a pipe gives what it has, a file about a thousand lines."""

InputFlag = Annotated[
    Path | None,
    typer.Option(
        "--input",
        "-i",
        exists=True,
        dir_okay=False,
        help="A file of sentences, one a line.",
        show_default=False,
    ),
]


class Reads(Protocol):
    """A stream that gives what it has, at most so many bytes, and nothing at its end."""

    def read1(self, size: int, /) -> bytes:
        """Read."""
        ...


def line_groups(
    text: str | None, file: Path | None, *, flag: str = "--input"
) -> Iterator[list[str]]:
    """Yield the lines of one source, in groups as large as there are lines at hand.

    Args:
        text: what was given as TEXT; `-` or nothing means standard input.
        file: what was given as --input.
        flag: what errors call that.

    Raises:
        UsageFault: both were given.
        DataError: a line is not UTF-8; the lines before it have been yielded.
    """
    if text is not None and file is not None:
        raise UsageFault(f"TEXT and {flag} are two inputs.", hint="Leave out one of them.")
    if file is not None:
        with file.open("rb") as stream:
            yield from decoded(stream, name=str(file))
    elif text is not None and text != STANDARD_INPUT:
        typed = text.removesuffix("\n") + "\n"
        yield from decoded(io.BytesIO(typed.encode(errors="surrogateescape")), name="TEXT")
    elif sys.stdin is not None:
        yield from decoded(cast(Reads, sys.stdin.buffer), name="standard input")


def looks_like_a_file(text: str | None) -> bool:
    """Say whether TEXT is the name of a file that is here, rather than something to read."""
    try:
        return text not in (None, "", STANDARD_INPUT) and Path(text or "").is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or has a NUL in it
        return False


def waits_for_typing(text: str | None, file: Path | None) -> bool:
    """Say whether lines will be read from a person at a terminal."""
    piped = text in (None, STANDARD_INPUT) and file is None
    return piped and sys.stdin is not None and sys.stdin.isatty()


def decoded(stream: Reads, *, name: str) -> Iterator[list[str]]:
    r"""Yield groups of lines; they end at "\n" or "\r\n", the last one at the end of the file.

    Args:
        stream: bytes in UTF-8, with or without a mark of byte order.
        name: what errors call it.

    Raises:
        DataError: a line is not UTF-8.
    """
    done = 0
    for block in _blocks(stream):
        if not done and block.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(
                f"The text of {name} is UTF-16, not UTF-8.",
                hint="Convert it first: `iconv -f UTF-16 -t UTF-8 FILE`.",
            )
        lines, fault = _lines(block if done else block.removeprefix(b"\xef\xbb\xbf"))
        if lines:
            yield lines
        done += len(lines)
        if fault:
            raise DataError(
                f"Line {done + 1:,} of {name} is not UTF-8: {fault}.",
                hint="Convert it first, as in `iconv -f LATIN1 -t UTF-8 FILE`.",
            )


def _blocks(stream: Reads) -> Iterator[bytes]:
    """Yield whole lines, as many as there are, without the end of the last."""
    rest = b""
    while chunk := stream.read1(CHUNK):
        head, end, tail = chunk.rpartition(b"\n")
        if end:
            yield rest + head
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest


def _lines(block: bytes) -> tuple[list[str], str]:
    """Decode lines up to the first that cannot be, and say what is wrong with that one."""
    lines: list[str] = []
    for line in block.split(b"\n"):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            return lines, f"byte {error.start + 1} is 0x{line[error.start]:02x}"
    return lines, ""


# -- `dl nmt train`


def advice(given: dict[str, Any]) -> Mapping[str, Any]:
    """Return what the chosen corpus recommends."""
    from dlcli.data.catalogue import recommended

    return recommended(str(given.get("data", {}).get("name", "auto")), task="nmt")


@configured(NmtTrainConfig, advice=advice, base=saved_config)
def train(
    config: NmtTrainConfig,
    show: Show,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    init_from: InitFlag = None,
    seeds: SeedsFlag = 1,
) -> None:
    """Train a translator with attention and write a run folder."""
    with training_listeners(show) as listeners:
        from dlcli.engine.repeat import seeds_of, train_all, train_once
        from dlcli.nmt import training

        place = chosen_place(show, out=out, resume=resume, force=force, several=seeds > 1)
        if seeds == 1:
            result = train_once(
                config,
                train=training.train,
                place=place,
                init_from=init_from,
                listeners=listeners,
            )
            results = {"": result} if result is not None else {}
        else:
            results = train_all(
                seeds_of(config, seeds),
                train=training.train,
                place=place,
                title=f"nmt-{config.data.direction}-seeds",
                tolerant=False,
                init_from=init_from,
                listeners=listeners,
            )
    if results and is_main_process():
        show_results(show, results)


def show_results(show: Show, results: Mapping[str, NmtResult]) -> None:
    """Show one run, or several seeds: every run, then mean and standard deviation."""
    if len(results) == 1:
        from dlcli.nmt.display import translator_facts

        (result,) = results.values()
        show.consoles.result(result, translator_facts(result))
        return
    from dlcli.display.tables import with_error
    from dlcli.engine.repeat import spread
    from dlcli.nmt.display import translators_table
    from dlcli.nmt.forcing import summarise

    table = translators_table(results, what="seed")
    scores = [result.valid.bleu for result in results.values() if result.valid is not None]
    words = []
    if scores:
        bleu = spread(scores)
        mean = with_error(bleu.mean, bleu.std)
        words.append(f"validation BLEU over {len(results)} seeds: {mean} (mean ± std)")
    show.consoles.result(summarise(results), table, *words)


# -- `dl nmt compare-forcing`

RATIOS, BINS = "1,0.5,0", "5,10,15,20"

RatiosFlag = Annotated[
    str,
    typer.Option("--ratios", metavar="<float>…", help="Teacher-forcing ratios to train with."),
]
BinsFlag = Annotated[
    str,
    typer.Option(
        "--bins",
        metavar="<int>…",
        help="BLEU by length: the longest source, in words, of each bin.",
    ),
]
BeamFlag = Annotated[
    int, typer.Option("--beam", min=1, help="Beam of the search on the test set; 1 is greedy.")
]
PlotFlag = Annotated[
    Path | None,
    typer.Option("--plot", help="Figure. (default: forcing.png in the folder)", show_default=False),
]


def saved_cells(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the settings that the trainings to go on with share: all but the ratio."""
    found = saved_config(given)
    if found is None:
        return None
    shared = {"teacher_forcing": 1.0, "teacher_forcing_end": None}
    return merge(found, {"objective": shared})


@configured(NmtTrainConfig, advice=advice, base=saved_cells)
def compare_forcing(
    config: NmtTrainConfig,
    show: Show,
    *,
    ratios: RatiosFlag = RATIOS,
    bins: BinsFlag = BINS,
    beam: BeamFlag = 1,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Train with and without the teacher, and compare losses, BLEU, and BLEU by length."""
    edges = [int(edge) for edge in _numbers(bins, int, flag="--bins", example="5 10 15")]
    _check_before_the_work(edges, plot)
    with training_listeners(show) as listeners:
        from dlcli.nmt import forcing

        cells = forcing.forcing_cells(
            config, _numbers(ratios, float, flag="--ratios", example="1 0.5 0")
        )
        rows = forcing.compare_forcing(
            cells,
            place=chosen_place(show, out=out, resume=resume, force=force, several=True),
            bins=edges,
            beam_size=beam,
            listeners=listeners,
            notice=show.consoles.notice,
        )
    if rows and is_main_process():
        from dlcli.nmt.display import forcing_figure, forcing_object, forcing_table

        base = Path(rows[0].trained.run).parent
        figure = forcing_figure((plot or base / "forcing.png").absolute(), rows)
        found = {
            "run": str(base),
            "data": rows[0].trained.data,
            "results": forcing_object(rows),
            "files": [str(figure)],
        }
        show.consoles.result(found, forcing_table(rows), f"figure {figure}")


def _check_before_the_work(edges: list[int], plot: Path | None) -> None:
    from dlcli.display.plots import picture_suffix
    from dlcli.nmt.scoring import length_bins

    length_bins([], edges=edges)
    if plot is not None:
        picture_suffix(plot)


def _numbers(text: str, kind: type[float], *, flag: str, example: str) -> list[float]:
    try:
        return [kind(word) for word in lists.split(text)]
    except ValueError:
        raise UsageFault(f"{flag} cannot read '{text}'.", hint=f"Write {flag} {example}.") from None


# -- `dl nmt translate`

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


# -- `dl nmt attend`

LONGEST_STEM = 60
"""Letters of the sentence in a figure's name."""

SentenceArgument = Annotated[
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


@configured(SearchConfig)
def attend(
    config: SearchConfig,
    show: Show,
    *,
    text: SentenceArgument = None,
    target: TargetFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    subwords: SubwordsFlag = False,
    out: FileFlag = None,
) -> None:
    """Show where the model looks while it writes: the attention matrix, words on both axes."""
    from dlcli.nmt.display import attention_fields, attention_words, check_format, save_attention
    from dlcli.nmt.translator import Translator

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


# -- `dl nmt eval`

RunArgument = Annotated[
    str | None, typer.Argument(metavar="RUN", help="The same as --run.", show_default=False)
]
EvalInputFlag = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="Sentences to translate, a line each, instead of a corpus. (default: none)",
        show_default=False,
    ),
]
ReferenceFlag = Annotated[
    Path | None,
    typer.Option("--reference", help="Their translations. (default: none)", show_default=False),
]
AgainstFlag = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="RUN",
        help="Another run: BLEU minus its BLEU, over all and by length. (default: none)",
        show_default=False,
    ),
]
EvalPlotFlag = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Figure of BLEU by length, PNG, SVG or PDF. (default: none)",
        show_default=False,
    ),
]
TranslationsFlag = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File for the translations, a line each.", show_default=False),
]


@configured(NmtEvalConfig)
def evaluate(
    config: NmtEvalConfig,
    show: Show,
    *,
    name: RunArgument = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    against: AgainstFlag = None,
    source: EvalInputFlag = None,
    reference: ReferenceFlag = None,
    plot: EvalPlotFlag = None,
    out: TranslationsFlag = None,
) -> None:
    """Score a translator: BLEU, chrF, intervals, BLEU by sentence length, sentences/s."""
    from dlcli.display.plots import picture_suffix
    from dlcli.nmt.display import translation_object, translation_words
    from dlcli.nmt.evaluation import parallel_files

    if name is not None and run is not None and name != run:
        raise UsageFault(f"'{name}' and --run {run} are two runs.", hint="Name one of them.")
    if plot is not None:
        picture_suffix(plot)
    files = parallel_files(source, reference)
    translators = _translators(run or name, against, config, show, checkpoint=checkpoint)
    sentences = files or _split(translators[0], config, show)
    found = [_evaluated(one, sentences, config, show) for one in translators]
    difference = _difference(found, sentences, config, translators)
    written = _written(found, plot=plot, out=out)
    words = translation_words(found[0], against=difference)
    value = translation_object(found[0], against=difference, files=written)
    show.consoles.result(value, *words, *(f"file {file}" for file in written))


def _translators(
    run: str | None,
    against: str | None,
    config: NmtEvalConfig,
    show: Show,
    *,
    checkpoint: str | None,
) -> list[Translator]:
    """Read back the run, and the one it is held against."""
    from dlcli.nmt.evaluation import check_same_direction
    from dlcli.nmt.scoring import length_bins
    from dlcli.nmt.translator import Translator

    length_bins([], edges=config.bins)
    notice, search = show.consoles.notice, config.search
    found = [Translator.load(run, checkpoint=checkpoint, config=search, notice=notice)]
    if against is not None:
        found.append(Translator.load(against, config=search, notice=notice))
        check_same_direction(*found)
    return found


def _split(translator: Translator, config: NmtEvalConfig, show: Show) -> Parallel:
    from dlcli.nmt.evaluation import load_parallel

    return load_parallel(translator.trained, config, notice=show.consoles.notice)


def _evaluated(
    translator: Translator, sentences: Parallel, config: NmtEvalConfig, show: Show
) -> NmtEvaluation:
    from dlcli.display.progress import FractionProgress
    from dlcli.nmt.evaluation import evaluate

    with FractionProgress(show.consoles, label="nmt eval") as at:
        return evaluate(translator, sentences, config, at=at)


def _difference(
    found: list[NmtEvaluation],
    sentences: Parallel,
    config: NmtEvalConfig,
    translators: list[Translator],
) -> NmtComparison | None:
    from dlcli.nmt.evaluation import compare_evaluations, metric_of

    if len(found) < 2:
        return None
    lowercase = any(metric_of(one, config).lowercase for one in translators)
    first, other = found
    return compare_evaluations(
        first, other, sentences=sentences, config=config, lowercase=lowercase
    )


def _written(found: list[NmtEvaluation], *, plot: Path | None, out: Path | None) -> list[Path]:
    """Write the figure and the translations that were asked for."""
    from dlcli.display.console import write_file
    from dlcli.nmt.display import length_figure

    written = []
    if plot is not None:
        written.append(length_figure(plot, found))
    if out is not None:
        text = "".join(f"{line}\n" for line in found[0].translations)
        written.append(write_file(out, text.encode()))
    return written


# -- `dl nmt align`

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
AlignTargetFlag = Annotated[
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
    target: AlignTargetFlag = None,
    pairs: PairsFlag = None,
    gold: GoldFlag = None,
    symmetrize: SymmetrizeFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    out: OutFlag = None,
) -> None:
    """Align the words of translations: Pharaoh links, or their error rate."""
    from dlcli.display.console import write_file
    from dlcli.display.progress import FractionProgress
    from dlcli.nmt import aligner
    from dlcli.nmt.display import alignment_object, alignment_words
    from dlcli.nmt.trained import find_trained

    check_align(config, symmetrized=symmetrize is not None)
    named = [source, target, pairs, gold]
    if data is not None and any(named):
        raise UsageFault(
            "--data has its own pairs and links.",
            hint="Leave out --source, --target, --pairs and --gold, or leave out --data.",
        )
    notice = show.consoles.notice
    given = None
    if data is None:
        given = aligner.pairs_of_files(source=source, target=target, pairs=pairs, gold=gold)
    trained = find_trained(run, checkpoint=checkpoint, notice=notice)
    backward = None if symmetrize is None else find_trained(symmetrize, notice=notice)
    aligner.check_directions(trained, backward)
    if given is None:
        config = dataclasses.replace(config, text="running", gold_index=0)
        given = aligner.pairs_of_corpus(
            data or "",
            split=split,
            count=n,
            direction=trained.config.data.direction,
            offline=offline,
            notice=notice,
        )
    called, lines = given
    with FractionProgress(show.consoles, label="nmt align") as at:
        found = aligner.align(trained, lines, config, data=called, backward=backward, at=at)
    files = []
    if out is not None:
        text = "".join(f"{links}\n" for links in found.links)
        files = [str(write_file(out, text.encode()))]
    words = [*alignment_words(found), *(f"links {file}" for file in files)]
    show.consoles.result(alignment_object(found, files=files), *words)


def register(app: typer.Typer) -> None:
    """Add the commands of `nmt`."""
    add_command(app, "train", train, cls=NmtTrainConfig, optional=OPTIONAL_VALUES)
    add_command(
        app,
        "compare-forcing",
        compare_forcing,
        cls=NmtTrainConfig,
        list_options={"--ratios": lists.is_float, "--bins": lists.is_int},
        optional=OPTIONAL_VALUES,
    )
    add_command(app, "translate", translate, cls=SearchConfig)
    add_command(app, "attend", attend, cls=SearchConfig)
    add_command(app, "eval", evaluate, cls=NmtEvalConfig)
    add_command(app, "align", align, cls=NmtAlignConfig)
