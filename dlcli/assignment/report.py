"""The report: every question in order, answered by measuring or from what was kept.

An answer is filed under a digest of all that it was made from. Answers and small trainings of
another version of the package are removed when a report begins.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dlcli.assignment import evidence, layernorm, nmt, vae
from dlcli.assignment.lab import Lab, digest, package_stamp
from dlcli.assignment.question import Answer, Question, read_answer
from dlcli.display.console import to_json
from dlcli.engine.files import write_whole
from dlcli.errors import DlError, Interrupted, UsageFault

QUESTIONS: tuple[Question, ...] = (
    vae.sampling,
    evidence.prior_average,
    evidence.divergence,
    vae.bounds,
    vae.bounds_in_training,
    vae.objective,
    evidence.loss_terms,
    vae.gradients,
    vae.optimisers,
    vae.pictures,
    vae.convolutions,
    nmt.attention,
    nmt.memory,
    nmt.forcing,
    layernorm.equations,
    layernorm.depth,
)
"""To add one: its words into `questions.yaml`, its answer into a chapter's file, its name here."""
UNUSED_S = 7 * 24 * 3600
"""What another version has not touched for so long may go."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A question with what became of it: an answer, or why there is none."""

    question: Question
    answer: Answer | None
    kept: bool = False
    """Whether the answer was there from an earlier report."""
    failure: str = ""
    hint: str = ""
    elapsed_s: float = 0.0


def select(questions: Sequence[Question], wanted: Sequence[int]) -> list[Question]:
    """Return the questions of these numbers, in the order of the report; all where none is named.

    Raises:
        UsageFault: there is no question of a number.
    """
    known = [question.number for question in questions]
    for number in wanted:
        if number not in known:
            raise UsageFault(
                f"There is no section {number} in the report.",
                hint=f"Choose from {', '.join(map(str, known))}.",
            )
    return [question for question in questions if not wanted or question.number in wanted]


def answered(
    questions: Sequence[Question],
    lab: Lab,
    *,
    cache: Cache,
    begin: Callable[[int, Question], object] = lambda _place, _question: None,
) -> Iterator[Section]:
    """Answer questions in order, keeping each answer as soon as it is there.

    A question that cannot be answered (its data set cannot be had, say) is no reason to give up the
    others: its section says why.

    Args:
        questions: to answer.
        lab: models, data and settings.
        cache: of earlier answers.
        begin: called with the place and the question before each.

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


def settled(answer: Answer) -> Answer:
    """Return an answer as it will come back from the cache, where infinities are None."""
    return read_answer(json.loads(to_json(answer)))


def report_folder() -> Path:
    """Return where reports keep what they made, in the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("dl", appauthor=False)).absolute() / "report"


@dataclass(frozen=True)
class Cache:
    """The answers under one folder, of this version of the package."""

    root: Path
    fresh: bool = False
    """Whether to find nothing."""

    @property
    def folder(self) -> Path:
        """Where this version's answers and trainings are."""
        return self.root / package_stamp()

    def sweep(self) -> None:
        """Remove what other versions of the package left, if none of it is in use."""
        if self.root.is_dir():
            for left in self.root.iterdir():
                if left.is_dir() and left != self.folder and _age_s(left) > UNUSED_S:
                    shutil.rmtree(left, ignore_errors=True)

    def find(self, key: Mapping[str, object]) -> Answer | None:
        """Return the answer that was made from this, or None; a damaged one counts for nothing."""
        if self.fresh:
            return None
        try:
            kept = json.loads(self._file(key).read_text(encoding="utf-8"))
            if kept["digest"] != digest(kept["answer"]):
                return None
            return read_answer(cast(Mapping[str, object], kept["answer"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def keep(self, key: Mapping[str, object], answer: Answer) -> bool:
        """File an answer; return whether that could be done."""
        path = self._file(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fields = json.loads(to_json(answer))
            write_whole(path, to_json({"answer": fields, "digest": digest(fields)}).encode())
        except (OSError, DlError):
            return False
        return True

    def _file(self, key: Mapping[str, object]) -> Path:
        return self.folder / "answers" / f"{digest(key)}.json"


def _age_s(folder: Path) -> float:
    """Return the seconds since something was last put into a folder or the folders in it."""
    times = [time.time()]
    with contextlib.suppress(OSError):
        times = [path.stat().st_mtime for path in (folder, *folder.glob("*/"), *folder.glob("*/*"))]
    return time.time() - max(times)
