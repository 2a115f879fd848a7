"""Question 12: where a translator looks, against alignments that are known."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch

from dlcli.assignment.lab import Lab, stored_result, stored_signature
from dlcli.assignment.page import losses_figure
from dlcli.assignment.question import Answer, Figure, Number, Question, figure
from dlcli.data.catalogue import named
from dlcli.data.grammar.corpus import load_grammar
from dlcli.engine.session import Place
from dlcli.nmt.aligner import KINDS, NmtAlignment, align, pairs_of_corpus
from dlcli.nmt.alignment import Links, parse_pharaoh
from dlcli.nmt.attention import AttentionMap
from dlcli.nmt.config import NmtAlignConfig, NmtEvalConfig, SearchConfig
from dlcli.nmt.display import forcing_figure, lengths_figure, save_attention
from dlcli.nmt.evaluation import (
    NmtEvaluation,
    Parallel,
    compare_evaluations,
    evaluate,
    load_parallel,
)
from dlcli.nmt.forcing import ForcingRow, compare_forcing, forcing_cells
from dlcli.nmt.trained import Trained, load_trained
from dlcli.nmt.translator import Translator

SENTENCE = "The agreement on the European Economic Area was signed in August 1992."
TARGET = "L'accord sur la zone économique européenne a été signé en août 1992."
ARTICLE, HEAD = "la", "Area"
RESAMPLES = 1000
NAMES = {"attention": "of attention", "posterior": "of the posterior"}
"""What links are taken from, and how the numbers say it."""
TUNED = (
    "The settings of the packaged translator were chosen with an eye on this error rate, so take "
    "it for what such a network can reach rather than for a blind test."
)
OTHERS = "on Hansards, other data: `fast_align` 16.4 % one way, 10.5 % both ways; eflomal 8.2 %"


def answer_attention(lab: Lab) -> Answer:
    """Show the attention of the paper's own example, and score attention as an alignment."""
    trained, name = lab.translator
    search = SearchConfig(device=lab.device, threads=lab.threads)
    translator = Translator.load(trained.run.path, config=search)
    found = translator.attend(SENTENCE, TARGET, config=search)
    back, steps = found.steps_back
    return Answer(
        words=(
            "A row of the matrix is a word of the translation, and shows which source words it was "
            "made from. Mostly this is the diagonal, since the two languages put their words in "
            "much the same order. Where it is not, the figure earns its place: “European Economic "
            "Area” becomes “zone économique européenne”, and attention walks backwards over the "
            "three words.",
            "French articles agree with their noun, and the English “the” does not know the "
            "gender; so “la” has reason to look at “Area” as well. The assignment's own matrices "
            "had not come out well, and it commented those of Bahdanau et al. instead. Here the "
            "links are known by construction, so that attention can be *scored* as an alignment. "
            "Attention says where the decoder looked before it chose a word; the posterior, which "
            "`dl nmt align` takes links from, weighs that by how likely each source word alone "
            "makes the word that was chosen.",
        ),
        formula="e_ij = vᵀ tanh(W s_i + U h_j),   α_i = softmax(e_i),   c_i = Σ_j α_ij h_j",
        numbers=(
            *_alignment(trained, lab),
            Number(
                name=f"steps against the diagonal, of {steps} in the figure",
                value=back,
                reference="2, zone → économique → européenne: Bahdanau et al., figure 3",
                signature=found.signature,
            ),
            *_article(found),
        ),
        figures=(
            figure(
                functools.partial(save_attention, found),
                alt="Attention matrix, French words in rows and English words in columns: dark "
                "cells along the diagonal, but against it for zone économique européenne.",
                caption=f"`{name}` while it writes “{found.translation}”",
                is_picture=True,
            ),
        ),
        commands=(
            f'dl nmt attend "{SENTENCE}" --target "{TARGET}" --run {name} --out attention.svg',
            *(f"dl nmt align --data grammar --links-from {kind} --run {name}" for kind in KINDS),
        ),
        notes=(TUNED,) if name == "pretrained:nmt-grammar" else (),
    )


def _article(found: AttentionMap) -> list[Number]:
    """Return how much of the article's attention goes to the noun that gives it its gender."""
    if ARTICLE not in found.target or HEAD not in found.source:
        return []
    weight = found.matrix[found.target.index(ARTICLE), found.source.index(HEAD)]
    return [
        Number(
            name=f"attention of “{ARTICLE}” on “{HEAD}”",
            value=100 * float(weight),
            digits=2,
            unit="%",
            reference="visible in Bahdanau et al., figure 3; not published as a number",
            signature=found.signature,
        )
    ]


def _alignment(trained: Trained, lab: Lab) -> list[Number]:
    """Score links between the words of the grammar's test sentences against the known ones."""
    if trained.config.data.direction != "en-fr":
        return []
    name, pairs = pairs_of_corpus(
        "grammar", count=lab.sizes.sentences, direction="en-fr", offline=True, notice=lab.notice
    )
    known = list(map(parse_pharaoh, pairs.links or ()))
    found = []
    for kind in KINDS:
        config = NmtAlignConfig(
            links_from=kind, text="running", device=lab.device, threads=lab.threads
        )
        found.append(_error_rate(align(trained, pairs, config, data=name), known))
    return found


def _error_rate(found: NmtAlignment, known: Sequence[Links]) -> Number:
    low, high = interval_of_aer(list(map(parse_pharaoh, found.links)), known)
    assert found.score is not None, "the links of the grammar are known"
    return Number(
        name=f"alignment error rate {NAMES[found.links_from]}, {found.sentences:,} sentences of "
        "the grammar",
        value=100 * found.score.aer,
        ci95=(100 * low, 100 * high),
        spread="95% interval over sentences",
        digits=2,
        unit="%",
        reference=OTHERS,
        signature=found.signature.replace("|version:", f"|resamples:{RESAMPLES}|version:"),
    )


def interval_of_aer(
    predicted: Sequence[Links], known: Sequence[Links], *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of an alignment error rate over resampled sentences.

    All known links are sure, so the rate is 1 − 2·hits / (predicted + known).
    """
    hits = np.array([len(a & b) for a, b in zip(predicted, known, strict=True)])
    sizes = np.array([len(a) + len(b) for a, b in zip(predicted, known, strict=True)])
    rows = np.random.default_rng(seed).integers(len(hits), size=(RESAMPLES, len(hits)))
    rates = 1 - 2 * hits[rows].sum(1) / np.maximum(sizes[rows].sum(1), 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


ATTENTION = Question(
    number=12,
    chapter="Attention",
    title="Where a translator looks",
    asks="What do attention matrices show, and why are they not simply diagonal?",
    answer=answer_attention,
    needs=("nmt",),
)


# -- Question 13: what a decoder loses when it must live from one vector

PUBLISHED = {
    True: "26.75, RNNsearch-50; 28.45 trained longer (WMT14 en-fr; Bahdanau et al.)",
    False: "17.82, RNNencdec-50, one vector (WMT14 en-fr; Bahdanau et al.)",
}
"""With attention, and without."""
WORTH = {
    True: "So what attention is worth should grow with the length of the sentence; the figure "
    "shows how far it does.",
    False: "How much a decoder has come to lean on it can be seen by taking it away: below, the "
    "same translator with its own attention, and with one that cannot tell a word from another.",
}
"""What the experiment shows: of a network trained without, and of one robbed of its attention."""


def answer_memory(lab: Lab) -> Answer:
    """Translate a test set with attention and without, and compare by length of the sentence."""
    trained, name = lab.translator
    other, what = _without_attention(trained, lab)
    config = NmtEvalConfig(
        offline=True,
        search=SearchConfig(beam_size=lab.sizes.beam_size, device=lab.device, threads=lab.threads),
    )
    sentences = sentences_of(trained, config, lab=lab)
    with_it, without = (
        evaluate(_translator(one, config), sentences, config) for one in (trained, other)
    )
    gain = compare_evaluations(
        with_it,
        without,
        sentences=sentences,
        config=config,
        lowercase=trained.config.data.lowercase,
    )
    sign = without.signature if lab.sizes.trained_here else _uniform(without.signature)
    return Answer(
        words=(
            "Without attention the encoder has to press a sentence of any length into one vector, "
            "and the decoder has to unpack it word by word from memory. Giving the decoder the "
            "t-th source word at step t would not help, because the languages order their words "
            "differently. Attention solves both: everything the encoder saw stays in reach, and "
            "the decoder learns which part of it the next word is made from.",
            WORTH[lab.sizes.trained_here],
        ),
        numbers=(
            _bleu("BLEU with attention", with_it, with_it.signature, reference=PUBLISHED[True]),
            _bleu(
                f"BLEU {what}",
                without,
                sign,
                reference=PUBLISHED[False] if lab.sizes.trained_here else "",
            ),
            Number(
                name="difference, the same sentences resampled for both",
                value=gain.difference.value,
                ci95=gain.difference.ci95,
                spread="95% interval over sentences",
                unit="BLEU",
                reference="8.93 between the published two" if lab.sizes.trained_here else "",
                signature=sign,
            ),
        ),
        figures=(
            figure(
                functools.partial(lengths_figure, {"with attention": with_it, what: without}),
                alt="BLEU against the length of the source sentence, one line with attention and "
                "one without.",
                caption=f"BLEU by sentence length with 95% intervals; {with_it.data}, "
                f"{with_it.sentences:,} test sentences.",
            ),
        ),
        commands=_commands(lab, name=name),
        notes=_notes(lab, sentences=sentences, trained=trained),
    )


def _without_attention(trained: Trained, lab: Lab) -> tuple[Trained, str]:
    """Return a translator without attention: trained so, or the same one robbed of it."""
    if lab.sizes.trained_here:
        run = lab.train_translator("nmt-none", {"model": {"attention": "none"}})
        return load_trained(run), "without attention"
    return uniform_attention(trained), "with attention made uniform"


def uniform_attention(trained: Trained) -> Trained:
    """Return a copy whose attention is the same on all words: its v is zero, so all scores are."""
    model = copy.deepcopy(trained.model)
    attention = model.decoder.attention
    assert attention is not None, "the model has attention"
    with torch.no_grad():
        attention.v.zero_()
    return dataclasses.replace(trained, model=model)


def _translator(trained: Trained, config: NmtEvalConfig) -> Translator:
    """Put a model to work where `dl nmt eval` would."""
    place = Translator.load(trained.run.path, config=config.search)
    return Translator(trained, compute=place.compute)


def sentences_of(trained: Trained, config: NmtEvalConfig, *, lab: Lab) -> Parallel:
    """Load the model's own test set, cut to the report's size; the grammar's where it cannot be."""
    own = named(trained.config.data.name).name
    if own != "grammar" and lab.has(own):
        found = load_parallel(trained, config, notice=lab.notice)
    else:
        found = _of_the_grammar(trained)
    count = lab.sizes.sentences or len(found.pairs)
    return dataclasses.replace(found, pairs=found.pairs.first(count))


def _of_the_grammar(trained: Trained) -> Parallel:
    """Return the grammar's test sentences in the model's direction, and draw no others."""
    pairs = load_grammar(train=1, valid=1).tests["test"]
    pairs = pairs if trained.direction[0] == "en" else pairs.swapped()
    return Parallel(data="grammar", split="test", pairs=pairs)


def _uniform(signature: str) -> str:
    return signature.replace("|version:", "|attention-weights:uniform|version:")


def _bleu(name: str, found: NmtEvaluation, signature: str, *, reference: str) -> Number:
    return Number(
        name=name,
        value=found.bleu.score,
        ci95=found.bleu.ci95,
        spread="95% interval over sentences",
        unit="BLEU",
        reference=reference,
        signature=f"{signature}|{found.bleu.signature}",
    )


def _commands(lab: Lab, *, name: str) -> tuple[str, ...]:
    beam = lab.sizes.beam_size
    if lab.sizes.trained_here:
        return (
            f"dl nmt train --data grammar{lab.and_seed}",
            f"dl nmt train --data grammar --attention none{lab.and_seed}",
            f"dl nmt eval RUN --against RUN-WITHOUT --beam {beam} --plot lengths.svg",
        )
    return (f"dl nmt eval --run {name} --beam {beam}", f"dl report --only 13{lab.and_seed}")


def _notes(lab: Lab, *, sentences: Parallel, trained: Trained) -> tuple[str, ...]:
    notes = []
    if not lab.sizes.trained_here:
        notes.append(
            "A quick report does not train a second translator: it takes the packaged one and "
            "makes its attention the same on all words, so that the decoder is left with one "
            "average of the sentence. That is harsher than a network which was trained without "
            "attention and learnt to do without: `dl nmt train --data grammar --attention none` "
            "trains that one, and `dl report --full` shows it."
        )
    if sentences.data != trained.config.data.name:
        notes.append(
            f"The translator was trained on {trained.config.data.name}, which is not on this "
            f"machine; it is tested here on {sentences.data}."
        )
    return tuple(notes)


MEMORY = Question(
    number=13,
    chapter="Attention",
    title="What attention is for",
    asks="What can a decoder with attention do that one without cannot?",
    answer=answer_memory,
    needs=("nmt", "sentences"),
)


# -- Question 14: learning with the true last word at hand, and going on from one's own

RATIOS, BINS = (1.0, 0.5, 0.0), (5, 10, 15, 20)
WORDS = (
    "A decoder is fed its own last word. While it learns it is wrong most of the time, and one "
    "wrong word spoils what follows, so there is little to learn from the rest of the sentence. "
    "Teacher forcing feeds it the true last word instead: every position becomes a lesson of its "
    "own, and all of them can be computed at once.",
    "The price is that it never practises recovering from its own mistakes. The assignment's "
    "tutorial therefore forces only half of the time. How much a model depends on its teacher can "
    "be measured: the loss of the same words, once after the true prefix and once after the "
    "model's own. The difference is called exposure bias.",
)


def answer_forcing(lab: Lab) -> Answer:
    """Hold the loss with a teacher against the loss without one."""
    if lab.sizes.trained_here:
        return _trained(lab)
    trained, name = lab.translator
    valid = stored_result(trained.run).get("valid")
    if not isinstance(valid, dict) or "free_nll_per_token" not in valid:
        return Answer(
            words=WORDS,
            numbers=(),
            figures=(),
            commands=("dl nmt compare-forcing --data grammar --ratios 1 0.5 0",),
            notes=(f"No losses are stored with `{name}`.",),
        )
    line = stored_signature(trained.run)
    forced, free = float(valid["nll_per_token"]), float(valid["free_nll_per_token"])
    return Answer(
        words=WORDS,
        numbers=_numbers(forced, free, signature=line, name=f"`{name}`"),
        figures=(_losses(forced, free, data=trained.config.data.name),),
        commands=(
            f"dl runs show {name}",
            "dl nmt compare-forcing --data grammar --ratios 1 0.5 0",
        ),
        notes=(
            f"These are the validation losses stored with the packaged translator, which was "
            f"trained on {trained.config.data.name} with a teacher-forcing ratio of "
            f"{trained.config.objective.teacher_forcing:g}. `dl report --full` trains with the "
            "ratios 1, 0.5 and 0, which the second command does too.",
        ),
    )


def _losses(forced: float, free: float, *, data: str) -> Figure:
    values = {"after the true words": forced, "after its own words": free}
    return figure(
        functools.partial(losses_figure, values),
        alt=f"Two bars: {forced:.4f} nats a token after the true words, {free:.4f} after its own.",
        caption=f"Validation loss on {data}, the same words at the same places.",
    )


def _numbers(forced: float, free: float, *, signature: str, name: str) -> tuple[Number, ...]:
    values = {
        f"loss after the true words, {name}": forced,
        f"loss after its own words, {name}": free,
        f"exposure gap, {name}": free - forced,
    }
    return tuple(
        Number(
            name=what,
            value=value,
            unit="nats a token",
            digits=3,
            reference="≥ 0 where the teacher is missed" if what.startswith("exposure") else "",
            signature=signature,
        )
        for what, value in values.items()
    )


def _trained(lab: Lab) -> Answer:
    """Train with the teacher always, half of the time, and never."""
    cells = forcing_cells(lab.translator_config({}), RATIOS)
    base = lab.folder("nmt-forcing", lab.translator_config({}))
    place = Place(resume=base) if any(base.glob("*/config.yaml")) else Place(out=base)
    rows = compare_forcing(
        cells,
        place=place,
        bins=BINS,
        beam_size=lab.sizes.beam_size,
        listeners=lab.listeners,
        notice=lab.notice,
    )
    ratios = " ".join(f"{ratio:g}" for ratio in RATIOS)
    return Answer(
        words=WORDS,
        numbers=tuple(number for row in rows for number in _row(row)),
        figures=(
            figure(
                lambda path: forcing_figure(path, rows),
                alt="Three panels: validation losses, BLEU, and BLEU by sentence length for each "
                "teacher-forcing ratio.",
                caption="The same training with the teacher always, half of the time, and never.",
            ),
        ),
        commands=(
            f"dl nmt compare-forcing --data {lab.sizes.translator_data} --ratios {ratios} "
            f"--beam {lab.sizes.beam_size}{lab.and_seed}",
        ),
    )


def _row(row: ForcingRow) -> list[Number]:
    name = f"ratio {row.teacher_forcing:g}"
    bleu = row.tested.bleu
    found = [
        Number(
            name=f"BLEU, {name}",
            value=bleu.score,
            ci95=bleu.ci95,
            spread="95% interval over sentences",
            unit="BLEU",
            signature=f"{row.tested.signature}|{bleu.signature}",
        )
    ]
    if row.trained.valid is not None:
        valid = row.trained.valid
        found += _numbers(
            valid.nll_per_token,
            valid.free_nll_per_token,
            signature=row.trained.signature,
            name=name,
        )
    return found


FORCING = Question(
    number=14,
    chapter="Attention",
    title="Learning with a teacher",
    asks="What is teacher forcing good for, and what does it cost?",
    answer=answer_forcing,
    needs=("nmt",),
)
