"""`dl nmt`: train translators, translate, show attention, score, and align words.

Text comes from the command line, from a file, or from a pipe as it is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

import typer

from dlcli.cli.options import (
    TEXT,
    CheckpointFlag,
    OfflineFlag,
    OutFlag,
    RunArgument,
    RunFlag,
    configured,
    one_run,
)
from dlcli.cli.training import (
    ForceFlag,
    InitFlag,
    ResumeFlag,
    SeedsFlag,
    TensorBoardFlag,
    advice,
    is_main_process,
    run_location,
    run_trainings,
    saved_config,
    settle,
    training_listeners,
)
from dlcli.display.console import Consoles, write_file
from dlcli.engine.config import merge
from dlcli.engine.settings import seeds_of
from dlcli.errors import DataError, UsageFault
from dlcli.nmt.config import (
    NmtAlignConfig,
    NmtEvalConfig,
    NmtTrainConfig,
    SearchConfig,
    check_align,
    check_search,
)

if TYPE_CHECKING:
    from dlcli.nmt.attention import AttentionMap
    from dlcli.nmt.evaluation import NmtComparison, NmtEvaluation
    from dlcli.nmt.pairs import Parallel
    from dlcli.nmt.trained import NmtResult
    from dlcli.nmt.translator import Translated, Translator


_saved = partial(saved_config, kind="nmt")

SourceLanguageFlag = Annotated[
    str | None,
    typer.Option(
        "--source-lang",
        help="Language of the first column, or of the first file, such as de. With --target-lang "
        "the long form of --direction. (default: what --data says)",
    ),
]
TargetLanguageFlag = Annotated[
    str | None,
    typer.Option(
        "--target-lang", help="Language to translate into, any name. (default: what --data says)"
    ),
]


def _advice(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the chosen data set recommends, and the direction that its name says."""
    from dlcli.data.catalogue import direction_of

    direction = direction_of(str(given.get("data", {}).get("name", "auto")))
    said = {} if direction is None else {"data": {"direction": direction}}
    return merge(said, advice(given, kind="nmt"))


def _named_languages(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the direction that --source-lang and --target-lang name together."""
    source, target = own["source_lang"], own["target_lang"]
    if source is None and target is None:
        return {}
    if source is None or target is None:
        raise UsageFault(
            "--source-lang and --target-lang go together.",
            hint="Name both, such as --source-lang de --target-lang en.",
        )
    from dlcli.data.languages import language

    return {"data": {"direction": f"{language(source)}-{language(target)}"}}


def _settle(
    configs: Mapping[str, NmtTrainConfig], own: Mapping[str, Any], consoles: Consoles
) -> Mapping[str, Mapping[str, Any]]:
    """Settle the data set; columns without languages are those that were named, in their order."""
    from dlcli.data.catalogue import is_path, split_path

    found = settle(configs, own, consoles, kind="nmt")
    if own["source_lang"] is None:
        return found
    said = {
        label: {"data": {"name": f"{name}:{configs[label].data.direction}"}}
        for label, settled in found.items()
        if is_path(name := settled["data"]["name"]) and split_path(name)[1] is None
    }
    return merge(found, said)


@configured(NmtTrainConfig, advice=_advice, settle=_settle, base=_saved, shorthand=_named_languages)
def train(
    config: NmtTrainConfig,
    consoles: Consoles,
    *,
    source_lang: SourceLanguageFlag = None,  # noqa: ARG001
    target_lang: TargetLanguageFlag = None,  # noqa: ARG001
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    tensorboard: TensorBoardFlag = False,
    init_from: InitFlag = None,
    seeds: SeedsFlag = 1,
) -> None:
    """Train a translator with attention and write a run folder.

    Examples:
        dl nmt train --data grammar
        dl nmt train --data a.de,b.en --epochs 10 --out runs/mine
        dl nmt train --data pairs.tsv --source-lang de --target-lang cs
    """
    results = run_trainings(
        consoles,
        seeds_of(config, seeds),
        chapter="nmt",
        title=f"nmt-{config.data.direction}-seeds",
        out=out,
        resume=resume,
        force=force,
        init_from=init_from,
        tensorboard=tensorboard,
    )
    if results:
        show_results(consoles, results)


def show_results(consoles: Consoles, results: Mapping[str, NmtResult]) -> None:
    """Show one run, or several seeds: every run, then mean and standard deviation."""
    if len(results) == 1:
        from dlcli.nmt.display import translator_facts

        (result,) = results.values()
        consoles.result(result, translator_facts(result))
        return
    from dlcli.display.tables import with_error
    from dlcli.engine.statistics import mean_std
    from dlcli.nmt.display import translators_table
    from dlcli.nmt.trained import summarise

    table = translators_table(results, what="seed")
    scores = [result.valid.bleu for result in results.values() if result.valid is not None]
    words = []
    if scores:
        bleu = mean_std(scores)
        mean = with_error(bleu.mean, bleu.std)
        words.append(f"validation BLEU over {len(results)} seeds: {mean} (mean ± std)")
    consoles.result(summarise(results), table, *words)


RatiosFlag = Annotated[
    tuple[float, ...], typer.Option("--ratios", help="Teacher-forcing ratios to train with.")
]
BinsFlag = Annotated[
    tuple[int, ...],
    typer.Option("--bins", help="BLEU by length: the longest source, in words, of each bin."),
]
BeamFlag = Annotated[
    int, typer.Option("--beam", min=1, help="Beam of the search on the test set; 1 is greedy.")
]
PlotFlag = Annotated[
    Path | None, typer.Option("--plot", help="Figure. (default: forcing.png in the folder)")
]


def saved_cells(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the settings that the trainings to go on with share: all but the ratio."""
    found = _saved(given)
    if found is None:
        return None
    shared = {"teacher_forcing": 1.0, "teacher_forcing_end": None}
    return merge(found, {"objective": shared})


def settle_cells(
    configs: Mapping[str, NmtTrainConfig], own: Mapping[str, Any], consoles: Consoles
) -> Mapping[str, Mapping[str, Any]]:
    """Refuse bins and a figure that cannot be, and settle the data set."""
    check_bins_and_plot(own["bins"], own["plot"])
    return _settle(configs, own, consoles)


@configured(
    NmtTrainConfig,
    advice=_advice,
    settle=settle_cells,
    base=saved_cells,
    shorthand=_named_languages,
)
def compare_forcing(
    config: NmtTrainConfig,
    consoles: Consoles,
    *,
    source_lang: SourceLanguageFlag = None,  # noqa: ARG001
    target_lang: TargetLanguageFlag = None,  # noqa: ARG001
    ratios: RatiosFlag = (1.0, 0.5, 0.0),
    bins: BinsFlag = (5, 10, 15, 20),
    beam: BeamFlag = 1,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    tensorboard: TensorBoardFlag = False,
    plot: PlotFlag = None,
) -> None:
    """Train with and without the teacher, and compare losses, BLEU, and BLEU by length.

    Examples:
        dl nmt compare-forcing --data grammar --ratios 1 0
    """
    check_bins_and_plot(bins, plot)
    with training_listeners(consoles, tensorboard=tensorboard) as listeners:
        from dlcli.nmt import forcing

        cells = forcing.forcing_cells(config, ratios)
        rows = forcing.compare_forcing(
            cells,
            location=run_location(
                consoles, kind="nmt", out=out, resume=resume, force=force, several=True
            ),
            bins=bins,
            beam_size=beam,
            listeners=listeners,
            notice=consoles.notice,
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
        consoles.result(found, forcing_table(rows), f"figure {figure}")


def check_bins_and_plot(edges: Sequence[int], plot: Path | None) -> None:
    """Refuse bins and a figure's name that would fail after the work."""
    from dlcli.display.plots import picture_suffix
    from dlcli.nmt.scoring import length_bins

    length_bins([], edges=edges)
    if plot is not None:
        picture_suffix(plot)


InputFlag = Annotated[
    Path | None,
    typer.Option(
        "--input", "-i", exists=True, dir_okay=False, help="A file of sentences, one a line."
    ),
]
TextArgument = Annotated[
    str | None,
    typer.Argument(
        metavar=TEXT, help="What to translate; - or nothing is standard input, line by line."
    ),
]
NBestFlag = Annotated[
    int,
    typer.Option(
        "--n-best",
        help="Most translations of each line, best first, all different; more than one are shown "
        "as `number ||| translation ||| score`.",
    ),
]
SCORE_DIGITS = 4
"""The last digits of a score depend on the order of its sums and are not shown."""


@configured(SearchConfig)
def translate(
    config: SearchConfig,
    consoles: Consoles,
    *,
    text: TextArgument = None,
    file: InputFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    n_best: NBestFlag = 1,
) -> None:
    """Translate a sentence, a file, or what comes through a pipe; blank lines keep their place.

    Examples:
        dl nmt translate "Good morning."
        cat letter.txt | dl nmt translate --beam 5 --json
    """
    from dlcli.nmt.translator import Translator

    check_search(config, n_best=n_best)
    if text is not None and not text.strip():
        raise UsageFault(
            "TEXT is empty, so there is nothing to translate.",
            hint="Give a sentence in quotes, or pipe lines in: an empty line stays an empty line.",
        )
    groups = line_groups(text, file)
    translator = Translator.load(run, checkpoint=checkpoint, config=config, notice=consoles.notice)
    if is_a_file(text):
        consoles.warning(f"'{text}' is translated as text; for the file write --input {text}.")
    if file is None:
        say_if_waiting_for_typing(text, consoles)
    count, strange, spent = 0, 0, 0.0
    for lines in groups:
        began = time.perf_counter()
        found = translator.translate(lines, config=config, n_best=n_best)
        spent += time.perf_counter() - began
        for one in found:
            words = [one.translation]
            if n_best > 1:  # as Moses writes its n-best lists, lines counted from 0
                words = [
                    f"{count} ||| {best.translation} ||| {best.score:.{SCORE_DIGITS}f}"
                    for best in one.candidates
                ]
            consoles.result(_translation_object(one, n_best=n_best), *words)
            count += 1
            strange += not translator.knows_words_of(one.source)
            for message in _remarks(one, translator=translator, n_best=n_best):
                consoles.notice(f"Line {count:,} {message}")
    if strange:
        consoles.warning(
            f"Lines with words that this model has never seen: {strange:,} of {count:,}. Expect "
            "nonsense there, and train a model on more with `dl nmt train`."
        )
    if count > 1:
        consoles.notice(f"{count:,} lines in {spent:.1f} s: {count / spent:.1f} a second.")


def _translation_object(one: Translated, *, n_best: int) -> dict[str, Any]:
    """Return the fields of `--json`, one object a line."""
    fields: dict[str, Any] = {
        "source": one.source,
        "translation": one.translation,
        "score": round(one.score, SCORE_DIGITS),
        "finished": one.candidates[0].finished,
        "parts": one.parts,
    }
    if n_best > 1:
        fields["n_best"] = [
            {
                "translation": best.translation,
                "score": round(best.score, SCORE_DIGITS),
                "finished": best.finished,
            }
            for best in one.candidates
        ]
    return fields


def _remarks(one: Translated, *, translator: Translator, n_best: int) -> Iterator[str]:
    """Say what is unusual about a translation."""
    if one.parts > 1:
        yield _in_parts(one.parts, translator=translator)
    if not one.candidates[0].finished:
        yield "did not come to an end and was cut off; --max-length allows for more."
    if one.parts and (count := len(one.candidates)) < n_best:
        yield f"has {count} different translations in this beam; a larger --beam finds more."


def _in_parts(count: int, *, translator: Translator) -> str:
    longest = translator.trained.config.data.max_length
    return f"was translated in {count:,} parts: the model was trained on up to {longest} tokens."


LONGEST_STEM = 60
"""Letters of the sentence in a figure's name."""

SentenceArgument = Annotated[
    str | None,
    typer.Argument(metavar=TEXT, help="A sentence; - or nothing is standard input, line by line."),
]
TargetFlag = Annotated[
    str | None,
    typer.Option("--target", help="The translation to read along. (default: the model's own)"),
]
SubwordsFlag = Annotated[
    bool, typer.Option("--subwords", help="Show the pieces instead of merging them to words.")
]
LayerFlag = Annotated[
    int | None,
    typer.Option(
        "--layer",
        help="transformer: layer of the decoder whose attention is shown, from 1. (default: the "
        "last but one)",
    ),
]
HeadFlag = Annotated[
    int | None,
    typer.Option(
        "--head", help="transformer: head of that layer, from 1. (default: the mean of all)"
    ),
]
AttentionFileFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A figure (png, svg, pdf) or the numbers (json, npz). (default: for one sentence, a "
        "PNG in the run's figures)",
    ),
]


@configured(SearchConfig)
def attend(
    config: SearchConfig,
    consoles: Consoles,
    *,
    text: SentenceArgument = None,
    target: TargetFlag = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    subwords: SubwordsFlag = False,
    layer: LayerFlag = None,
    head: HeadFlag = None,
    out: AttentionFileFlag = None,
) -> None:
    """Show where the model looks while it writes: the attention matrix, words on both axes.

    Examples:
        dl nmt attend "The vote is over."
        dl nmt attend "The vote is over." --target "Le vote est clos."
    """
    from dlcli.nmt.display import attention_object, attention_words, check_format, save_attention
    from dlcli.nmt.translator import Translator

    if out is not None:
        check_format(out)
    single = text not in (None, STANDARD_INPUT)
    if not single and (target is not None or out is not None):
        flag = "--target" if target is not None else "--out"
        raise UsageFault(f"{flag} goes with one sentence.", hint="Give it as TEXT, in quotes.")
    translator = Translator.load(run, checkpoint=checkpoint, config=config, notice=consoles.notice)
    for line in _sentences(text, consoles):
        found = translator.attend(
            line, target, subwords=subwords, config=config, layer=layer, head=head
        )
        if found.parts > 1:
            consoles.notice(f"The text {_in_parts(found.parts, translator=translator)}")
        _warn_of_unknown_words(found, consoles)
        path = out
        if path is None and single:
            path = _attention_file(found, translator=translator, target=target)
        files = [save_attention(found, path)] if path is not None else []
        fields = {"run": str(translator.trained.run.path), **attention_object(found, files=files)}
        consoles.result(fields, *attention_words(found), *map(str, files))


def _sentences(text: str | None, consoles: Consoles) -> Iterator[str]:
    """Yield TEXT as one sentence, or the lines of standard input that are not blank."""
    if text is not None and text != STANDARD_INPUT:
        yield text
        return
    say_if_waiting_for_typing(text, consoles)
    for lines in line_groups(text, None):
        yield from (line for line in lines if line.strip())


def _attention_file(found: AttentionMap, *, translator: Translator, target: str | None) -> Path:
    """Return where a figure goes: into the run, or with its name into runs/pictures.

    The name of a figure along a given translation has a digest of that, so that it does not
    replace the figure of the model's own.
    """
    run = translator.trained.run
    words = re.findall(r"\w+", found.text.lower())
    while len("-".join(words)) > LONGEST_STEM and len(words) > 1:
        words.pop()
    ends = ["subwords"] if found.unit == "subwords" else []
    if target is not None:
        ends.insert(0, hashlib.sha256(target.encode(errors="replace")).hexdigest()[:6])
    parts = ["attend", run.mark, "-".join(words)[:LONGEST_STEM], *ends]
    return run.gallery / f"{'-'.join(filter(None, parts))}.png"


def _warn_of_unknown_words(found: AttentionMap, consoles: Consoles) -> None:
    """Warn of words that the vocabulary does not know, and of a translation without an end."""
    for side, words, places in (
        ("sentence", found.source, found.unknown_source),
        ("translation", found.target, found.unknown_target),
    ):
        lost = [words[place] for place in places if words[place] != "<unk>"]
        if lost:
            listed = ", ".join(f"'{word}'" for word in lost)
            consoles.warning(f"The model saw <unk> in the {side} for {listed}.")
    if not found.finished:
        consoles.warning("The translation did not come to an end; --max-length allows for more.")


CountFlag = Annotated[
    int, typer.Option("--n", min=0, help="Pairs to take, from the first; 0 takes all.")
]
SourcesFlag = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="Sentences to translate, a line each, instead of a corpus. (default: none)",
    ),
]
ReferenceFlag = Annotated[
    Path | None, typer.Option("--reference", help="Their translations. (default: none)")
]
AgainstFlag = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="RUN",
        help="Another run: BLEU minus its BLEU, over all and by length. (default: none)",
    ),
]
LengthPlotFlag = Annotated[
    Path | None,
    typer.Option("--plot", help="Figure of BLEU by length, PNG, SVG or PDF. (default: none)"),
]
TranslationsFlag = Annotated[
    Path | None, typer.Option("--out", "-o", help="File for the translations, a line each.")
]


@configured(NmtEvalConfig)
def evaluate(
    config: NmtEvalConfig,
    consoles: Consoles,
    *,
    name: RunArgument = None,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    against: AgainstFlag = None,
    source: SourcesFlag = None,
    reference: ReferenceFlag = None,
    n: CountFlag = 0,
    plot: LengthPlotFlag = None,
    out: TranslationsFlag = None,
) -> None:
    """Score a translator: BLEU, chrF, intervals, BLEU by sentence length, sentences/s.

    Examples:
        dl nmt eval --data grammar
        dl nmt eval runs/mine --beam 5
    """
    from dlcli.display.progress import FractionProgress
    from dlcli.nmt.display import evaluation_figure, evaluation_object, evaluation_words
    from dlcli.nmt.evaluation import check_same_direction, run_split
    from dlcli.nmt.evaluation import evaluate as evaluate_one
    from dlcli.nmt.pairs import to_evaluate
    from dlcli.nmt.scoring import missing_tokenizer
    from dlcli.nmt.translator import Translator

    run = one_run(name, run)
    check_bins_and_plot(config.bins, plot)
    notice, search = consoles.notice, config.search
    sentences = to_evaluate(source, reference, notice=notice)
    translators = [Translator.load(run, checkpoint=checkpoint, config=search, notice=notice)]
    if against is not None:
        translators.append(Translator.load(against, config=search, notice=notice))
        check_same_direction(*translators)
    if sentences is None:
        sentences = run_split(translators[0].trained, config, notice=notice)
    sentences = sentences.first(n)
    if missing := missing_tokenizer(translators[0].trained.direction[1]):
        notice(missing)
    found = []
    for translator in translators:
        with FractionProgress(consoles, label="nmt eval") as progress:
            found.append(evaluate_one(translator, sentences, config, progress=progress))
    difference = _difference(found, sentences, config, translators)
    files = []
    if plot is not None:
        files.append(evaluation_figure(plot, found))
    if out is not None:
        text = "".join(f"{line}\n" for line in found[0].translations)
        files.append(write_file(out, text.encode()))
    words = evaluation_words(found[0], against=difference)
    value = evaluation_object(found[0], against=difference, files=files)
    consoles.result(value, *words, *(f"file {file}" for file in files))


def _difference(
    found: list[NmtEvaluation],
    sentences: Parallel,
    config: NmtEvalConfig,
    translators: list[Translator],
) -> NmtComparison | None:
    """Compare the run with the one of `--against`, if there is one."""
    from dlcli.nmt.evaluation import compare_evaluations, metric_of

    if len(found) < 2:
        return None
    lowercase = any(metric_of(one, config, sentences=sentences).lowercase for one in translators)
    first, other = found
    return compare_evaluations(
        first, other, sentences=sentences, config=config, lowercase=lowercase
    )


CorpusFlag = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A corpus to align instead of files; the links of `grammar` are known, which shows "
        "the error rate. (default: none)",
    ),
]
SplitFlag = Annotated[str, typer.Option("--split", help="Of --data: test, valid, train.")]
AlignSourceFlag = Annotated[
    Path | None, typer.Option("--source", help="Sentences, a line each. (default: none)")
]
AlignTargetFlag = Annotated[
    Path | None, typer.Option("--target", help="Their translations. (default: none)")
]
PairsFlag = Annotated[
    Path | None,
    typer.Option(
        "--pairs",
        help="Both in one file, `source ||| target`; - is standard input. (default: none)",
    ),
]
GoldFlag = Annotated[
    Path | None,
    typer.Option(
        "--gold",
        help="The right links, a line a pair with i-j sure, ipj or i?j possible, or a line a link "
        "with the pair's number first, `12 3 4 S`: shows the error rate. (default: none)",
    ),
]
SymmetrizeFlag = Annotated[
    str | None,
    typer.Option(
        "--symmetrize",
        help="A run of the other direction, whose links are joined in. (default: none)",
        metavar="RUN",
    ),
]

ByLayerFlag = Annotated[
    bool,
    typer.Option(
        "--by-layer",
        help="transformer: compare the links of every layer and head with the right ones, to "
        "choose --layer and --head on validation data.",
    ),
]


@configured(NmtAlignConfig)
def align(
    config: NmtAlignConfig,
    consoles: Consoles,
    *,
    data: CorpusFlag = None,
    split: SplitFlag = "test",
    n: CountFlag = 0,
    offline: OfflineFlag = False,
    source: AlignSourceFlag = None,
    target: AlignTargetFlag = None,
    pairs: PairsFlag = None,
    gold: GoldFlag = None,
    symmetrize: SymmetrizeFlag = None,
    by_layer: ByLayerFlag = False,
    run: RunFlag = None,
    checkpoint: CheckpointFlag = None,
    out: OutFlag = None,
) -> None:
    """Align the words of translations: Pharaoh links, or their error rate.

    Examples:
        dl nmt align --data grammar --n 50
        dl nmt align --pairs pairs.txt --gold gold.txt --gold-index 1
        dl nmt align --data grammar --split valid --by-layer
    """
    from dlcli.display.progress import FractionProgress
    from dlcli.nmt import aligner
    from dlcli.nmt.display import alignment_object, alignment_words
    from dlcli.nmt.pairs import of_corpus, to_align
    from dlcli.nmt.trained import find_trained

    check_align(config, symmetrized=symmetrize is not None)
    if data is not None and any([source, target, pairs, gold]):
        raise UsageFault(
            "--data has its own pairs and links.",
            hint="Leave out --source, --target, --pairs and --gold, or leave out --data.",
        )
    if by_layer and (config.layer or config.head):
        raise UsageFault(
            "--by-layer tries every layer and head.", hint="Leave out --layer and --head."
        )
    notice = consoles.notice
    given, name = None, ""
    if data is None:
        given = to_align(
            source=source, target=target, pairs=pairs, gold=gold, index=config.gold_index
        ).first(n)
        name = given.data
    trained = find_trained(run, checkpoint=checkpoint, notice=notice)
    backward = None if symmetrize is None else find_trained(symmetrize, notice=notice)
    aligner.check_directions(trained, backward)
    if given is None:
        config = dataclasses.replace(config, text="running", gold_index=0)
        given = of_corpus(
            data or "",
            split=split,
            count=n,
            direction=trained.config.data.direction,
            offline=offline,
            notice=notice,
        )
        name = f"{given.data}-{split}"
    with FractionProgress(consoles, label="nmt align") as progress:
        align_pairs = aligner.align_by_layer if by_layer else aligner.align
        found = align_pairs(
            trained,
            given.pairs,
            config,
            data=name,
            backward=backward,
            progress=progress,
            notice=notice,
        )
    files = []
    if out is not None:
        text = "".join(f"{links}\n" for links in found.links)
        files = [str(write_file(out, text.encode()))]
    words = [*alignment_words(found), *(f"links {file}" for file in files)]
    consoles.result(alignment_object(found, files=files), *words)


STANDARD_INPUT = "-"
CHUNK = 1 << 16
"""Bytes read at once: a pipe gives what it has, a file about a thousand lines."""


def line_groups(text: str | None, file: Path | None) -> Iterator[list[str]]:
    """Yield the lines of one source, in groups as large as there are lines at hand.

    Args:
        text: what was given as TEXT; `-` or nothing means standard input.
        file: what was given as --input.

    Raises:
        UsageFault: both were given.
        DataError: the file cannot be read, or a line is not UTF-8; the lines before it have been
            yielded.
    """
    if text is not None and file is not None:
        raise UsageFault("TEXT and --input are two inputs.", hint="Leave out one of them.")
    if file is not None:
        from dlcli.data.text import open_text

        with open_text(file) as stream:
            yield from decoded(cast(Reads, stream), name=str(file))
    elif text is not None and text != STANDARD_INPUT:
        typed = text.removesuffix("\n") + "\n"
        yield from decoded(io.BytesIO(typed.encode(errors="surrogateescape")), name="TEXT")
    elif sys.stdin is not None:
        yield from decoded(cast(Reads, sys.stdin.buffer), name="standard input")


def is_a_file(text: str | None) -> bool:
    """Say whether TEXT is the name of a file that is here, rather than something to read."""
    try:
        return text not in (None, "", STANDARD_INPUT) and Path(text or "").is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or has a NUL in it
        return False


def say_if_waiting_for_typing(text: str | None, consoles: Consoles) -> None:
    """Tell a person at a terminal that lines are read from there."""
    if text in (None, STANDARD_INPUT) and sys.stdin is not None and sys.stdin.isatty():
        consoles.notice("Type sentences, one a line; Ctrl-D ends.")


class Reads(Protocol):
    """A stream that gives what it has, at most so many bytes, and nothing at its end."""

    def read1(self, size: int, /) -> bytes:
        """Read."""
        ...


def decoded(stream: Reads, *, name: str) -> Iterator[list[str]]:
    r"""Yield groups of lines; they end at "\n" or "\r\n", the last one at the end of the file.

    Args:
        stream: bytes in UTF-8, with or without a mark of byte order.
        name: what errors call it.

    Raises:
        DataError: it is packed or UTF-16, or a line is not UTF-8.
    """
    from dlcli.data.text import without_mark

    done = 0
    for block in _blocks(stream):
        lines, fault = _lines(block if done else without_mark(block, name=name))
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
