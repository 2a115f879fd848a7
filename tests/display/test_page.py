"""The shell of every page: self-contained, nothing that is text runs, sizes are kept."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import Markup, escape

from dlcli.display import page as page_module
from dlcli.display.page import assemble, bundle, check_page_path, open_page, write_page
from dlcli.errors import RunFailed, UsageFault
from tests.browser import Browser, browser, installed

HOSTILE = (
    "</script><script>document.title = 'ran'</script>",
    '"><img src=x onerror="document.title = \'ran\'">',
    "<!--<script>",
    "\u202eright to left",
    "' onload='document.title=1'",
    "a\u2028b",
    "word " * 10_000,
)


def _script(folder: Path) -> Path:
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "parts" / "a.js").write_text('export const A = "a";\n')
    (folder / "b.js").write_text(
        'import { A } from "./parts/a.js";\n\nexport function b() {\n  return A + "b";\n}\n'
    )
    (folder / "main.js").write_text(
        'import { A } from "./parts/a.js";\nimport {\n  b,\n} from "./b.js";\n\n'
        'const given = JSON.parse(document.getElementById("data").textContent);\n'
        'document.getElementById("content").append(A, b(), ...given.words);\n'
    )
    return folder / "main.js"


def _page(folder: Path) -> str:
    return assemble(
        Markup("<main id='content'>{}</main>").format(HOSTILE[0]),
        title=HOSTILE[0],
        description=HOSTILE[1],
        script=_script(folder),
        data={"words": HOSTILE},
    )


def test_every_text_is_escaped_and_comes_back_as_it_was(tmp_path: Path) -> None:
    text = _page(tmp_path)
    assert text == _page(tmp_path)
    assert str(escape(HOSTILE[0])) in text
    for one in HOSTILE[:2]:
        assert one not in text
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found[1])["words"] == list(HOSTILE)


def test_only_the_page_s_own_script_may_run(tmp_path: Path) -> None:
    text = _page(tmp_path)
    found = re.search(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}';"
    assert policy in text
    silent = assemble(Markup(""), title="t", description="d")
    assert "<script" not in silent
    assert "script-src" not in silent


def test_modules_are_joined_each_once_after_what_it_needs(tmp_path: Path) -> None:
    code = bundle(_script(tmp_path))
    assert code.startswith('const A = "a";\n\nfunction b() {')
    assert code.count("const A") == 1
    assert "import" not in code


@pytest.mark.parametrize(
    "line", ['import * as a from "./a.js";', "export default 3;", "export { a };"]
)
def test_modules_in_other_forms_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "main.js").write_text(f"const a = 1;\n{line}\n")
    with pytest.raises(ValueError, match="cannot join"):
        bundle(tmp_path / "main.js")


def test_a_script_that_would_end_its_element_is_refused(tmp_path: Path) -> None:
    (tmp_path / "main.js").write_text('const a = "</script>";\n')
    with pytest.raises(ValueError, match="<script>"):
        assemble(Markup(""), title="t", description="d", script=tmp_path / "main.js")


def test_a_large_page_is_written_with_a_notice_and_a_huge_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "LARGE_BYTES", 10)
    monkeypatch.setattr(page_module, "MOST_BYTES", 100)
    said: list[str] = []
    path = tmp_path / "new" / "page.html"
    for size in (10, 100):
        write_page(path, "x" * size, notice=said.append, hint="Take less.")
        assert path.stat().st_size == size
    assert said == ["The page has 0.0 MB. Take less."]
    with pytest.raises(RunFailed, match="more than") as caught:
        write_page(path, "x" * 101, notice=said.append, hint="Take less.")
    assert caught.value.hint == "Take less."
    assert path.stat().st_size == 100


def test_an_odd_name_can_be_written(tmp_path: Path) -> None:
    path = write_page(tmp_path / "a.html", "odd \udc80", notice=print, hint="")
    assert path.read_text() == "odd ?"


def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="no name of a page"):
        check_page_path(tmp_path / "page.txt")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(RunFailed, match="is a folder"):
        check_page_path(tmp_path / "folder.html")
    (tmp_path / "file").touch()
    with pytest.raises(RunFailed, match="cannot be written"):
        check_page_path(tmp_path / "file" / "page.html")
    check_page_path(tmp_path / "new" / "page.htm")


def test_says_where_no_browser_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    tried: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: tried.append(url) or len(tried) > 1)
    for _ in range(2):
        open_page(tmp_path / "a.html", notice=said.append)
    assert tried == [(tmp_path / "a.html").as_uri()] * 2
    assert said == [f"No browser could be started here; open {tmp_path / 'a.html'} in one."]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser(installed()) as found:
        yield found


@pytest.mark.slow
def test_a_browser_runs_the_script_and_shows_the_rest_as_text(
    chromium: Browser, tmp_path: Path
) -> None:
    path = write_page(tmp_path / "a.html", _page(tmp_path), notice=print, hint="")
    chromium.open(path, width=390)
    assert chromium.value("document.title") == HOSTILE[0]
    text = chromium.value("document.getElementById('content').textContent")
    assert text == HOSTILE[0] + "aab" + "".join(HOSTILE)
    assert not chromium.problems
    (tmp_path / "b.html").write_text(
        path.read_text().replace("</main>", "</main><script>document.title = 'ran'</script>")
    )
    chromium.open(tmp_path / "b.html", width=390)
    assert chromium.value("document.title") == HOSTILE[0]
    assert any("Content Security Policy" in problem for problem in chromium.problems)
