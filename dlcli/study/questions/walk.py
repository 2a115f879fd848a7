"""Going through the questions one by one: from the cache, by measuring, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from dlcli.errors import DlError, Interrupted
from dlcli.study.questions.cache import Cache, settled
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question, Section

Beginning = Callable[[int, Question], object]


def answered(
    questions: Sequence[Question],
    lab: Lab,
    *,
    cache: Cache,
    begin: Beginning = lambda _place, _question: None,
) -> Iterator[Section]:
    """Answer questions in order, keeping each answer as soon as it is there.

    A question that cannot be answered (its data set cannot be had, say) is no reason to give up the
    others: its section says why.

    Args:
        questions: to answer.
        lab: models, data and settings.
        cache: of earlier answers.
        begin: told the place and the question before each.

    Raises:
        Interrupted: a signal came; what was answered before is kept.
    """
    done = 0
    try:
        for place, question in enumerate(questions):
            begin(place, question)
            yield _section(question, lab, cache=cache)
            done += 1
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"Interrupted: {done} of {len(questions)} sections are done and kept.",
            hint="Run the same command again to go on from there.",
        ) from None


def _section(question: Question, lab: Lab, *, cache: Cache) -> Section:
    began = time.perf_counter()
    try:
        key = {"question": question.number, **lab.inputs(question.needs)}
        kept = cache.find(key)
        if kept is not None:
            return Section(question=question, answer=kept, kept=True)
        answer = settled(question.answer(lab))
    except Interrupted:
        raise
    except DlError as error:
        return _failed(question, error.message, hint=error.hint, began=began)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return _failed(question, text, hint="Please report it.", began=began)
    cache.keep(key, answer)
    return Section(question=question, answer=answer, elapsed_s=time.perf_counter() - began)


def _failed(question: Question, message: str, *, hint: str, began: float) -> Section:
    elapsed = time.perf_counter() - began
    return Section(question=question, answer=None, failure=message, hint=hint, elapsed_s=elapsed)
