"""The boundary: every way a command can end is an exit code and at most two sentences."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from dlcli import __version__
from dlcli.cli.app import GROUPS, TOP, Entry, Root, app, as_known, lazy, load
from dlcli.cli.options import plain
from dlcli.display.console import Consoles
from dlcli.errors import (
    CheckFailed,
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    RunFailed,
    UsageFault,
)
from dlcli.nmt.fast.compiling import load_library
from tests.cli.tiny import dl, dl_json
from tests.processes import PATIENCE_S

ROOT = Path(__file__).parents[2]
DL = [sys.executable, "-m", "dlcli"]


def _fails_with(error: BaseException) -> typer.Typer:
    """A program whose command `go` raises something."""
    program = typer.Typer(cls=lazy({}, base=Root), pretty_exceptions_enable=False)

    @program.command()
    def go(
        json: Annotated[bool, typer.Option("--json")] = False,
        debug: Annotated[bool, typer.Option("--debug")] = False,
    ) -> None:
        raise error

    program.command("other")(lambda: None)
    return program


def _go(error: BaseException, *words: str) -> Result:
    return CliRunner().invoke(_fails_with(error), ["go", *words])


@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        (RunFailed, 1, "run"),
        (DataError, 1, "data"),
        (CheckpointError, 1, "checkpoint"),
        (UsageFault, 2, "usage"),
        (ConfigError, 2, "config"),
        (CheckFailed, 3, "check"),
        (Interrupted, 130, "interrupted"),
    ],
)
def test_a_failure_is_two_sentences_and_its_exit_code(
    kind: type[RunFailed], code: int, name: str
) -> None:
    error = kind("The file é.pt is broken.", hint="Mend it.")
    result = _go(error)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == "error: The file é.pt is broken.\nMend it.\n"
    result = _go(error, "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout) == {
        "error": {"kind": name, "message": "The file é.pt is broken.", "hint": "Mend it."}
    }
    assert result.stdout.count("\n") == 1


def test_what_nobody_foresaw_is_a_sentence_too() -> None:
    result = _go(ValueError("the first line\nthe second"))
    assert result.exit_code == 1
    assert "Something unforeseen happened (ValueError: the first line)." in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" not in result.output
    assert json.loads(_go(ValueError("x"), "--json").stdout)["error"]["kind"] == "run"


@pytest.mark.parametrize("error", [ValueError("x"), ConfigError("x")])
def test_with_debug_the_traceback_comes_out(error: Exception) -> None:
    result = _go(error, "--debug")
    assert result.exception is error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError(), "(ValueError: ValueError)"),
        (ValueError(" \n "), "(ValueError: no message)"),
        (AssertionError(), "(AssertionError: AssertionError)"),
        (MemoryError(), "There is not enough memory for this."),
        (RuntimeError("CUDA out of memory. Tried"), "There is not enough memory for this."),
        (
            FileNotFoundError(2, "No such file or directory", "a b"),
            "a b could not be used: No such",
        ),
        (PermissionError(13, "Permission denied"), "A file could not be used: Permission denied."),
        (OSError("plain words"), "A file could not be used: plain words."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "(UnicodeDecodeError: "),
    ],
)
def test_any_exception_becomes_a_known_one(error: Exception, message: str) -> None:
    known = as_known(error)
    assert message in known.message
    assert "\n" not in known.message
    assert known.hint
    assert known.exit_code == 1


def test_an_interrupt_is_130_with_a_word() -> None:
    result = _go(KeyboardInterrupt())
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Interrupted" in result.stderr
    assert json.loads(_go(KeyboardInterrupt(), "--json").stdout)["error"]["kind"] == "interrupted"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_command_may_end_with_a_code_of_its_own(code: int) -> None:
    result = _go(typer.Exit(code))
    assert (result.exit_code, result.output) == (code, "")


def test_of_many_processes_one_writes_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    result = _go(RunFailed("x"), "--json")
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize("words", [[], ["--debug"]])
def test_of_many_processes_a_failed_one_parts_from_the_others(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("dlcli.cli.app.ignore_signals", lambda: done.append("ignore"))
    monkeypatch.setattr(
        "dlcli.engine.distributed.abandon_processes", lambda: done.append("abandon")
    )
    _go(RuntimeError("x"), *words)
    assert done == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    _go(RuntimeError("x"), *words)
    assert done == ["ignore", "abandon"]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("vae train --latnet-dim 3", "--latent-dim", "See `dl vae train --help`."),
        ("vae train --epochs x", "'--epochs'", "See `dl vae train --help`."),
        ("vae train --arch con", "'mlp', 'conv'", "See `dl vae train --help`."),
        ("vae train stray", "stray", "See `dl vae train --help`."),
        ("vae train --hidden", "--hidden needs at least one value", "See `dl vae train --help`."),
        ("--nothing", "--nothing", "See `dl --help`."),
    ],
)
def test_wrong_usage_names_the_flag_and_the_help(words: str, message: str, hint: str) -> None:
    result = CliRunner().invoke(app, words.split(), prog_name="dl")
    assert result.exit_code == 2
    assert message in result.stderr
    assert hint in result.stderr
    assert "pydantic" not in result.stderr
    result = CliRunner().invoke(app, [*words.split(), "--json"], prog_name="dl")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["kind"] == "usage"


@pytest.mark.parametrize("words", [[], ["vae"], ["runs"]])
def test_a_group_without_a_command_shows_its_help(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "Usage:" in result.output
    assert "error:" not in result.output


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"dl {__version__}\n"


def test_python_callers_get_the_exceptions_themselves() -> None:
    program = typer.main.get_command(_fails_with(RunFailed("x")))
    with pytest.raises(RunFailed):
        program.main(["go"], standalone_mode=False)


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        words, capture_output=True, text=True, env=env, check=False, timeout=PATIENCE_S
    )


def test_the_module_is_the_program() -> None:
    done = _run(*DL, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dl {__version__}\n", "")
    done = _run(*DL, "vae", "trian", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["hint"] == "See `dl vae --help`."


def test_an_ascii_terminal_is_no_failure() -> None:
    done = _run(*DL, "vae", "été±", "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "'?t??'" in done.stderr
    assert "été±" in json.loads(done.stdout)["error"]["message"]


TALKATIVE = """
import typer
from dlcli.cli.app import Root
from dlcli.cli.app import lazy
program = typer.Typer(cls=lazy({}, base=Root))
program.command("other")(lambda: None)
@program.command()
def talk() -> None:
    for i in range(100_000):
        print("line", i)
program()
"""


def test_a_reader_that_leaves_is_no_failure() -> None:
    script = f'{sys.executable} -c "$CODE" talk | head -1; echo ${{PIPESTATUS[0]}}'
    done = _run("bash", "-c", script, CODE=TALKATIVE)
    assert (done.stdout, done.stderr) == ("line 0\n0\n", "")


def _on_a_terminal(*words: str, **environment: str) -> str:
    """Run on a pseudo-terminal and return all that appeared there."""
    import pty

    leader, follower = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | environment
    process = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    seen = b""
    try:
        while chunk := os.read(leader, 4096):
            seen += chunk
    except OSError:  # Linux says so when the other side has closed
        pass
    process.wait(PATIENCE_S)
    os.close(leader)
    return seen.decode()


def test_colours_are_for_terminals_that_want_them() -> None:
    red = "\x1b[1;31m"
    assert red in _on_a_terminal(*DL, "nothing")
    for refusal in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        seen = _on_a_terminal(*DL, "nothing", **refusal)
        assert "There is no command 'nothing'" in seen
        assert "31m" not in seen
    assert "\x1b" not in _run(*DL, "nothing", TERM="xterm-256color").stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dl ", {"vae", "runs", "env"}),
        ("dl vae tr", {"train", "traverse"}),
        ("dl vae train --latent", {"--latent-dim"}),
        ("dl vae train --arch ", {"mlp", "conv"}),
        ("dl vae train --hidden ", set()),
    ],
)
def test_shells_complete_commands_flags_and_choices(words: str, expected: set[str]) -> None:
    environment = {
        "_DL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    result = CliRunner().invoke(app, [], prog_name="dl", env=environment)
    assert result.exit_code == 0
    assert expected <= set(result.stdout.split())
    assert result.stderr == ""


# -- `dl env`: what this machine offers


def test_env_names_versions_devices_and_precisions() -> None:
    found = dl_json("env")
    assert found["devices"][-1] == "cpu"
    assert set(found["bf16_native"]) == set(found["devices"])
    assert found["torch"].startswith("2.13")
    done = dl("env")
    assert done.exit_code == 0
    assert "bf16_native" in done.stdout
    assert "cpu: " in done.stdout


def test_it_says_why_translating_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dl_json("env")
    assert set(found["compiled_search"]) == {"fp32", "bf16", "int8"}
    assert bool(found["compiled_search_problem"]) != any(found["compiled_search"].values())
    load_library.cache_clear()
    monkeypatch.setenv("DL_COMPILE", "0")
    without = dl_json("env")
    load_library.cache_clear()
    assert not any(without["compiled_search"].values())
    assert without["compiled_search_problem"] == "DL_COMPILE=0 is set."


# -- The tree of commands: a table that is true, and names that may be mistyped

COMMANDS: dict[tuple[str, ...], Entry] = {(name,): entry for name, entry in TOP.items()} | {
    (group, name): entry
    for group, (_, entries) in GROUPS.items()
    for name, entry in entries.items()
}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_there_and_every_flag_says_what_it_does(path: tuple[str, ...]) -> None:
    command = load(path[-1], COMMANDS[path])
    assert command.name == path[-1]
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0, result.output
    assert "--json" in result.output
    for parameter in command.params:
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
    for line in [entry.help for entry in COMMANDS.values()] + [text for text, _ in GROUPS.values()]:
        assert line.endswith(".")
        assert len(line) <= 80


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


@plain
def greet(consoles: Consoles, *, name: Annotated[str, typer.Argument()]) -> None:
    """Greet someone, at length."""
    typer.echo(f"hello {name}")


@pytest.fixture
def toy() -> typer.Typer:
    """A program of one lazy command and one that is simply there."""
    program = typer.Typer(cls=lazy({"greet": Entry("toy_module:greet", "Greet someone.")}))
    program.command("now")(lambda: typer.echo("now"))
    program.callback()(lambda: None)
    return program


def test_a_command_is_imported_when_it_is_used_and_not_before(
    toy: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = CliRunner().invoke(toy, ["--help"]).output
    assert "Greet someone." in listing, "no such module was needed for that"
    assert listing.index("greet") < listing.index("now")
    assert CliRunner().invoke(toy, ["now"]).stdout == "now\n"
    module = SimpleNamespace(greet=greet)
    monkeypatch.setitem(sys.modules, "dlcli.cli.toy_module", module)
    assert CliRunner().invoke(toy, ["greet", "été"]).stdout == "hello été\n"
    assert "at length" in CliRunner().invoke(toy, ["greet", "--help"]).output
