"""The house rules that no reviewer should have to hold: layers, sizes, mirrors, lazy imports."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlcli.cli.tree import GROUPS, TOP

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dlcli"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LAYERS = [
    {"cli"},
    {"study"},
    {"report"},
    {"vae", "nmt", "evidence", "layernorm"},
    {"data"},
    {"engine"},
    {"errors", "lazy", "pretrained"},
]
"""Rooms, the highest first: imports go down, never up and never sideways."""
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

ONLY_IN = {"typer": "cli", "rich": "report", "matplotlib": "report", "sacrebleu": "nmt"}
"""Libraries that one room keeps to itself."""

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60

UNTESTED = {"dlcli/__init__.py", "dlcli/__main__.py"}
"""Modules without a test file: the version, and three lines that `tests/cli/test_app.py` runs."""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _room(path: Path) -> str:
    """Return the room of a source file: `vae`, `errors`, or nothing for the package's own files."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return first if first in RANK else ""


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and dotted name of everything a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno} has a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _ours(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and room of every import from within the package."""
    for line, name in _imports(path):
        parts = name.split(".")
        if parts[0] == "dlcli" and len(parts) > 1 and parts[1] in RANK:
            yield line, parts[1]


def _type_lines(path: Path) -> set[int]:
    """Return the lines that only a type checker reads."""
    blocks = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {line for node in blocks for line in range(node.lineno, (node.end_lineno or 0) + 1)}


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_room_has_its_place() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found <= set(RANK)


def test_imports_go_down_and_never_sideways() -> None:
    """`report` may name the types of the results that `study` hands it, and no more of it."""
    wrong = []
    for path in SOURCES:
        room, types = _room(path), _type_lines(path)
        for line, other in _ours(path) if room else []:
            handed_down = (room, other) == ("report", "study") and line in types
            if other != room and RANK[other] <= RANK[room] and not handed_down:
                wrong.append(f"{_name(path)}:{line} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_the_command_line_but_the_program_itself() -> None:
    importers = {
        _name(path)
        for path in SOURCES
        for _, room in _ours(path)
        if room == "cli" and _room(path) != "cli"
    }
    assert importers == {"dlcli/__main__.py"}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_in_its_room(library: str) -> None:
    users = {
        _room(path)
        for path in SOURCES
        for _, name in _imports(path)
        if name.split(".")[0] == library
    }
    assert users <= {ONLY_IN[library]}


def test_files_are_short() -> None:
    lengths = {_name(p): p.read_text(encoding="utf-8").count("\n") for p in SOURCES + TESTS}
    for name in ("dlcli/data/grammar.py", "tests/data/test_grammar.py"):
        del lengths[name]  # one story each
    long = {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}
    assert not long


def test_functions_are_short() -> None:
    long = [
        f"{_name(path)}:{node.lineno} {node.name} has {length} lines"
        for path in SOURCES + TESTS
        for node in _functions(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_public_functions_take_few_arguments_by_position() -> None:
    """Three at the very most, `self` and `cls` aside: the rest have names."""
    wrong = []
    for path in SOURCES:
        for node in _functions(path):
            names = [arg.arg for arg in node.args.posonlyargs + node.args.args]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            if count > 3 and not node.name.startswith("_"):
                wrong.append(f"{_name(path)}:{node.lineno} {node.name} takes {count} by position")
    assert not wrong, "\n".join(wrong)


def test_names_say_what_is_inside() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc", "base"}
    assert not [_name(path) for path in SOURCES if vague & set(path.with_suffix("").parts)]


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|pragma: no cover")
    unfinished = [
        f"{_name(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if marks.search(line)
    ]
    assert not unfinished


def test_tests_mirror_the_code() -> None:
    missing = []
    for path in SOURCES:
        inner = path.relative_to(PACKAGE)
        if path.name == "__init__.py" or _name(path) in UNTESTED:
            continue
        if not (ROOT / "tests" / inner.parent / f"test_{inner.name}").exists():
            missing.append(_name(path))
    assert not missing, "\n".join(missing)


def test_every_test_file_is_of_some_code() -> None:
    """`test_loop.py` and `test_loop_resume.py` are both of `loop.py`; `test_vae.py` of the room."""
    stray = []
    for path in TESTS:
        inner = path.relative_to(ROOT / "tests")
        folder, stem = PACKAGE / inner.parent, inner.stem.removeprefix("test_")
        known = [source.stem for source in folder.glob("*.py")] + [folder.name, "init"]
        of_code = any(stem == name or stem.startswith(f"{name}_") for name in known)
        if path.name.startswith("test_") and folder not in (PACKAGE, PACKAGE / "benchmarks"):
            stray += [] if of_code else [_name(path)]
    assert not stray, "\n".join(stray)


def _public() -> list[tuple[str, str]]:
    rooms = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    found = [(room, importlib.import_module(f"dlcli.{room}")) for room in rooms]
    return [(room, name) for room, module in found for name in getattr(module, "__all__", [])]


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for room, name in _public():
        value = getattr(importlib.import_module(f"dlcli.{room}"), name)
        if callable(value):
            assert value.__doc__, f"dlcli.{room}.{name} has no docstring"


COMMANDS = [(name,) for name in TOP] + [
    (group, name) for group, (_, entries) in GROUPS.items() for name in entries
]


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


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    return done.stdout


def test_help_waits_for_no_heavy_library() -> None:
    """Nor does any command's own. (Typer itself brings pydantic once a command has a name.)"""
    commands = [*([group] for group in GROUPS), *map(list, COMMANDS)]
    _python(WATCHED.format(heavy=HEAVY, commands=commands))


def test_rooms_and_their_configs_open_without_a_heavy_library() -> None:
    rooms = [f"dlcli.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")]
    configs = [f"dlcli.{path.parent.name}.config" for path in PACKAGE.glob("*/config.py")]
    names = sorted({*rooms, *configs, "dlcli.engine.settings"})
    loaded = f"sorted(set({HEAVY} + ('pydantic',)) & set(sys.modules))"
    lines = [f"import {name}; assert not {loaded}, ('{name}', {loaded})" for name in names]
    _python("import sys\n" + "\n".join(lines))
