"""The page: well formed, self-contained, readable by every tool."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dlcli.assignment.page import Heading, amount, code, formula, marks, prose, render, shown
from dlcli.assignment.question import Answer, Figure, Number, Question
from dlcli.assignment.report import Section
from dlcli.display.plots import Line, lines


def svg(folder: Path) -> str:
    path = folder / "figure.svg"
    line = Line(name="a", x=[1, 2], y=[1, 3])
    lines(path, [line], x_label="x", y_label="y")
    return path.read_text(encoding="utf-8")


def section(
    figures: tuple[Figure, ...] = (), *, number: int = 1, failure: str = "", **changes: Any
) -> Section:
    fields: dict[str, Any] = {
        "words": ("Words with *weight* and `code`.",),
        "formula": "x_m ~ N(0, I)",
        "numbers": (
            Number("a loss", 1.234, "nats", "one|two", error=0.05),
            Number("b", -2.0, "", "three", ci95=(-3.0, None), reference="r"),
        ),
        "figures": figures,
        "commands": ("dl env",),
        "notes": ("Mind the gap.",),
    }
    question = Question(
        number=number, chapter="Chapter", title="Title", asks="Why?", answer=lambda _: answer
    )
    answer = Answer(**(fields | changes))
    if failure:
        return Section(question=question, answer=None, failure=failure, hint="Fetch it.")
    return Section(question=question, answer=answer)


def picture(text: str, *, is_picture: bool = False) -> Figure:
    return Figure(svg=text, alt="A rising line.", caption="Cap.", is_picture=is_picture)


HEADING = Heading(version="dlcli 0", mode="quick", command="dl report")
VOID = {"meta", "link", "br", "image", "path", "use", "rect", "img"}


class _Nesting(HTMLParser):
    """Raises where an element is closed that was not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [name] if (name := found.get("id")) else []
        self.links += [link] if (link := found.get("href")) else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [name] if (name := dict(attrs).get("id")) else []

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def _read(page: str) -> _Nesting:
    reader = _Nesting()
    reader.feed(page)
    assert not reader.open
    return reader


def test_is_well_formed_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    figure = picture(svg(tmp_path))
    page = render([section((figure, figure)), section((figure,), number=2)], heading=HEADING)
    reader = _read(page)
    assert len(reader.ids) == len(set(reader.ids))
    inner = [link for link in reader.links if link.startswith("#")]
    assert {link[1:] for link in inner} <= set(reader.ids)


def test_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page = render([section((picture(svg(tmp_path)),))], heading=HEADING)
    outside = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert all(link.startswith("http://www.w3.org/") for link in outside), outside
    assert "<script" not in page


def test_the_same_sections_give_the_same_page() -> None:
    pages = {render([section()], heading=HEADING) for _ in range(2)}
    assert len(pages) == 1
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", pages.pop())


def test_every_number_has_its_signature() -> None:
    answer = section().answer
    assert answer is not None
    assert marks(answer) == {"one|two": "a", "three": "b"}
    page = render([section()], heading=HEADING)
    assert "one|\u200btwo" in page
    assert 'href="#signature-1b"' in page


def test_a_section_that_failed_says_so_in_its_place() -> None:
    page = render([section(), section(number=2, failure="No <data>.")], heading=HEADING)
    assert "No &lt;data&gt;." in page
    assert "Fetch it." in page
    assert "1 of 2 sections could not be made" in page
    assert '<section id="question-2"' in page


def test_has_what_a_reader_s_tools_need() -> None:
    page = render([section()], heading=HEADING)
    for part in ('<html lang="en">', 'scope="col"', 'scope="row"', "<main", "<nav aria-label"):
        assert part in page
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_numbers_have_the_digits_they_deserve() -> None:
    error = Number("n", 101.2345, "", "s", error=0.05)
    interval = Number("n", 4980.4, "", "s", ci95=(4870.1, 5090.2), digits=3)
    open_below = Number("n", 1.0, "", "s", ci95=(None, 2.0))
    missing = Number("n", None, "", "s")
    assert shown(error) == "101.23 ± 0.05"
    assert shown(interval) == "4980 [4870, 5090]"
    assert shown(open_below) == "1.000 [-∞, 2.000]"
    assert shown(missing) == "-"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* `c_d*e*`", f"a <em>b</em> {code('c_d*e*')}"),
        ("10^26 and e^KL", "10<sup>26</sup> and e^KL"),
        ("μ_q = 0, L_recon", "μ<sub>q</sub> = 0, L<sub>recon</sub>"),
        ("<script> & `<b>`", f"&lt;script&gt; &amp; {code('<b>')}"),
        ("2 * 3 * 4", "2 * 3 * 4"),
    ],
)
def test_words(text: str, html: str) -> None:
    assert prose(text) == html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("-1.50 ± 0.02", "−1.50 ± 0.02"),
        ("[-0.53, -0.51]", "[−0.53, −0.51]"),
        ("1.2e-16", "1.2\u2009×\u200910<sup>−16</sup>"),
        ("3.0e+07", "3.0\u2009×\u200910<sup>7</sup>"),
        ("-∞", "−∞"),
    ],
)
def test_amounts(text: str, html: str) -> None:
    assert amount(text) == html


def test_a_command_breaks_between_its_words_alone() -> None:
    words = re.findall(r'<span class="word">([^<]+)</span>', code("dl report --full <b>"))
    assert words == ["dl", "report", "--full", "&lt;b&gt;"]
    page = render([section(commands=("dl vae train --arch conv",))], heading=HEADING)
    assert '<span class="word">--arch</span> <span class="word">conv</span>' in page


def test_formulas_have_wide_gaps() -> None:
    assert formula("x_{l+1} = 1,   z") == 'x<sub>l+1</sub> = 1,<span class="gap"></span>z'
