"""Questions 12 to 14: where a translator looks, what that is worth, and learning with a teacher."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from dlcli.assignment.lab import Lab, stored_result, stored_signature
from dlcli.assignment.question import Answer, Number, Text, question
from dlcli.data.catalogue import named
from dlcli.data.grammar import load_grammar
from dlcli.display.plots import colour, house_style, label, new_figure, save_figure
from dlcli.engine.session import RunLocation
from dlcli.nmt.aligner import KINDS, NmtAlignment, align
from dlcli.nmt.attention import AttentionMap
from dlcli.nmt.config import NmtAlignConfig, NmtEvalConfig, SearchConfig
from dlcli.nmt.display import forcing_figure, length_figure, save_attention
from dlcli.nmt.evaluation import (
    NmtEvaluation,
    compare_evaluations,
    evaluate,
    run_split,
)
from dlcli.nmt.forcing import ForcingRow, compare_forcing, forcing_cells
from dlcli.nmt.links import Links, parse_pharaoh
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.pairs import Parallel, of_corpus
from dlcli.nmt.trained import Trained, load_trained
from dlcli.nmt.translator import Translator

SENTENCE = "The agreement on the European Economic Area was signed in August 1992."
TARGET = "L'accord sur la zone économique européenne a été signé en août 1992."
ARTICLE, HEAD = "la", "Area"
RESAMPLES = 1000
RATIOS, BINS = (1.0, 0.5, 0.0), (5, 10, 15, 20)
"""Question 14: teacher-forcing ratios, and the limits of its bins of sentence lengths."""
NAMES = {"attention": "of attention", "posterior": "of the posterior"}
"""What links are taken from, and how the numbers say it."""


@question(12, needs=("nmt",))
def attention(lab: Lab, text: Text) -> Answer:
    """Show the attention of the paper's own example, and score attention as an alignment."""
    trained, name = lab.translator
    search = SearchConfig(device=lab.device, threads=lab.threads)
    translator = Translator.load(trained.run.path, config=search)
    found = translator.attend(SENTENCE, TARGET, config=search)
    back, steps = found.steps_back
    return text.answer(
        numbers=[
            *_alignment(trained, lab, text),
            Number(
                name=f"steps against the diagonal, of {steps} in the figure",
                value=back,
                reference=text.published("steps"),
                signature=found.signature,
            ),
            *_article(found, text),
        ],
        figures=[
            text.figure(
                "attention",
                functools.partial(save_attention, found),
                is_picture=True,
                name=name,
                translation=found.translation,
            )
        ],
        commands=[
            f'dl nmt attend "{SENTENCE}" --target "{TARGET}" --run {name} --out attention.svg',
            *(f"dl nmt align --data grammar --links-from {kind} --run {name}" for kind in KINDS),
        ],
        notes=[text.note("tuned")] if name == "pretrained:nmt-grammar" else [],
    )


def _article(found: AttentionMap, text: Text) -> list[Number]:
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
            reference=text.published("article"),
            signature=found.signature,
        )
    ]


def _alignment(trained: Trained, lab: Lab, text: Text) -> list[Number]:
    """Score links between the words of the grammar's test sentences against the known ones."""
    if trained.config.data.direction != "en-fr":
        return []
    test = of_corpus(
        "grammar", count=lab.sizes.sentences, direction="en-fr", offline=True, notice=lab.notice
    )
    known = list(map(parse_pharaoh, test.pairs.links or ()))
    found = []
    for kind in KINDS:
        config = NmtAlignConfig(
            links_from=kind, text="running", device=lab.device, threads=lab.threads
        )
        aligned = align(trained, test.pairs, config, data="grammar-test")
        found.append(_error_rate(aligned, known, reference=text.published("aer")))
    return found


def _error_rate(found: NmtAlignment, known: Sequence[Links], *, reference: str) -> Number:
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
        reference=reference,
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


@question(13, needs=("nmt", "sentences"))
def memory(lab: Lab, text: Text) -> Answer:
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
    here = lab.sizes.trained_here
    sign = without.signature if here else _uniform(without.signature)
    return text.answer(
        numbers=[
            _bleu(
                "BLEU with attention",
                with_it,
                with_it.signature,
                reference=text.published("attention"),
            ),
            _bleu(f"BLEU {what}", without, sign, reference=text.published("none") if here else ""),
            Number(
                name="difference, the same sentences resampled for both",
                value=gain.difference.value,
                ci95=gain.difference.ci95,
                spread="95% interval over sentences",
                unit="BLEU",
                reference=text.published("difference") if here else "",
                signature=sign,
            ),
        ],
        figures=[
            text.figure(
                "lengths",
                functools.partial(length_figure, {"with attention": with_it, what: without}),
                data=with_it.data,
                sentences=with_it.sentences,
            )
        ],
        commands=_commands(lab, name=name),
        notes=[
            "" if here else text.note("quick"),
            text.note("elsewhere", own=trained.config.data.name, data=sentences.data)
            if sentences.data != trained.config.data.name
            else "",
        ],
        worth=text.note("trained" if here else "uniform"),
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
    assert isinstance(model, AttentionGru)
    assert model.decoder.attention is not None, "the model has attention"
    with torch.no_grad():
        model.decoder.attention.v.zero_()
    return dataclasses.replace(trained, model=model)


def _translator(trained: Trained, config: NmtEvalConfig) -> Translator:
    """Put a model to work where `dl nmt eval` would."""
    place = Translator.load(trained.run.path, config=config.search)
    return Translator(trained, compute=place.compute)


def sentences_of(trained: Trained, config: NmtEvalConfig, *, lab: Lab) -> Parallel:
    """Load the model's own test set, cut to the report's size; the grammar's where it cannot be."""
    own = named(trained.config.data.name).name
    if own != "grammar" and lab.has(own):
        found = run_split(trained, config, notice=lab.notice)
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


@question(14, needs=("nmt",))
def forcing(lab: Lab, text: Text) -> Answer:
    """Hold the loss with a teacher against the loss without one."""
    if lab.sizes.trained_here:
        return _trained(lab, text)
    trained, name = lab.translator
    compare = "dl nmt compare-forcing --data grammar --ratios 1 0.5 0"
    valid = stored_result(trained.run).get("valid")
    if not isinstance(valid, dict) or "free_nll_per_token" not in valid:
        note = text.note("nothing", name=name)
        return text.answer(numbers=[], figures=[], commands=[compare], notes=[note])
    forced, free = float(valid["nll_per_token"]), float(valid["free_nll_per_token"])
    losses = {"after the true words": forced, "after its own words": free}
    data, ratio = trained.config.data.name, trained.config.objective.teacher_forcing
    return text.answer(
        numbers=_losses(forced, free, signature=stored_signature(trained.run), name=f"`{name}`"),
        figures=[
            text.figure(
                "losses",
                functools.partial(_losses_figure, losses),
                forced=forced,
                free=free,
                data=data,
            )
        ],
        commands=[f"dl runs show {name}", compare],
        notes=[text.note("stored", data=data, ratio=ratio)],
    )


def _losses_figure(losses: Mapping[str, float], path: Path) -> None:
    """Draw a few losses as bars, the first on top, each with its value."""
    with house_style():
        figure = new_figure(6.4, 0.5 * len(losses) + 0.8)
        axes = figure.add_subplot()
        bars = axes.barh(range(len(losses)), list(losses.values()), color=colour(0), height=0.6)
        axes.bar_label(bars, fmt="%.4f", padding=4)
        axes.margins(x=0.15)
        axes.set_yticks(range(len(losses)), [label(name) for name in losses])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("nats a token")
        save_figure(figure, path)


def _losses(forced: float, free: float, *, signature: str, name: str) -> tuple[Number, ...]:
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


def _trained(lab: Lab, text: Text) -> Answer:
    """Train with the teacher always, half of the time, and never."""
    cells = forcing_cells(lab.translator_config({}), RATIOS)
    base = lab.folder("nmt-forcing", lab.translator_config({}))
    location = (
        RunLocation(resume=base) if any(base.glob("*/config.yaml")) else RunLocation(out=base)
    )
    rows = compare_forcing(
        cells,
        location=location,
        bins=BINS,
        beam_size=lab.sizes.beam_size,
        listeners=lab.listeners,
        notice=lab.notice,
    )
    ratios = " ".join(f"{ratio:g}" for ratio in RATIOS)
    return text.answer(
        numbers=[number for row in rows for number in _row(row)],
        figures=[text.figure("forcing", lambda path: forcing_figure(path, rows))],
        commands=[
            f"dl nmt compare-forcing --data {lab.sizes.translator_data} --ratios {ratios} "
            f"--beam {lab.sizes.beam_size}{lab.and_seed}",
        ],
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
        found += _losses(
            valid.nll_per_token,
            valid.free_nll_per_token,
            signature=row.trained.signature,
            name=name,
        )
    return found
