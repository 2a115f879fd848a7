"""`dl nmt eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcli.cli.options import RunFlag, Show, add_command, configured
from dlcli.cli.pictures import CheckpointFlag
from dlcli.errors import UsageFault
from dlcli.study.nmt_eval_config import NmtEvalConfig

if TYPE_CHECKING:
    from dlcli.nmt.translator import Translator
    from dlcli.study.nmt_evaluation import NmtComparison, NmtEvaluation
    from dlcli.study.parallel import Parallel

RunArgument = Annotated[
    str | None, typer.Argument(metavar="RUN", help="The same as --run.", show_default=False)
]
InputFlag = Annotated[
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
PlotFlag = Annotated[
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


def register(app: typer.Typer) -> None:
    """Add `nmt eval`."""
    add_command(app, "eval", evaluate, cls=NmtEvalConfig)


@configured(NmtEvalConfig)
def evaluate(
    config: NmtEvalConfig,
    show: Show,
    *,
    name: RunArgument = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    against: AgainstFlag = None,
    source: InputFlag = None,
    reference: ReferenceFlag = None,
    plot: PlotFlag = None,
    out: TranslationsFlag = None,
) -> None:
    """Score a translator: BLEU, chrF, intervals, BLEU by sentence length, sentences/s."""
    from dlcli.report.canvas import picture_suffix
    from dlcli.report.translations import translation_object, translation_words
    from dlcli.study.parallel import parallel_files

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
    from dlcli.nmt.translator import Translator
    from dlcli.study.nmt_evaluation import bins_of, check_same_direction

    bins_of([], edges=config.bins)
    notice, search = show.consoles.notice, config.search
    found = [Translator.load(run, checkpoint=checkpoint, config=search, notice=notice)]
    if against is not None:
        found.append(Translator.load(against, config=search, notice=notice))
        check_same_direction(*found)
    return found


def _split(translator: Translator, config: NmtEvalConfig, show: Show) -> Parallel:
    from dlcli.study.parallel import load_parallel

    return load_parallel(translator.trained, config, notice=show.consoles.notice)


def _evaluated(
    translator: Translator, sentences: Parallel, config: NmtEvalConfig, show: Show
) -> NmtEvaluation:
    from dlcli.report.fraction import FractionProgress
    from dlcli.study.nmt_evaluation import evaluate

    with FractionProgress(show.consoles, label="nmt eval") as at:
        return evaluate(translator, sentences, config, at=at)


def _difference(
    found: list[NmtEvaluation],
    sentences: Parallel,
    config: NmtEvalConfig,
    translators: list[Translator],
) -> NmtComparison | None:
    from dlcli.study.nmt_evaluation import compare_evaluations, metric_of

    if len(found) < 2:
        return None
    lowercase = any(metric_of(one, config).lowercase for one in translators)
    first, other = found
    return compare_evaluations(
        first, other, sentences=sentences, config=config, lowercase=lowercase
    )


def _written(found: list[NmtEvaluation], *, plot: Path | None, out: Path | None) -> list[Path]:
    """Write the figure and the translations that were asked for."""
    from dlcli.report.output import write_file
    from dlcli.report.translations import length_figure

    written = []
    if plot is not None:
        written.append(length_figure(found[0], plot, others=found[1:]))
    if out is not None:
        text = "".join(f"{line}\n" for line in found[0].translations)
        written.append(write_file(out, text.encode()))
    return written
