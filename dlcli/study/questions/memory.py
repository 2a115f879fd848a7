"""Question 13: what a decoder loses when it must live from one vector."""

from __future__ import annotations

import copy
import dataclasses
import functools

import torch

from dlcli.data.catalogue import named
from dlcli.data.grammar import load_grammar
from dlcli.nmt.search_config import SearchConfig
from dlcli.nmt.trained import Trained, load_trained
from dlcli.nmt.translator import Translator
from dlcli.report.page.figures import lengths_figure
from dlcli.study.nmt_eval_config import NmtEvalConfig
from dlcli.study.nmt_evaluation import NmtEvaluation, compare_evaluations, evaluate
from dlcli.study.parallel import Parallel, load_parallel
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question

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


def answer(lab: Lab) -> Answer:
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
    count = lab.sizes.sentences or len(found)
    return dataclasses.replace(
        found, source=found.source[:count], reference=found.reference[:count]
    )


def _of_the_grammar(trained: Trained) -> Parallel:
    """Return the grammar's test sentences in the model's direction, and draw no others."""
    pairs = load_grammar(train=1, valid=1).tests["test"]
    pairs = pairs if trained.direction[0] == "en" else pairs.swapped()
    return Parallel(
        data="grammar", split="test", source=tuple(pairs.source), reference=tuple(pairs.target)
    )


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


QUESTION = Question(
    number=13,
    chapter="Attention",
    title="What attention is for",
    asks="What can a decoder with attention do that one without cannot?",
    answer=answer,
    needs=("nmt", "sentences"),
)
