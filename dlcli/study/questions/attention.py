"""Question 12: where a translator looks, against alignments that are known."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from dlcli.data.grammar import load_grammar
from dlcli.data.pairs import Pairs
from dlcli.data.wordsplit import split_words
from dlcli.nmt.alignment import GoldLinks, Links, attention_links, parse_pharaoh, score_alignments
from dlcli.nmt.attention_map import AttentionMap
from dlcli.nmt.forced_attention import Kind, forced_attention
from dlcli.nmt.result import describe
from dlcli.nmt.search_config import SearchConfig
from dlcli.nmt.token_attention import token_attention
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from dlcli.report.attention_maps import save_attention
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question

SENTENCE = "The agreement on the European Economic Area was signed in August 1992."
TARGET = "L'accord sur la zone économique européenne a été signé en août 1992."
ARTICLE, HEAD = "la", "Area"
RESAMPLES = 1000
NAMES: dict[Kind, str] = {"attention": " of attention", "posterior": " of the posterior"}
"""What links are taken from, and how the numbers say it."""
TUNED = (
    "The settings of the packaged translator were chosen with an eye on this error rate, so take "
    "it for what such a network can reach rather than for a blind test."
)
OTHERS = "on Hansards, other data: `fast_align` 16.4 % one way, 10.5 % both ways; eflomal 8.2 %"


def answer(lab: Lab) -> Answer:
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
            "pytest -m slow -s tests/data/grammar",
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
    pairs = load_grammar(train=1, valid=1).tests["test"]
    pairs = pairs.first(lab.sizes.sentences) if lab.sizes.sentences else pairs
    return [_error_rate(trained, pairs, kind=kind) for kind in NAMES]


def _error_rate(trained: Trained, pairs: Pairs, *, kind: Kind) -> Number:
    predicted, known = word_links(trained, pairs, kind=kind)
    gold = [GoldLinks(sure=links, possible=links) for links in known]
    low, high = interval_of_aer(predicted, known)
    signature = describe(
        trained.config,
        measure="alignment-error-rate",
        data="grammar",
        split="test",
        sentences=len(pairs),
        trained_on=trained.config.data.name,
        checkpoint=trained.checkpoint,
        links=f"{kind}-argmax",
        resamples=RESAMPLES,
        precision="fp32",
    )
    return Number(
        name=f"alignment error rate{NAMES[kind]}, {len(pairs):,} sentences of the grammar",
        value=100 * score_alignments(predicted, gold).aer,
        ci95=(100 * low, 100 * high),
        spread="95% interval over sentences",
        digits=2,
        unit="%",
        reference=OTHERS,
        signature=signature,
    )


def word_links(trained: Trained, pairs: Pairs, *, kind: Kind) -> tuple[list[Links], list[Links]]:
    """Return the links that a translator makes between words, and the known ones.

    Args:
        trained: a translator with attention.
        pairs: with links.
        kind: what links are taken from, see `dlcli.nmt.forced_attention`.
    """
    assert pairs.links is not None, "the pairs' links are known"
    sentences = zip(pairs.source, pairs.target, strict=True)
    predicted, known = [], []
    read = forced_attention(trained.model, trained.tokenizer, sentences, kind=kind)
    for found, source, target, links in zip(
        read, pairs.source, pairs.target, pairs.links, strict=True
    ):
        spans = [
            [(word.start, word.end) for word in split_words(text)] for text in (source, target)
        ]
        matrix = token_attention(found, source=spans[0], target=spans[1])
        predicted.append(attention_links(matrix))
        known.append(frozenset(parse_pharaoh(links)))
    return predicted, known


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


QUESTION = Question(
    number=12,
    chapter="Attention",
    title="Where a translator looks",
    asks="What do attention matrices show, and why are they not simply diagonal?",
    answer=answer,
    needs=("nmt",),
)
