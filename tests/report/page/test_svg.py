from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dlcli.display.plots import inline
from tests.report.page.sections import svg


def test_identifiers_are_the_figure_s_own_and_all_links_hit(tmp_path: Path) -> None:
    found = inline(svg(tmp_path), name="q1f1", alt="a", is_picture=False)
    ids = set(re.findall(r'\bid="([^"]+)"', found))
    links = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', found))
    assert ids
    assert all(name.startswith("q1f1-") for name in ids)
    assert {one or other for one, other in links} <= ids
    ElementTree.fromstring(found)


def test_lines_take_the_page_s_ink_and_pictures_keep_their_paper(tmp_path: Path) -> None:
    text = svg(tmp_path)
    plot = inline(text, name="a", alt="a", is_picture=False)
    assert "var(--ink)" in plot
    assert "#333333" not in plot
    assert "fill: #ffffff" not in plot
    assert "fill: #ffffff" in inline(text, name="a", alt="a", is_picture=True)


def test_says_what_is_to_be_seen(tmp_path: Path) -> None:
    found = inline(svg(tmp_path), name="a", alt='"x" < y', is_picture=False)
    assert 'role="img" aria-label="&#34;x&#34; &lt; y"' in found
    assert "<metadata>" not in found


def test_refuses_what_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no SVG"):
        inline("<p>", name="a", alt="a", is_picture=False)
