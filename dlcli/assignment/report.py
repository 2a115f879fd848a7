"""The report: every question in order, answered by measuring or from what was kept.

An answer is filed under a digest of all that it was made from. Answers and small trainings of
another version of the package are removed when a report begins.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcli.assignment import evidence, layernorm, nmt, vae
from dlcli.assignment.lab import Lab, digest, package_stamp
from dlcli.assignment.question import Answer, Question, read_answer
from dlcli.display.console import to_json
from dlcli.engine.files import cache_folder, write_whole
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
        key = {"question": question.number, **lab.inputs}
        answer = cache.find(key)
        if answer is not None:
            return Section(question=question, answer=answer, kept=True)
        text = to_json(question.answer(lab))
        cache.keep(key, text)
        elapsed = time.perf_counter() - began
        return Section(question=question, answer=read_answer(text), elapsed_s=elapsed)
    except Interrupted:
        raise
    except DlError as error:
        failure, hint = error.message, error.hint
    except Exception as error:
        failure, hint = f"{type(error).__name__}: {error}", "Please report it."
    elapsed = time.perf_counter() - began
    return Section(question=question, answer=None, failure=failure, hint=hint, elapsed_s=elapsed)


def report_folder() -> Path:
    """Return where reports keep what they made, in the user's cache folder."""
    return cache_folder() / "report"


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
        try:
            checksum, _, text = self._file(key).read_text(encoding="utf-8").partition("\n")
            return read_answer(text) if digest(text) == checksum and not self.fresh else None
        except (OSError, ValueError):
            return None

    def keep(self, key: Mapping[str, object], text: str) -> None:
        """File an answer, as JSON, if that can be done."""
        path = self._file(key)
        with contextlib.suppress(OSError, DlError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, f"{digest(text)}\n{text}".encode())

    def _file(self, key: Mapping[str, object]) -> Path:
        return self.folder / "answers" / digest(key)


def _age_s(folder: Path) -> float:
    """Return the seconds since something was last put into a folder or the folders in it."""
    times = [time.time()]
    with contextlib.suppress(OSError):
        times = [path.stat().st_mtime for path in (folder, *folder.glob("*/"), *folder.glob("*/*"))]
    return time.time() - max(times)
