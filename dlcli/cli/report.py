"""`dl report`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcli import __version__
from dlcli.cli.options import OfflineFlag, SeedFlag, ThreadsFlag, plain
from dlcli.display.console import Consoles
from dlcli.engine.stopping import StopFlag
from dlcli.errors import RunFailed

if TYPE_CHECKING:
    from dlcli.assignment.question import Question
    from dlcli.assignment.report import Section

FullFlag = Annotated[
    bool,
    typer.Option(
        "--full/--quick",
        help="full trains everything on this machine, which takes hours; quick takes the packaged "
        "models and experiments of seconds.",
    ),
]
HtmlFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="The page, an .html file. (default: report.html; with --only 2 12 report-2-12.html)",
    ),
]
OnlyFlag = Annotated[
    tuple[int, ...] | None,
    typer.Option("--only", help="Questions to answer, such as 2 12. (default: all)"),
]
DataFlag = Annotated[
    str,
    typer.Option(
        "--data",
        help="Images to test on: mnist, glyphs, or auto, which is what a model was trained on if "
        "that is on this machine, else glyphs.",
    ),
]
FreshFlag = Annotated[
    bool,
    typer.Option(
        "--fresh", help="Answer anew what an earlier report has answered; trainings stay."
    ),
]
DeviceFlag = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]


@plain
def report(
    consoles: Consoles,
    *,
    full: FullFlag = False,
    out: HtmlFlag = None,
    only: OnlyFlag = None,
    data: DataFlag = "auto",
    offline: OfflineFlag = False,
    fresh: FreshFlag = False,
    seed: SeedFlag = 0,
    threads: ThreadsFlag = 0,
    device: DeviceFlag = "auto",
) -> None:
    """Write one HTML page that answers all questions: figures, numbers, signatures, commands.

    Examples:
        dl report --only 2 12 --out answers.html
    """
    numbers = list(only or ())
    page = out or Path("-".join(["report", *map(str, dict.fromkeys(numbers))]) + ".html")
    from dlcli.display.page import check_page_path, write_page

    check_page_path(page)
    with StopFlag().watching():
        from dlcli.assignment.lab import FULL, QUICK, Lab
        from dlcli.assignment.page import Heading, render
        from dlcli.assignment.report import QUESTIONS, Cache, answered, report_folder, select
        from dlcli.data.catalogue import named
        from dlcli.display.progress import FractionProgress
        from dlcli.engine.device import use_threads

        use_threads(threads)
        questions = select(QUESTIONS, numbers)
        if data != "auto":
            named(data)
        cache = Cache(report_folder(), fresh=fresh)
        cache.sweep()
        lab = Lab(
            sizes=FULL if full else QUICK,
            runs=Path("runs", "report", "trained").absolute() if full else cache.folder / "runs",
            data=data,
            offline=offline,
            seed=seed,
            threads=threads,
            device=device,
            notice=consoles.notice,
        )
        with FractionProgress(consoles, label="report") as at:

            def begin(place: int, question: Question) -> None:
                at(place / len(questions), f"Question {question.number}: {question.title}")

            sections = list(answered(questions, lab, cache=cache, begin=begin))
        given = {"--data": data, "--seed": seed, "--threads": threads, "--device": device}
        command = command_line(given, full=full, numbers=numbers)
        heading = Heading(version=f"dlcli {__version__}", mode=lab.sizes.mode, command=command)
        page = write_page(
            page,
            render(sections, heading=heading),
            notice=consoles.notice,
            hint="--only makes a page of fewer questions.",
        )
    _show(sections, consoles, page=page, mode=lab.sizes.mode)


def command_line(given: Mapping[str, object], *, full: bool, numbers: Sequence[int]) -> str:
    """Return the command that makes this page: all that changes its numbers or sections.

    Args:
        given: flag → value; what is 0 or `auto` is left out.
        full: whether everything is trained.
        numbers: of the chosen questions; none is all.
    """
    words = ["dl", "report", *(["--full"] if full else [])]
    words += ["--only", *map(str, numbers)] if numbers else []
    for flag, value in given.items():
        words += [] if value in (0, "auto") else [flag, str(value)]
    return shlex.join(words)


def _show(sections: list[Section], consoles: Consoles, *, page: Path, mode: str) -> None:
    """Show what was written, and end with 1 where a section is missing.

    Raises:
        typer.Exit: a section could not be made.
    """
    kept = sum(section.kept for section in sections)
    failed = [section for section in sections if section.answer is None]
    value = {
        "mode": mode,
        "questions": [_fields(section) for section in sections],
        "failed": [section.question.number for section in failed],
        "kept": kept,
        "files": [page],
    }
    if failed:
        these = ", ".join(str(section.question.number) for section in failed)
        value["error"] = {
            "kind": RunFailed.kind,
            "message": f"No answer to {these}: {failed[0].failure}",
            "hint": failed[0].hint,
        }
    counts = f"{len(sections) - len(failed)} of {len(sections)} sections, {kept} of them kept"
    consoles.result(value, f"{page} ({counts} from an earlier report)")
    for section in failed:
        consoles.warning(f"Question {section.question.number}: {section.failure}")
    if failed:
        raise typer.Exit(RunFailed.exit_code)


def _fields(section: Section) -> dict[str, Any]:
    question, answer = section.question, section.answer
    status = "failed" if answer is None else "kept" if section.kept else "done"
    found: dict[str, Any] = {
        "number": question.number,
        "title": question.title,
        "status": status,
        "elapsed_s": section.elapsed_s,
    }
    if answer is None:
        return {**found, "error": {"message": section.failure, "hint": section.hint}}
    return {**found, "numbers": answer.numbers, "commands": answer.commands, "notes": answer.notes}
