"""The page in a real browser: nothing missing, nothing said in the console, nothing to scroll."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dlcli.assignment.page import Heading, render
from dlcli.display.images import image_grid
from tests.assignment.test_page import picture, section, svg
from tests.browser import Browser, browser, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HEADING = Heading(version="dlcli 0", mode="quick", command="dl report")
LONG = "|".join(f"key-{number}:{'value' * 3}" for number in range(30))
BROKEN = """
[...document.images, ...document.querySelectorAll('svg image')]
  .filter(one => one.complete === false || one.naturalWidth === 0).length
"""
EMPTY = """
[...document.querySelectorAll('figure svg')].filter(one => one.getBBox().width < 10).length
"""
SPLIT_WORDS = """
[...document.querySelectorAll('.word')]
  .filter(one => one.textContent.length < 30 && one.offsetHeight > 30).length
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser(installed()) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    image_grid(folder / "grid.svg", [[[[0.0, 1.0]] * 2] * 3] * 2)
    pixels = (folder / "grid.svg").read_text(encoding="utf-8")
    figures = (picture(svg(folder)), picture(pixels, is_picture=True))
    commands = (f"dl vae train --set {LONG}", "dl report --full --only 1 --data glyphs " * 4)
    sections = [
        section(figures, commands=commands, notes=(LONG,)),
        section(number=2, failure=LONG),
    ]
    path = folder / "report.html"
    path.write_text(render(sections, heading=HEADING), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_missing_and_nothing_scrolls_sideways(
    chromium: Browser, page: Path, width: int, dark: bool
) -> None:
    chromium.open(page, width=width, dark=dark)
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value(BROKEN) == 0
    assert chromium.value(EMPTY) == 0
    assert chromium.value(SPLIT_WORDS) == 0
    assert chromium.value("document.querySelectorAll('figure svg').length") == 2
    assert not chromium.problems


def test_prints(chromium: Browser, page: Path, tmp_path: Path) -> None:
    chromium.open(page, width=1280)
    chromium.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert not chromium.problems
