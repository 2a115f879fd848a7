"""Question 12: where a translator looks, against alignments that are known."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from dlcli.nmt.alignment import GoldLinks, Links, parse_pharaoh, score_alignments
from dlcli.nmt.attention_map import AttentionMap
from dlcli.nmt.forced_attention import KINDS
from dlcli.nmt.search_config import SearchConfig
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from dlcli.report.attention_maps import save_attention
from dlcli.study.aligned_pairs import pairs_of_corpus
from dlcli.study.nmt_align_config import NmtAlignConfig
from dlcli.study.nmt_alignment import NmtAlignment, align, prepare_pairs, read_gold
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question

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
    given = pairs_of_corpus(
        "grammar", count=lab.sizes.sentences, direction="en-fr", offline=True, notice=lab.notice
    )
    pairs = prepare_pairs(given.lines, text="running", languages=trained.direction)
    gold = read_gold(given.gold or (), pairs, index=0)
    found = []
    for kind in KINDS:
        config = NmtAlignConfig(
            links_from=kind, text="running", device=lab.device, threads=lab.threads
        )
        found.append(_error_rate(align(trained, pairs, config, data=given.name, gold=gold), gold))
    return found


def _error_rate(found: NmtAlignment, gold: Sequence[GoldLinks]) -> Number:
    predicted, known = list(map(parse_pharaoh, found.links)), [links.sure for links in gold]
    low, high = interval_of_aer(predicted, known)
    return Number(
        name=f"alignment error rate {NAMES[found.links_from]}, {len(gold):,} sentences of the "
        "grammar",
        value=100 * score_alignments(predicted, gold).aer,
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


QUESTION = Question(
    number=12,
    chapter="Attention",
    title="Where a translator looks",
    asks="What do attention matrices show, and why are they not simply diagonal?",
    answer=answer,
    needs=("nmt",),
)
