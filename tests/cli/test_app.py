"""The boundary: every way a command can end is an exit code and at most two sentences."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from dlcli import __version__
from dlcli.cli.app import GROUPS, Entry, Root, app, lazy, load
from dlcli.cli.options import plain
from dlcli.display.console import Consoles
from dlcli.errors import (
    CheckFailed,
    CheckpointError,
    ConfigError,
    DataError,
    DlError,
    Interrupted,
    RunFailed,
    UsageFault,
)
from dlcli.nmt.fast.compiling import available_forms, find_library
from tests.cli.tiny import COMMANDS, TRAIN, dl, dl_json, error_of
from tests.processes import PATIENCE_S, ROOT, two_ranks

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
    kind: type[DlError], code: int, name: str
) -> None:
    error = kind("The file é.pt is broken.", hint="Mend it.")
    result = _go(error)
    assert (result.exit_code, result.stdout) == (code, "")
    start = "" if kind is Interrupted else "error: "
    assert result.stderr == f"{start}The file é.pt is broken.\nMend it.\n"
    result = _go(error, "--json")
    assert result.exit_code == code
    fields = {"kind": name, "message": "The file é.pt is broken.", "hint": "Mend it."}
    assert json.loads(result.stdout) == {"error": fields}
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("the first\nthe second"), "unforeseen happened (ValueError: the first)."),
        (ValueError(), "(ValueError: ValueError)"),
        (ValueError(" \n "), "(ValueError: no message)"),
        (MemoryError(), "There is not enough memory for this."),
        (RuntimeError("CUDA out of memory. Tried"), "There is not enough memory for this."),
        (FileNotFoundError(2, "No such file", "a b"), "a b could not be used: No such file."),
        (PermissionError(13, "Permission denied"), "A file could not be used: Permission denied."),
        (OSError("plain words"), "A file could not be used: plain words."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "(UnicodeDecodeError: "),
    ],
)
def test_any_other_exception_is_a_sentence_too(error: Exception, message: str) -> None:
    result = _go(error, "--json")
    found = error_of(result)
    assert (result.exit_code, found["kind"]) == (1, "run")
    assert message in found["message"]
    assert "\n" not in found["message"]
    assert found["hint"]


@pytest.mark.parametrize("error", [ValueError("x"), ConfigError("x")])
def test_with_debug_the_traceback_comes_out(error: Exception) -> None:
    assert _go(error, "--debug").exception is error


def test_python_callers_get_the_exceptions_themselves() -> None:
    program = typer.main.get_command(_fails_with(RunFailed("x")))
    with pytest.raises(RunFailed):
        program.main(["go"], standalone_mode=False)


def test_an_interrupt_is_130_with_a_word() -> None:
    result = _go(KeyboardInterrupt())
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Interrupted" in result.stderr
    assert error_of(_go(KeyboardInterrupt(), "--json"))["kind"] == "interrupted"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_command_may_end_with_a_code_of_its_own(code: int) -> None:
    result = _go(typer.Exit(code))
    assert (result.exit_code, result.output) == (code, "")


def test_of_many_processes_one_writes_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcli.cli.app.ignore_signals", lambda: None)
    for name, value in two_ranks()[1].items():
        monkeypatch.setenv(name, value)
    result = _go(RunFailed("x"), "--json")
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize("words", [[], ["--debug"]])
def test_a_failed_process_does_not_wait_for_the_others(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("dlcli.cli.app.ignore_signals", lambda: done.append("ignore"))
    monkeypatch.setattr(
        "dlcli.engine.distributed.abandon_processes", lambda: done.append("abandon")
    )
    _go(RuntimeError("x"), *words)
    assert done == []
    for name, value in two_ranks()[0].items():
        monkeypatch.setenv(name, value)
    _go(RuntimeError("x"), *words)
    assert done == ["ignore", "abandon"]


@pytest.mark.parametrize(
    ("words", "message", "path"),
    [
        ("vae train --latnet-dim 3", "--latent-dim", "dl vae train"),
        ("vae train --epochs x", "'--epochs': it must be a whole number", "dl vae train"),
        ("vae generate --n 0", "'--n': it must be at least 1", "dl vae generate"),
        ("vae generate --run", "'--run' requires an argument", "dl vae generate"),
        ("vae train --arch con", "'mlp', 'conv'", "dl vae train"),
        ("vae train stray", "stray", "dl vae train"),
        ("vae train --hidden", "--hidden needs at least one value", "dl vae train"),
        ("--nothing", "--nothing", "dl"),
        ("ev", "There is no command 'ev'; did you mean 'env'?", "dl"),
        ("vae trian", "There is no command 'trian'; did you mean 'train'?", "dl vae"),
        ("rns", "There is no command 'rns'; did you mean 'runs'?", "dl"),
        ("zzzz", "There is no command 'zzzz'.", "dl"),
        ("translate", "There is no command 'translate'; did you mean `dl nmt translate`?", "dl"),
        ("train", "did you mean `dl vae train` or `dl nmt train`?", "dl"),
        ("été", "There is no command 'été'.", "dl"),
    ],
)
def test_wrong_usage_is_named_with_what_was_meant_and_the_help(
    words: str, message: str, path: str
) -> None:
    result = dl(*words.split())
    assert result.exit_code == 2
    assert message in result.stderr
    assert f"See `{path} --help`." in result.stderr
    assert "pydantic" not in result.stderr
    result = dl(*words.split(), "--json")
    assert (result.exit_code, error_of(result)["kind"]) == (2, "usage")


@pytest.mark.parametrize("words", [[], ["vae"], ["runs"]])
def test_a_group_without_a_command_shows_its_help(words: list[str]) -> None:
    result = dl(*words)
    assert result.exit_code == 2
    assert "Usage:" in result.output
    assert "error:" not in result.output


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        words, capture_output=True, text=True, env=env, check=False, timeout=PATIENCE_S
    )


def test_the_module_is_the_program_also_on_an_ascii_stream() -> None:
    done = _run(*DL, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dl {__version__}\n", "")
    done = _run(*DL, "vae", "été±", "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "'?t??'" in done.stderr
    error = json.loads(done.stdout)["error"]
    assert "été±" in error["message"]
    assert error["hint"] == "See `dl vae --help`."


HOSTILE = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONWARNINGS": "error",
    "WORLD_SIZE": "",
    "COLUMNS": "0",
    "LANG": "C",
    "HOME": "",
    "XDG_CACHE_HOME": "/proc/nowhere",
}
"""What a notebook, a developer's shell, a scheduler and a container may hand on."""
WORK = {
    "figure": ["kl", "--mu-p", "3", "--plot", "a.png"],
    "training": [*TRAIN, "--epochs", "1"],
    "failure": ["kl", "--sigma-q", "-1"],
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize(
    "environment",
    [
        HOSTILE,
        *(pytest.param({name: HOSTILE[name]}, marks=pytest.mark.slow) for name in HOSTILE),
        pytest.param({"WORLD_SIZE": "2", "RANK": "0"}, marks=pytest.mark.slow),
    ],
    ids=lambda environment: " ".join(environment) if len(environment) < 3 else "all",
)
def test_an_inherited_environment_ends_nothing(
    environment: dict[str, str], work: str, tmp_path: Path
) -> None:
    done = _run(*DL, *WORK[work], **environment)
    assert done.returncode == (2 if work == "failure" else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert ("error: " in done.stderr) is (work == "failure")
    assert "atplotlib" not in done.stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["--help"]])
def test_a_full_disk_behind_the_output_is_said_in_a_sentence(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*DL, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_working_folder_that_is_gone_is_said_in_a_sentence(tmp_path: Path) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = _run("bash", "-c", script, "bash", *DL, "kl", "--mu-p", "1")
    assert done.returncode == 1
    assert "working folder no longer exists" in done.stderr


def test_a_signal_ends_a_command_that_waits_for_its_input() -> None:
    process = subprocess.Popen(
        [*DL, "nmt", "translate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    print("Good morning.", file=process.stdin, flush=True)
    assert process.stdout.readline(), "it has answered, and waits for more"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 130
    _, said = process.communicate()
    assert "Traceback" not in said


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
    assert "\x1b[1;31m" in _on_a_terminal(*DL, "nothing")
    for refusal in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        seen = _on_a_terminal(*DL, "nothing", **refusal)
        assert "There is no command 'nothing'" in seen
        assert "31m" not in seen


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dl ", {"vae", "runs", "env"}),
        ("dl vae tr", {"train", "traverse"}),
        ("dl vae train --latent", {"--latent-dim"}),
        ("dl vae train --arch ", {"mlp", "conv"}),
        ("dl vae train --hidden ", set()),
        ("dl vae train --data m", {"mnist", "multi30k"}),
        ("dl data path gl", {"glyphs"}),
        ("dl runs show ", {"latest", "mlp", "seeds/seed-1", "vae-best"}),
        ("dl vae generate --run ml", {"mlp"}),
    ],
)
def test_shells_complete_commands_flags_choices_and_names(words: str, expected: set[str]) -> None:
    for name in ("mlp", "seeds/seed-1"):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / "config.yaml").write_text("{}")
    environment = {
        "_DL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    result = CliRunner().invoke(app, [], prog_name="dl", env=environment)
    assert (result.exit_code, result.stderr) == (0, "")
    assert expected <= set(result.stdout.split())


def test_env_names_versions_devices_precisions_and_what_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = dl_json("env")
    assert found["devices"][-1] == "cpu"
    assert set(found["bf16_native"]) == set(found["devices"])
    assert found["torch"].startswith("2.13")
    assert set(found["compiled_search"]) == {"fp32", "bf16"}
    assert found["compiled_form"] in [*available_forms(), "none"]
    assert bool(found["compiled_search_problem"]) != any(found["compiled_search"].values())
    find_library.cache_clear()
    monkeypatch.setenv("DL_COMPILE", "0")
    without, shown = dl_json("env"), dl("env").stdout
    find_library.cache_clear()
    assert not any(without["compiled_search"].values())
    assert without["compiled_search_problem"] == "DL_COMPILE=0 is set."
    assert "bf16_native" in shown
    assert "cpu: " in shown


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_there_and_every_flag_says_what_it_does(path: tuple[str, ...]) -> None:
    command = load(path[-1], COMMANDS[path])
    result = dl(*path, "--help")
    assert result.exit_code == 0, result.output
    assert "--json" in result.output
    assert ("--threads" in result.output) is (path[0] not in ("data", "runs", "env", "models"))
    for parameter in command.params:
        said = getattr(parameter, "help", None)
        assert said, f"{' '.join(path)} {parameter.name}"
        assert not re.search(r"(?<!\\)\[[a-z#/@]", said), "Rich takes it for markup and hides it"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_examples_that_can_be_typed(path: tuple[str, ...]) -> None:
    shown = dl(*path, "--help").output.partition("Examples:")[2].strip().splitlines()
    assert shown
    for example in map(str.strip, shown):
        assert len(example) <= 76, "it fits a terminal of 80 columns"
        words = shlex.split(example.rpartition("| ")[2])
        used = next(words[1 : n + 1] for n in (2, 1) if tuple(words[1 : n + 1]) in COMMANDS)
        command = load(used[-1], COMMANDS[tuple(used)])
        command.make_context(used[-1], words[len(used) + 1 :])


@pytest.mark.parametrize(
    "path",
    [path for path in COMMANDS if path[0] not in ("runs", "data", "env", "models")],
    ids=" ".join,
)
def test_every_command_that_computes_takes_a_number_of_threads(path: tuple[str, ...]) -> None:
    command = load(path[-1], COMMANDS[path])
    assert any("--threads" in parameter.opts for parameter in command.params)


def test_the_help_lists_every_command_with_its_line() -> None:
    listed = {(): dl("--help").output} | {(name,): dl(name, "--help").output for name in GROUPS}
    lines = {(name,): text for name, (text, _) in GROUPS.items()}
    lines |= {path: entry.help for path, entry in COMMANDS.items()}
    for path, line in lines.items():
        assert f" {path[-1]} " in listed[path[:-1]]
        assert line.split()[0] in listed[path[:-1]]
        assert line.endswith(".")
        assert len(line) <= 80


@plain
def greet(consoles: Consoles, *, name: Annotated[str, typer.Argument()]) -> None:
    """Greet someone, at length."""
    typer.echo(f"hello {name}")


def test_a_command_is_imported_when_it_is_used_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = typer.Typer(cls=lazy({"greet": Entry("toy_module:greet", "Greet someone.")}))
    program.command("now")(lambda: typer.echo("now"))
    program.callback()(lambda: None)
    listing = CliRunner().invoke(program, ["--help"]).output
    assert "Greet someone." in listing, "no such module was needed for that"
    assert listing.index("greet") < listing.index("now")
    assert CliRunner().invoke(program, ["now"]).stdout == "now\n"
    monkeypatch.setitem(sys.modules, "dlcli.cli.toy_module", SimpleNamespace(greet=greet))
    assert CliRunner().invoke(program, ["greet", "été"]).stdout == "hello été\n"
    assert "at length" in CliRunner().invoke(program, ["greet", "--help"]).output
