"""The shell of every HTML page: one self-contained file that needs no network and no server.

A page is a body, its style sheets, data as JSON, and JavaScript modules, all read from files of the
chapter that owns them and put into one file here. What every page shares is in `pages/`: the head
(`shell.html.j2`), colours and controls (`shell.css`), and helpers of scripts (`page.js`).

A Content-Security-Policy lets the page load nothing, and run only the script that was put into it:
text that looks like a script is shown as text, and would not run if it were not.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dlcli.display.console import to_json, write_file
from dlcli.errors import RunFailed, UsageFault

PAGES = Path(__file__).parent / "pages"
ENDINGS = (".html", ".htm")
LARGE_BYTES = 5_000_000
"""A larger page is written with a notice."""
MOST_BYTES = 50_000_000
"""A larger page is not written: browsers take long to open it, and mail does not carry it."""


def assemble(
    body: Markup,
    *,
    title: str,
    description: str,
    skip: str = "Skip to the content",
    styles: Sequence[Path] = (),
    script: Path | None = None,
    data: Mapping[str, object] | None = None,
) -> str:
    """Return the whole page; the same parts give the same text.

    Args:
        body: what stands in <body>; one element has the id `content`.
        title: of the window.
        description: one sentence, for what lists pages.
        skip: words of the link to `content`, which keyboards reach first.
        styles: style sheets that come after the shell's own.
        script: a JavaScript module; those that it imports come with it, see `bundle`.
        data: what the script finds by `data()` of page.js.
    """
    code = bundle(script) if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    sheets = "".join(path.read_text(encoding="utf-8") for path in (PAGES / "shell.css", *styles))
    template = templates(PAGES).get_template("shell.html.j2")
    return template.render(
        body=body,
        title=title,
        description=description,
        skip=skip,
        style=Markup(_within("style", sheets)),
        script=Markup(_within("script", code)),
        script_source=f"script-src 'sha256-{digest}'; " if code else "",
        data=None if data is None else Markup(to_json(data).replace("<", "\\u003c")),
    )


def templates(folder: Path, filters: Mapping[str, Callable[..., Any]] | None = None) -> Environment:
    """Return the templates of a folder; they escape all text, and know these filters besides."""
    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= filters or {}
    return found


_IMPORT = re.compile(r'^import \{[^}]*\} from "([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)
_MODULE_WORD = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def bundle(entry: Path) -> str:
    """Join a JavaScript module and all it imports into one module, each after what it needs.

    A page opened from a file may not load modules from other files. The modules then share one
    scope: a name stands for one thing on a page, and an import gives no other name.

    Raises:
        ValueError: an import or export in a form that this does not read.
    """
    parts: dict[Path, str] = {}

    def take(path: Path, importing: frozenset[Path]) -> None:
        if path in parts or path in importing:
            return
        code = path.read_text(encoding="utf-8")
        for name in _IMPORT.findall(code):
            take((path.parent / name).resolve(), importing | {path})
        parts[path] = _EXPORT.sub("", _IMPORT.sub("", code)).strip()
        if (left := _MODULE_WORD.search(parts[path])) is not None:
            raise ValueError(f"{path.name}: cannot join `{left[0]}`")

    take(entry.resolve(), frozenset())
    return "\n\n".join(parts.values()) + "\n"


def _within(element: str, text: str) -> str:
    """Check that a text does not end the element that it is put into."""
    if f"</{element}" in text.lower() or "<!--" in text:
        raise ValueError(f"this text cannot stand in a <{element}>")
    return text


def check_page_path(out: Path) -> None:
    """Refuse a path that cannot be written before the work, not after it.

    Raises:
        UsageFault: it does not end as a page does.
        RunFailed: it cannot be written.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageFault(f"{out} is no name of a page.", hint="End it with .html.")
    whole = out.absolute()
    if whole.is_dir():
        raise RunFailed(f"{whole} is a folder.", hint="Name a file in it, such as page.html.")
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=whole.parent):
            pass
    except OSError as error:
        raise RunFailed(
            f"{whole} cannot be written: {error.strerror or error}.",
            hint="Choose a path in a folder you may write to with --out.",
        ) from None


def write_page(path: Path, page: str, *, notice: Callable[[str], object], hint: str) -> Path:
    """Write a page, and return its absolute path; a large one with a notice of its size.

    Args:
        path: where to.
        page: of `assemble`.
        notice: takes one sentence.
        hint: what makes the page smaller, one sentence.

    Raises:
        RunFailed: the page is larger than `MOST_BYTES`, or cannot be written.
    """
    content = page.encode(errors="replace")  # half a character, as in an odd file's name
    size = f"{len(content) / 1e6:.1f} MB"
    if len(content) > MOST_BYTES:
        most = f"{MOST_BYTES / 1e6:.0f} MB"
        raise RunFailed(f"The page would have {size}, more than {most}.", hint=hint)
    if len(content) > LARGE_BYTES:
        notice(f"The page has {size}. {hint}")
    return write_file(path, content)


def open_page(path: Path, *, notice: Callable[[str], object]) -> None:
    """Open a page in the user's browser, or say that there is none."""
    try:
        opened = webbrowser.open(path.as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        notice(f"No browser could be started here; open {path} in one.")
