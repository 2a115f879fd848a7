"""Question 14: learning with the true last word at hand, and going on from one's own."""

from __future__ import annotations

import functools

from dlcli.engine.session import Place
from dlcli.report.forcing import forcing_figure
from dlcli.report.page.figures import losses_figure
from dlcli.study.nmt_forcing import ForcingRow, compare_forcing, forcing_cells
from dlcli.study.questions.answer import Answer, Figure, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question
from dlcli.study.questions.stored import stored_result, stored_signature

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


def answer(lab: Lab) -> Answer:
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


QUESTION = Question(
    number=14,
    chapter="Attention",
    title="Learning with a teacher",
    asks="What is teacher forcing good for, and what does it cost?",
    answer=answer,
    needs=("nmt",),
)
