"""Questions 12 to 14: where a translator looks, what that is worth, and learning with a teacher."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from dlcli.assignment.lab import Lab, stored_result, stored_signature
from dlcli.assignment.question import Command, Number, Part, Text, question
from dlcli.data.grammar import load_grammar
from dlcli.display.plots import colour, house_style, new_figure, save_figure
from dlcli.engine.session import RunLocation
from dlcli.nmt.aligner import KINDS, align
from dlcli.nmt.config import NmtAlignConfig, NmtEvalConfig, SearchConfig
from dlcli.nmt.display import forcing_figure, length_figure, save_attention
from dlcli.nmt.evaluation import NmtEvaluation, compare_evaluations, evaluate
from dlcli.nmt.forcing import ForcingRow, compare_forcing, forcing_cells
from dlcli.nmt.links import Links, parse_pharaoh
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.pairs import Parallel
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


@question(12)
def attention(lab: Lab, text: Text) -> Iterator[Part]:
    """Show the attention of the paper's own example, and score attention as an alignment."""
    trained, name = lab.translator
    search = SearchConfig(device=lab.device, threads=lab.threads)
    found = _translator(trained, search).attend(SENTENCE, TARGET, config=search)
    yield from _alignment(trained, lab, text)
    back, steps = found.steps_back
    yield Number(
        f"steps against the diagonal, of {steps} in the figure",
        back,
        "",
        found.signature,
        digits=1,
        reference=text.published("steps"),
    )
    if ARTICLE in found.target and HEAD in found.source:
        weight = found.matrix[found.target.index(ARTICLE), found.source.index(HEAD)]
        yield Number(
            f"attention of “{ARTICLE}” on “{HEAD}”",
            100 * float(weight),
            "%",
            found.signature,
            digits=2,
            reference=text.published("article"),
        )
    yield text.figure(
        "attention",
        functools.partial(save_attention, found),
        is_picture=True,
        name=name,
        translation=found.translation,
    )
    yield Command(
        f'dl nmt attend "{SENTENCE}" --target "{TARGET}" --run {name} --out attention.svg'
    )
    for kind in KINDS:
        yield Command(f"dl nmt align --data grammar --links-from {kind} --run {name}")
    if not lab.sizes.trained_here:
        yield text.note("tuned")


def _translator(trained: Trained, search: SearchConfig) -> Translator:
    """Put a model to work where `dl nmt translate` would."""
    place = Translator.load(trained.run.path, config=search)
    return Translator(trained, compute=place.compute)


def _alignment(trained: Trained, lab: Lab, text: Text) -> Iterator[Number]:
    """Score links between the words of the grammar's test sentences against the known ones."""
    pairs = _test_sentences(lab).pairs
    known = list(map(parse_pharaoh, pairs.links or ()))
    for kind in KINDS:
        config = NmtAlignConfig(
            links_from=kind, text="running", device=lab.device, threads=lab.threads
        )
        found = align(trained, pairs, config, data="grammar-test")
        assert found.score is not None, "the links of the grammar are known"
        low, high = interval_of_aer(list(map(parse_pharaoh, found.links)), known)
        yield Number(
            f"alignment error rate {NAMES[kind]}, {found.sentences:,} sentences of the grammar",
            100 * found.score.aer,
            "%",
            found.signature.replace("|version:", f"|resamples:{RESAMPLES}|version:"),
            ci95=(100 * low, 100 * high),
            spread="95% interval over sentences",
            digits=2,
            reference=text.published("aer"),
        )


def _test_sentences(lab: Lab) -> Parallel:
    pairs = load_grammar(train=1, valid=1).tests["test"]  # the test set alone is wanted
    pairs = pairs.first(lab.sizes.sentences or len(pairs))
    return Parallel(data="grammar", split="test", pairs=pairs)


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


@question(13)
def memory(lab: Lab, text: Text) -> Iterator[Part]:
    """Translate a test set with attention and without, and compare by length of the sentence."""
    trained, name = lab.translator
    beam, here = lab.sizes.beam_size, lab.sizes.trained_here
    if here:
        run = lab.train_translator("nmt-none", {"model": {"attention": "none"}})
        other, what = load_trained(run), "without attention"
    else:
        other, what = uniform_attention(trained), "with attention made uniform"
    search = SearchConfig(beam_size=beam, device=lab.device, threads=lab.threads)
    config = NmtEvalConfig(offline=True, search=search)
    sentences = _test_sentences(lab)
    with_it, without = (
        evaluate(_translator(one, search), sentences, config) for one in (trained, other)
    )
    sign = without.signature
    if not here:
        sign = sign.replace("|version:", "|attention-weights:uniform|version:")
    yield _bleu("the grammar: BLEU with attention", with_it, with_it.signature)
    yield _bleu(f"the grammar: BLEU {what}", without, sign)
    gain = compare_evaluations(
        with_it,
        without,
        sentences=sentences,
        config=config,
        lowercase=trained.config.data.lowercase,
    )
    yield Number(
        "the grammar: difference, the same sentences resampled for both",
        gain.difference.value,
        "BLEU",
        sign,
        ci95=gain.difference.ci95,
        spread="95% interval over sentences",
    )
    yield text.figure(
        "lengths",
        functools.partial(length_figure, {"with attention": with_it, what: without}),
        data=with_it.data,
        sentences=with_it.sentences,
    )
    yield from text.words(worth=text.note("trained" if here else "uniform"))
    if here:
        yield Command(f"dl nmt train --data grammar{lab.and_seed}")
        yield Command(f"dl nmt train --data grammar --attention none{lab.and_seed}")
        yield Command(f"dl nmt eval RUN --against RUN-WITHOUT --beam {beam} --plot lengths.svg")
    else:
        yield Command(f"dl nmt eval --run {name} --beam {beam}")
        yield Command(f"dl report --only 13{lab.and_seed}")
        yield text.note("quick")
    yield from text.stored()


def uniform_attention(trained: Trained) -> Trained:
    """Return a copy whose attention is the same on all words: its v is zero, so all scores are."""
    model = copy.deepcopy(trained.model)
    assert isinstance(model, AttentionGru)
    assert model.decoder.attention is not None, "the model has attention"
    with torch.no_grad():
        model.decoder.attention.v.zero_()
    return dataclasses.replace(trained, model=model)


def _bleu(name: str, found: NmtEvaluation, signature: str) -> Number:
    return Number(
        name,
        found.bleu.score,
        "BLEU",
        f"{signature}|{found.bleu.signature}",
        ci95=found.bleu.ci95,
        spread="95% interval over sentences",
    )


@question(14)
def forcing(lab: Lab, text: Text) -> Iterator[Part]:
    """Hold the loss with a teacher against the loss without one."""
    return _trained(lab, text) if lab.sizes.trained_here else _stored(lab, text)


def _stored(lab: Lab, text: Text) -> Iterator[Part]:
    """Show the losses stored with the packaged translator, and those of three long trainings."""
    trained, name = lab.translator
    valid = stored_result(trained.run)["valid"]
    forced, free = float(valid["nll_per_token"]), float(valid["free_nll_per_token"])
    data, ratio = trained.config.data.name, trained.config.objective.teacher_forcing
    yield from _losses(forced, free, signature=stored_signature(trained.run), name=f"`{name}`")
    losses = text.fields["stored"]["losses"]
    yield text.figure("losses", functools.partial(_losses_figure, losses))
    yield Command(f"dl runs show {name}")
    yield Command("dl nmt compare-forcing --data grammar --ratios 1 0.5 0")
    yield text.note("stored", data=data, ratio=ratio)
    yield from text.stored()


def _losses_figure(losses: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Draw the loss after the true words and after the model's own, for each ratio."""
    with house_style():
        figure = new_figure(6.4, 2.8)
        axes = figure.add_subplot()
        for index, name in enumerate(("after the true words", "after its own words")):
            places = [place + 0.38 * (index - 0.5) for place in range(len(losses))]
            values = [pair[index] for pair in losses.values()]
            bars = axes.bar(places, values, width=0.36, color=colour(index), label=name)
            axes.bar_label(bars, fmt="%.2f", padding=2)
        axes.margins(y=0.15)
        axes.set_xticks(range(len(losses)), list(losses))
        axes.grid(False, axis="x")
        axes.set_xlabel("teacher-forcing ratio")
        axes.set_ylabel("nats a token")
        axes.legend(loc="best")
        save_figure(figure, path)


def _losses(forced: float, free: float, *, signature: str, name: str) -> Iterator[Number]:
    for what, value, reference in (
        ("loss after the true words", forced, ""),
        ("loss after its own words", free, ""),
        ("exposure gap", free - forced, "≥ 0 where the teacher is missed"),
    ):
        unit = "nats a token"
        yield Number(f"{what}, {name}", value, unit, signature, digits=3, reference=reference)


def _trained(lab: Lab, text: Text) -> Iterator[Part]:
    """Train with the teacher always, half of the time, and never."""
    cells = forcing_cells(lab.translator_config({}), RATIOS)
    base = lab.folder("nmt-forcing", lab.translator_config({}))
    begun = any(base.glob("*/config.yaml"))
    rows = compare_forcing(
        cells,
        location=RunLocation(resume=base) if begun else RunLocation(out=base),
        bins=BINS,
        beam_size=lab.sizes.beam_size,
        listeners=lab.listeners,
        notice=lab.notice,
    )
    for row in rows:
        yield from _row(row)
    yield text.figure("forcing", lambda path: forcing_figure(path, rows))
    ratios = " ".join(f"{ratio:g}" for ratio in RATIOS)
    yield Command(
        f"dl nmt compare-forcing --data grammar --ratios {ratios} "
        f"--beam {lab.sizes.beam_size}{lab.and_seed}"
    )


def _row(row: ForcingRow) -> Iterator[Number]:
    name, valid = f"ratio {row.teacher_forcing:g}", row.trained.valid
    yield _bleu(f"BLEU, {name}", row.tested, row.tested.signature)
    if valid is not None:
        signature = row.trained.signature
        forced, free = valid.nll_per_token, valid.free_nll_per_token
        yield from _losses(forced, free, signature=signature, name=name)
