"""Word alignments in words: the error rate, and what it was measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from dlcli.report.numbers import count, duration
from dlcli.report.tables import facts

if TYPE_CHECKING:
    from dlcli.study.nmt_alignment import NmtAlignment


def alignment_words(found: NmtAlignment) -> list[RenderableType]:
    """Show the links themselves, a line a pair, or how good they are where that is known."""
    if found.score is None:
        return ["\n".join(found.links)]
    score = found.score
    shown: dict[str, object] = {"run": found.run}
    if found.symmetrized_with is not None:
        shown["symmetrised with"] = found.symmetrized_with
    shown |= {
        "links from": f"the {found.links_from}",
        "pairs": f"{found.sentences:,} {found.direction}",
        "alignment error rate": f"{100 * score.aer:.2f} %",
        "precision": f"{100 * score.precision:.2f} % of {score.links:,} links possible",
        "recall": f"{100 * score.recall:.2f} % of {score.sure:,} sure links found",
        "speed": f"{count(found.sentences_per_s)} pairs/s ({duration(found.elapsed_s)})",
    }
    return [facts(shown, signatures=found.signature)]


def alignment_object(found: NmtAlignment, *, files: list[str]) -> dict[str, object]:
    """Return the fields of `--json`."""
    score = found.score
    return {
        "run": found.run,
        "symmetrized_with": found.symmetrized_with,
        "direction": found.direction,
        "links_from": found.links_from,
        "shift": found.shift,
        "aer": score and score.aer,
        "precision": score and score.precision,
        "recall": score and score.recall,
        "sentences": found.sentences,
        "predicted_links": score and score.links,
        "sure_links": score and score.sure,
        "possible_links": score and score.possible,
        "links": found.links,
        "sentences_per_s": found.sentences_per_s,
        "files": files,
        "signature": found.signature,
    }
