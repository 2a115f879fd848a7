"""The READMEs: links and paths lead somewhere, every command exists with its flags."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dlcli.cli.app import app

ROOT = Path(__file__).parents[1]
GROUPS = {"vae", "nmt", "data", "runs"}
PAGES = [
    ROOT / "README.md",
    ROOT / "tests" / "README.md",
    ROOT / "dlcli" / "CHANGES.md",
    *sorted((ROOT / "dlcli").glob("*/README.md")),
    *sorted((ROOT / "dlcli" / "pretrained").glob("*/README.md")),
]


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", _read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _read(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_and_module_exists(page: Path) -> None:
    text = _read(page)
    for path in re.findall(r"(?<![\w./-])(?:tests|configs)/[\w./-]*\w", text):
        assert (ROOT / path).exists(), path
    for module, words in re.findall(r"-m (tests[\w.]*)([^`#|\n]*)", text):
        found = importlib.util.find_spec(module)
        if found and found.submodule_search_locations:  # what a package runs
            found = importlib.util.find_spec(f"{module}.__main__")
        assert found, module
        assert found.origin
        for flag in re.findall(r" (--[a-z][a-z-]*)", words):
            assert f'"{flag}"' in Path(found.origin).read_text(encoding="utf-8"), (module, flag)


def _commands(page: Path) -> list[list[str]]:
    """Return the words of every `dl …` in a code span or a shell block."""
    text = _read(page)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith("#")]
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    found = [re.search(r"(?:^|[\s/])dl ([a-z-][^#|]*)", code) for code in [*spans, *lines]]
    return [re.sub(r'"[^"]*"', "TEXT", match[1]).split() for match in found if match]


def _python_blocks() -> list[Any]:
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", _read(page), re.M | re.S)
        )
    ]


@pytest.mark.parametrize("block", _python_blocks())
def test_python_examples_run_and_print_little(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert 1 <= len(printed) <= 30
    assert all(len(line) < 400 for line in printed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_needs_bfloat16_says_so(page: Path) -> None:
    if page.parent.parent.name == "pretrained":
        return  # a card says how its model was trained
    for block in _read(page).split("\n\n"):
        for row in block.splitlines() if block.startswith("|") else [block]:
            asks = "--precision bf16" in row and "`--precision bf16`" not in row
            assert not asks or re.search(r"needs?\sbf16", row), row


def test_settings_that_people_copy_run_everywhere() -> None:
    for file in (ROOT / "configs").rglob("*.yaml"):
        assert not re.search(r"precision: (?!auto|fp32)", _read(file)), file


@cache
def _flags(*command: str) -> set[str]:
    """Return the flags that a command's help names; fails where there is no such command."""
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0, f"dl {' '.join(command)}"
    return set(re.findall(r"--[a-z][a-z0-9-]*", done.stdout))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists_with_its_flags(page: Path) -> None:
    for words in _commands(page):
        size = 2 if words[0] in GROUPS else 1
        named = {word.strip("[],") for word in words[size:] if word.lstrip("[").startswith("--")}
        unknown = named - _flags(*words[:size])
        assert not unknown, f"dl {' '.join(words)}: {unknown}"


def test_the_front_page_is_short() -> None:
    text = _read(ROOT / "README.md")
    assert text.count("\n") <= 150
    outside = [line for line in text.splitlines() if not line.startswith("| `dl ")]
    assert len(" ".join(outside).split()) <= 1200
    assert "bf16" not in text, "elsewhere than on its own machines bfloat16 is slow"
