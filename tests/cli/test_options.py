"""Flags: lists in every form, settings in layers of precedence, help, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from dlcli.cli.app import Root, lazy
from dlcli.cli.options import (
    Assignment,
    OutFlag,
    configured,
    gather,
    parse_assignments,
    plain,
    read_items,
)
from dlcli.display.console import Consoles
from dlcli.engine.config import STRICT, dump_yaml, setting, to_dict
from dlcli.errors import ConfigError

LISTS = {
    "--dims": int,
    "--rates": float,
    "--arch": Literal["mlp", "conv"],
    "--names": str,
    "--set": Assignment,
}


def gathered(*words: str) -> list[str]:
    """Gather words, and show the items of a list apart by commas."""
    found = gather(words, lists=LISTS, optional=frozenset({"--resume"}))
    return [word.replace("\x1f", ",") for word in found]


FORMS = ["--dims 2 20 200", "--dims 2,20,200", "--dims=2,20,200", "--dims 2 --dims 20 --dims 200"]


@pytest.mark.parametrize(
    "words",
    [
        *FORMS,
        "--dims=2 --dims=20 --dims=200",
        "--dims 2,20 200",
        "--dims 2, 20, 200",
        "--dims 2 --dims=20,200",
        "--dims ,2,,20,200,",
    ],
)
def test_every_form_of_a_list_is_the_same_list(words: str) -> None:
    (found,) = gather(words.split(), lists=LISTS, optional=frozenset())
    assert read_items(found.removeprefix("--dims="), int, flag="--dims") == (2, 20, 200)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--dims 2 20 hello 7", ["--dims=2,20", "hello", "7"]),
        ("--rates 2 2.5 1e-3 x", ["--rates=2,2.5,1e-3", "x"]),
        ("--dims 2 -q 3", ["--dims=2", "-q", "3"]),
        ("--dims -1 -2 3", ["--dims=-1,-2,3"]),
        ("--dims -1,2 -q", ["--dims=-1,2", "-q"]),
        ("--rates -1e-3 -.5 -x", ["--rates=-1e-3,-.5", "-x"]),
        ("--dims 2 --2", ["--dims=2", "--2"]),
        ("--arch mlp conv other", ["--arch=mlp,conv", "other"]),
        ("--arch mlp,conv mlp,other", ["--arch=mlp,conv", "mlp,other"]),
        ("--names a -c", ["--names=a", "-c"]),
        ("--set a=1,2 b=[3] c --set=d=e=f", ["--set=a=1,2,b=[3],d=e=f", "c"]),
        ("--dims two x", ["--dims=two", "x"]),  # so that an error can name it
        ("--dims 2 -- 3 --dims 4", ["--dims=2", "--", "3", "--dims", "4"]),
        ("--dims 2 20 --rates 1 --dims 3", ["--dims=2,20,3", "--rates=1"]),
        ("a --dims 2 b --rates 1 c", ["a", "--dims=2", "b", "--rates=1", "c"]),
        ("--dims=", ["--dims="]),
        ("--dimsx 2", ["--dimsx", "2"]),
        ("日本語 --dims 2 - -- --dims", ["日本語", "--dims=2", "-", "--", "--dims"]),
        ("--resume", ["--resume="]),
        ("--resume --out x", ["--resume=", "--out", "x"]),
        ("--resume runs/a --out x", ["--resume=runs/a", "--out", "x"]),
        ("--resume=runs/a", ["--resume=runs/a"]),
        ("--resume -- a", ["--resume=", "--", "a"]),
    ],
)
def test_a_list_ends_at_the_first_word_that_is_none_of_its_items(
    words: str, expected: list[str]
) -> None:
    assert gathered(*words.split()) == expected


@pytest.mark.parametrize("words", ["--dims", "--dims --json", "--dims --"])
def test_a_list_flag_needs_a_value(words: str) -> None:
    with pytest.raises(typer.BadParameter, match="--dims needs at least one value"):
        gathered(*words.split())


def test_assignments_are_merged_into_groups() -> None:
    items = ["a.b=1", "a.c={d: 2}", "a.c.e=x=y", "f="]
    assert parse_assignments(items) == {"a": {"b": 1, "c": {"d": 2, "e": "x=y"}}, "f": None}


@pytest.mark.parametrize("text", ["a=" + "[" * 900, "a=" + "[" * 900 + "]" * 900, "a=[&a [*a, *a"])
def test_hopeless_yaml_is_a_short_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the value") as caught:
        parse_assignments([text])
    assert len(caught.value.message) < 150


@dataclass(frozen=True, kw_only=True)
class Inner:
    __pydantic_config__ = STRICT

    arch: Literal["mlp", "conv"] = setting("mlp", flag="--arch", help="network")
    dims: tuple[int, ...] = setting((2, 3), flag="--dims", help="sizes")
    rates: tuple[float, ...] = setting((), flag="--rates", help="rates in [0, 1]")
    kinds: tuple[Literal["a", "b"], ...] = setting(("a",), flag="--kinds", help="kinds")
    skip: bool = setting(False, flag="--skip/--no-skip", help="whether to skip")
    hidden: int = setting(7, help="a setting without a flag")


@dataclass(frozen=True, kw_only=True)
class Toy:
    __pydantic_config__ = STRICT

    inner: Inner = field(default_factory=Inner)
    lr: float = setting(0.1, flag="--lr", help="step size")
    name: str = setting("auto", flag="--name", help="a name")
    limit: int | None = setting(None, flag="--limit", help="limit")


def _advice(given: dict[str, Any]) -> Mapping[str, Any]:
    return {"lr": 0.01, "inner": {"dims": [9]}} if given.get("name") == "small" else {}


def _base(given: dict[str, Any]) -> Mapping[str, Any] | None:
    return {"lr": 0.5, "name": "saved"} if given["resume"] is not None else None


@configured(Toy, advice=_advice, base=_base)
def run(
    config: Toy,
    consoles: Consoles,
    *,
    resume: Annotated[str | None, typer.Option("--resume", metavar="[RUN]")] = None,
    sizes: Annotated[tuple[int, ...] | None, typer.Option("--sizes", help="sizes")] = None,
    shares: Annotated[tuple[float, ...], typer.Option("--shares", help="shares")] = (1.0, 0.5),
    out: OutFlag = None,
) -> None:
    """Run a toy."""
    found = to_dict(config) | {"out": out and str(out), "resume": resume, "sizes": sizes}
    typer.echo(json.dumps(found | {"shares": shares, "show": [consoles.json, consoles.quiet]}))


@configured(Toy, grid=True)
def compare(configs: dict[str, Toy], consoles: Consoles) -> None:
    """Compare toys."""
    typer.echo(json.dumps({label: to_dict(config) for label, config in configs.items()}))


@plain
def say(consoles: Consoles, words: Annotated[list[str], typer.Argument()]) -> None:
    """Say words."""
    typer.echo(f"{consoles.json} {consoles.quiet} {' '.join(words)}")


def invoke(*words: str) -> Result:
    program = typer.Typer(cls=lazy({}, base=Root))
    for name, command in (("run", run), ("compare", compare), ("say", say)):
        command.add_to(program, name)
    return CliRunner().invoke(program, words)


def outcome(*words: str) -> dict[str, Any]:
    result = invoke("run", *words)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def error(*words: str) -> str:
    result = invoke("run", *words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def test_each_source_is_weaker_than_the_next(tmp_path: Path) -> None:
    file = tmp_path / "été.yaml"
    file.write_text("lr: 0.2\nname: small\ninner: {dims: [4], skip: true}\n")
    given = ["--config", str(file)]
    found = outcome()
    assert (found["lr"], found["out"], found["resume"]) == (0.1, None, None), "the dataclass"
    assert found["show"] == [False, False]
    assert outcome("--name", "small")["lr"] == 0.01, "what the data recommend"
    assert outcome("--name", "small")["inner"]["dims"] == [9]
    assert outcome(*given)["lr"] == 0.2, "a file"
    assert outcome(*given, "--set", "lr=0.3")["lr"] == 0.3, "--set"
    assert outcome(*given, "--set", "lr=0.3", "--lr", "0.4")["lr"] == 0.4, "a flag"
    found = outcome("--lr", "0.4", "--set", "lr=0.3", *given)
    assert (found["lr"], found["inner"]["dims"]) == (0.4, [4]), "in whatever order they come"
    found = outcome(*given, "--lr", "0.1", "--no-skip", "--dims", "2", "3")
    inner = found["inner"]
    assert (found["lr"], inner["skip"], inner["dims"]) == (0.1, False, [2, 3]), "even of a default"


def test_a_saved_run_replaces_defaults_and_advice_but_not_what_is_written() -> None:
    found = outcome("--resume")
    assert (found["lr"], found["name"], found["resume"]) == (0.5, "saved", "")
    found = outcome("--resume", "a b", "--lr", "0.7")
    assert (found["lr"], found["resume"]) == (0.7, "a b")
    assert outcome("--resume", "--name", "small")["lr"] == 0.5


@pytest.mark.parametrize("words", FORMS)
def test_lists_of_settings_and_of_the_command_itself(words: str) -> None:
    assert outcome(*words.split(), "--lr", "1")["inner"]["dims"] == [2, 20, 200]
    assert outcome(*words.replace("dims", "sizes").split(), "-q")["sizes"] == [2, 20, 200]


def test_lists_of_numbers_and_of_choices() -> None:
    found = outcome("--dims", "-1", "-2", "--rates", "1", "1e-3", "--kinds", "b", "a", "-q")
    assert found["inner"]["dims"] == [-1, -2]
    assert found["inner"]["rates"] == [1.0, 0.001]
    assert found["inner"]["kinds"] == ["b", "a"]
    assert found["show"] == [False, True]
    assert (found["sizes"], found["shares"]) == (None, [1.0, 0.5])


@pytest.mark.parametrize("words", [["--dims", "none"], ["--dims="], ["--dims", ""]])
def test_a_list_of_settings_may_be_emptied(words: list[str]) -> None:
    assert outcome(*words)["inner"]["dims"] == []


def test_set_reaches_every_setting_and_reads_yaml() -> None:
    words = ["inner.hidden=3", "inner.dims=[4, 5]", "limit=null", "name=a,b", "inner.skip=true"]
    found = outcome("--set", *words, "--set", "lr=1e-3")
    inner = found["inner"]
    assert (inner["hidden"], inner["dims"], inner["skip"]) == (3, [4, 5], True)
    assert (found["limit"], found["name"], found["lr"]) == (None, "a,b", 0.001)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr", "nan"], "(--lr) cannot be nan"),
        (["--lr", "inf"], "(--lr) cannot be inf"),
        (["--dims", "two"], "--dims takes integers, not 'two'."),
        (["--dims", "2.5"], "--dims takes integers, not '2.5'."),
        (["--rates", "x"], "--rates takes numbers, not 'x'."),
        (["--rates", "nan"], "(--rates) cannot be nan"),
        (["--kinds", "c"], "(--kinds) cannot be 'c'"),
        (["--dims"], "--dims needs at least one value."),
        (["--sizes", "x"], "--sizes takes integers, not 'x'."),
        (["--sizes="], "--sizes needs at least one value."),
        (["--sizes", "none"], "--sizes takes integers, not 'none'."),
        (["--dims", "2", "stray"], "stray"),
        (["--arch", "con"], "'mlp', 'conv'"),
        (["--limit", "x"], "'--limit'"),
        (["--set", "lr"], "--set cannot read 'lr'."),
        (["--set", "none"], "--set cannot read 'none'."),
        (["--set", "=3"], "--set cannot read '=3'."),
        (["--set", "lr=[1"], "--set cannot read the value of 'lr=[1'."),
        (["--set", "lr=fast"], "write a number such as 0.001"),
        (["--set", "inner.arch=no"], "YAML reads no, off"),
        (["--set", "lrr=1.0"], "Did you mean 'lr'?"),
        (["--set", "inner.hiden=1"], "There is no setting 'inner.hiden' in --set."),
        (["--set", "inner=1"], "'inner' in --set is a group"),
        (["--set", "inner={1: 2}"], "There is no setting 'inner.1' in --set."),
        (["--set", "lr=.nan"], "'lr' in --set cannot be nan."),
        (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read: No such file"),
        (["--config", "."], "cannot be read: Is a directory"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str) -> None:
    assert message in error(*words)


def test_a_wrong_file_is_named_even_where_a_flag_would_hide_it(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("lr: fast\n")
    assert "'lr' in bad.yaml cannot be 'fast'" in error("--config", "bad.yaml", "--lr", "1")
    (tmp_path / "typo.yaml").write_text("inner:\n  hiden: 3\n")
    assert "'inner.hiden' in typo.yaml" in error("--config", "typo.yaml")


def test_print_config_shows_every_value_and_loads_back(tmp_path: Path) -> None:
    words = ["--name", "small", "--kinds", "b", "--set", "inner.hidden=1"]
    result = invoke("run", *words, "--print-config")
    assert result.exit_code == 0
    assert result.stderr == ""
    expected = Toy(lr=0.01, name="small", inner=Inner(dims=(9,), kinds=("b",), hidden=1))
    assert result.stdout == dump_yaml(expected)
    (tmp_path / "again.yaml").write_text(result.stdout)
    assert invoke("run", "--config", "again.yaml", "--print-config").stdout == result.stdout
    assert yaml.safe_load(result.stdout)["inner"]["dims"] == [9]


def test_the_help_says_meaning_default_and_choices() -> None:
    text = " ".join(invoke("run", "--help").stdout.replace("│", " ").split())
    for words in (
        "--dims <int>… sizes (default: 2 3)",
        "--rates <float>… rates in [0, 1] (default: none)",
        "--arch <mlp|conv> network (default: mlp)",
        "--kinds <a|b>… kinds (default: a)",
        "--sizes <int>… sizes",
        "--shares <float>… shares [default: 1.0,0.5]",
        "whether to skip (default: no)",
        "limit (default: none)",
        "Run a toy.",
        *("--set", "--config", "--print-config", "--json", "--debug"),
    ):
        assert words in text
    assert "--hidden" not in text, "that setting has no flag"


def test_a_grid_is_every_combination() -> None:
    words = ["--set", "lr=1.0,0.5", "inner.dims=[1,2],[3, 4]", "name=a b"]
    found = json.loads(invoke("compare", *words, "--limit", "1").stdout)
    assert [(c["lr"], c["inner"]["dims"], c["name"], c["limit"]) for c in found.values()] == [
        (lr, dims, "a b", 1) for lr in (1.0, 0.5) for dims in ([1, 2], [3, 4])
    ]
    assert next(iter(found)) == "lr=1.0 inner.dims=[1,2] name=a b"
    assert list(json.loads(invoke("compare").stdout)) == [""]
    assert "--set cannot read 'lr'." in invoke("compare", "--set", "lr").stderr


def test_plain_commands_have_the_same_flags() -> None:
    result = invoke("say", "--json", "été", "-q", "x")
    assert result.stdout == "True True été x\n"
