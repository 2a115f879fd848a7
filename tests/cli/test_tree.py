"""The tree of commands: a table that is true, and names that may be mistyped."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from dlcli.cli.app import GROUPS, TOP, Entry, LazyGroup, app, lazy, load

COMMANDS: dict[tuple[str, ...], Entry] = {(name,): entry for name, entry in TOP.items()} | {
    (group, name): entry
    for group, (_, entries) in GROUPS.items()
    for name, entry in entries.items()
}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_in_the_table_is_where_the_table_says(path: tuple[str, ...]) -> None:
    command = load(path[-1], COMMANDS[path])
    assert command.name == path[-1]
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0, result.output
    assert "--json" in result.output or "--help" in result.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_flag_says_what_it_does(path: tuple[str, ...]) -> None:
    for parameter in load(path[-1], COMMANDS[path]).params:
        said = getattr(parameter, "help", None)
        assert said, f"{' '.join(path)} {parameter.name}"
        assert not re.search(r"(?<!\\)\[[a-z#/@]", said), "Rich takes it for markup and hides it"


def test_the_help_lists_every_command_with_its_line() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    for name in [*TOP, *GROUPS]:
        assert f" {name} " in output
    for group, (_, entries) in GROUPS.items():
        output = CliRunner().invoke(app, [group, "--help"]).output
        for name, entry in entries.items():
            assert f" {name} " in output
            assert entry.help.split()[0] in output


def test_help_lines_are_sentences() -> None:
    lines = [entry.help for entry in COMMANDS.values()] + [text for text, _ in GROUPS.values()]
    for line in lines:
        assert line.endswith(".")
        assert len(line) <= 80
        assert line[0].isupper()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ev"], "There is no command 'ev'; did you mean 'env'?"),
        (["vae", "trian"], "There is no command 'trian'; did you mean 'train'?"),
        (["rns"], "There is no command 'rns'; did you mean 'runs'?"),
        (["zzzz"], "There is no command 'zzzz'."),
        (["été"], "There is no command 'été'."),
    ],
)
def test_a_mistyped_command_is_named_with_the_nearest(words: list[str], message: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert f"See `{' '.join(['dl', *words[:-1]])} --help`." in result.stderr


def _greet(name: str) -> None:
    """Greet someone, at length."""
    typer.echo(f"hello {name}")


def _register(app: typer.Typer) -> None:
    app.command("greet")(_greet)
    app.command("other")(lambda: None)


@pytest.fixture
def toy() -> typer.Typer:
    """A program of one lazy command and one that is simply there."""
    program = typer.Typer(cls=lazy({"greet": Entry("toy_module", "Greet someone.")}))
    program.command("now")(lambda: typer.echo("now"))
    program.callback()(lambda: None)
    return program


def test_a_command_is_imported_when_it_is_used_and_not_before(
    toy: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = CliRunner().invoke(toy, ["--help"])
    assert "Greet someone." in listing.output, "no such module was needed for that"
    assert CliRunner().invoke(toy, ["now"]).stdout == "now\n"
    module = SimpleNamespace(register=_register)
    monkeypatch.setitem(sys.modules, "dlcli.cli.toy_module", module)
    assert CliRunner().invoke(toy, ["greet", "été"]).stdout == "hello été\n"
    assert "at length" in CliRunner().invoke(toy, ["greet", "--help"]).output


def test_the_table_comes_first_and_the_rest_after(toy: typer.Typer) -> None:
    group = typer.main.get_group(toy)
    assert isinstance(group, LazyGroup)
    context = typer.Context(group)
    assert group.list_commands(context) == ["greet", "now"]
