"""The house rules that no reviewer should have to hold: which room may import which, and when."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dlcli.cli.app import GROUPS, TOP

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dlcli"
SOURCES = sorted(PACKAGE.rglob("*.py"))

ROOMS = (
    ("cli",),
    ("assignment",),
    ("vae", "nmt", "layernorm"),
    ("evidence",),
    ("data",),
    ("display",),
    ("engine",),
    ("errors", "pretrained"),
)
"""The rooms, the highest first: imports go down, and never between rooms of one floor."""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}

SHOWING = {"rich", "matplotlib"}
"""Libraries that only `display` and the chapters' own `display.py` and `heatmap.py` import."""

COMMANDS = [(name,) for name in TOP] + [
    (group, name) for group, (_, entries) in GROUPS.items() for name in entries
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and dotted name of everything that a file imports, wherever it does."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_imports_go_down() -> None:
    wrong = []
    for path in SOURCES:
        room = room_of(path)
        for line, name in imports(path) if room in FLOOR else ():
            parts = name.split(".")
            other = parts[1] if parts[0] == "dlcli" and len(parts) > 1 else ""
            if other in FLOOR and other != room and FLOOR[other] <= FLOOR[room]:
                wrong.append(f"{name_of(path)}:{line} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in SOURCES} - {"__init__", "__main__"} == set(FLOOR)


def test_libraries_that_show_stay_where_results_are_shown() -> None:
    users = {
        name_of(path)
        for path in SOURCES
        for _, name in imports(path)
        if name.split(".")[0] in SHOWING and room_of(path) != "display"
    }
    assert not {name for name in users if not name.endswith(("/display.py", "/heatmap.py"))}


def test_files_import_one_another_in_no_circle() -> None:
    """At import or inside functions; what only a type checker reads does not count."""
    modules = {name_of(path).removesuffix(".py").replace("/", "."): path for path in SOURCES}
    needs: dict[str, set[str]] = {}
    for module, path in modules.items():
        tree = tree_of(path)
        typing = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        found = needs[module] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node not in typing:
                names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                found.update(name for name in names & modules.keys() if name != module)
    while leaves := [module for module in needs if not needs[module]]:
        for leaf in leaves:
            del needs[leaf]
        for rest in needs.values():
            rest.difference_update(leaves)
    assert not needs, f"in or behind a circle: {sorted(needs)}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_row_in_the_readme(command: tuple[str, ...]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.lstrip().startswith("|")]
    wanted = re.compile(rf"`dl {' '.join(map(re.escape, command))}[ `]")
    assert any(wanted.search(row) for row in rows), f"no row has `dl {' '.join(command)}`"


HEAVY = ("torch", "numpy", "matplotlib", "sentencepiece")

WATCHED = """
import sys
def check(what, *more):
    loaded = sorted(set({heavy!r} + more) & set(sys.modules))
    assert not loaded, f"{{what}} brings {{loaded}}"
from dlcli.cli.app import app
check("importing the program", "pydantic")
from typer.testing import CliRunner
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
check("dl --help", "pydantic")
for words in {commands!r}:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, result.output
    check(f"dl {{' '.join(words)}} --help")
"""


def run_python(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


def test_help_waits_for_no_heavy_library() -> None:
    """Nor does any command's own. (Typer itself brings pydantic once a command has a name.)"""
    commands = [*([group] for group in GROUPS), *map(list, COMMANDS)]
    run_python(WATCHED.format(heavy=HEAVY, commands=commands))


def test_settings_open_without_a_heavy_library() -> None:
    configs = [f"dlcli.{path.parent.name}.config" for path in PACKAGE.glob("*/config.py")]
    names = sorted({*configs, "dlcli.engine.settings"})
    loaded = f"sorted(set({HEAVY} + ('pydantic',)) & set(sys.modules))"
    lines = [f"import {name}; assert not {loaded}, ('{name}', {loaded})" for name in names]
    run_python("import sys\n" + "\n".join(lines))
