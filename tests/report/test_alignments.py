"""Alignments in words: links where nothing is known about them, else how good they are."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from dlcli.display.console import to_json
from dlcli.nmt.align import NmtAlignment
from dlcli.nmt.alignment import AlignmentScore
from dlcli.nmt.display import alignment_object, alignment_words

SCORE = AlignmentScore(
    aer=0.12345, precision=0.75, recall=0.5, sentences=2, links=1234, sure=99, possible=200
)


def alignment(**changed: object) -> NmtAlignment:
    fields: dict[str, object] = {
        "run": "/one", "symmetrized_with": None, "direction": "en-fr",
        "links_from": "posterior", "shift": 0,
        "links": ("0-0 1-1", ""), "score": None, "sentences": 2, "elapsed_s": 0.5,
        "sentences_per_s": 4.0, "signature": "task:align",
    }  # fmt: skip
    return NmtAlignment(**{**fields, **changed})  # type: ignore[arg-type]


def words(found: NmtAlignment) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for item in alignment_words(found):
        console.print(item, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue()


def test_links_alone_are_a_line_a_pair() -> None:
    assert words(alignment()) == "0-0 1-1\n\n"


def test_a_score_is_shown_with_its_counts_and_signature() -> None:
    text = words(alignment(score=SCORE, symmetrized_with="/two"))
    for part in ("12.35 %", "75.00 % of 1,234", "50.00 % of 99", "/two", "signature task:align"):
        assert part in text


def test_the_object_is_strict_json() -> None:
    without = alignment_object(alignment(), files=[])
    assert without["aer"] is None
    found = alignment_object(alignment(score=SCORE), files=["/x"])
    assert (found["aer"], found["predicted_links"]) == (0.12345, 1234)
    assert '"links": ["0-0 1-1", ""]' in to_json(found)
