"""Assignments and grids of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from dlcli.cli import options as lists
from dlcli.cli.app import Root, lazy
from dlcli.cli.options import (
    SEPARATOR,
    OutFlag,
    Show,
    add_command,
    command_class,
    configured,
    gather,
    grid_of,
    is_assignment,
    is_float,
    is_int,
    is_one_of,
    item_test,
    list_flags,
    parse_assignments,
    plain,
    split,
)
from dlcli.engine.config import STRICT, dump_yaml, resolve, setting, to_dict
from dlcli.errors import ConfigError


def test_grids_of_odd_words() -> None:
    assert grid_of(None) == {"": {}}
    assert grid_of("name=a b,c") == {"name=a b": {"name": "a b"}, "name=c": {"name": "c"}}
    with pytest.raises(ConfigError, match="--set cannot read 'lr'"):
        grid_of("lr")


def test_assignments_are_merged_into_groups() -> None:
    text = lists.SEPARATOR.join(["a.b=1", "a.c={d: 2}", "a.c.e=x=y", "f="])
    assert parse_assignments(text) == {"a": {"b": 1, "c": {"d": 2, "e": "x=y"}}, "f": None}
    assert parse_assignments(None) == parse_assignments("") == {}


@pytest.mark.parametrize("text", ["a=" + "[" * 900, "a=" + "[" * 900 + "]" * 900, "a=[&a [*a, *a"])
def test_brackets_and_dots_beyond_reason_are_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the value") as caught:
        parse_assignments(text)
    assert len(caught.value.message) < 150


# -- Lists on the command line: every way of writing one means the same

LISTS = {
    "--dims": is_int,
    "--rates": is_float,
    "--arch": is_one_of(["mlp", "conv"]),
    "--set": is_assignment,
}
OPTIONAL = frozenset({"--resume"})


def _gather(*words: str) -> list[str]:
    return gather(words, lists=LISTS, optional=OPTIONAL)


@pytest.mark.parametrize(
    "words",
    [
        "--dims 2 20 200",
        "--dims 2,20,200",
        "--dims=2,20,200",
        "--dims 2 --dims 20 --dims 200",
        "--dims=2 --dims=20 --dims=200",
        "--dims 2,20 200",
        "--dims 2, 20, 200",
        "--dims 2 --dims=20,200",
        "--dims ,2,,20,200,",
    ],
)
def test_every_form_of_a_list_is_the_same_list(words: str) -> None:
    (found,) = _gather(*words.split())
    assert found.startswith("--dims=")
    assert split(found.partition("=")[2]) == ["2", "20", "200"]


numbers = st.lists(st.integers(-999, 999), min_size=1, max_size=6)


@given(items=numbers, data=st.data())
def test_however_it_is_cut_a_list_is_the_same_list(items: list[int], data: st.DataObject) -> None:
    words: list[str] = []
    for number, item in enumerate(map(str, items)):
        how = data.draw(st.sampled_from(["space", "comma", "flag", "equals"]))
        if not number or how == "flag":
            words += ["--dims", item]
        elif how == "equals":
            words.append(f"--dims={item}")
        elif how == "comma" and not words[-1].startswith("--dims="):
            words[-1] += f",{item}"
        elif words[-1].startswith("--dims="):
            words += ["--dims", item]
        else:
            words.append(item)
    (found,) = _gather("--x", *words, "y")[1:-1]
    assert split(found.partition("=")[2]) == [str(item) for item in items]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--dims 2 20 hello 7", ["--dims=2,20", "hello", "7"]),
        ("--dims 2 2.5", ["--dims=2", "2.5"]),
        ("--rates 2 2.5 1e-3 x", ["--rates=2,2.5,1e-3", "x"]),
        ("--dims 2 --json", ["--dims=2", "--json"]),
        ("--dims 2 -q 3", ["--dims=2", "-q", "3"]),
        ("--dims -1 -2 3", ["--dims=-1,-2,3"]),
        ("--dims -1,2 -q", ["--dims=-1,2", "-q"]),
        ("--rates -1e-3 -.5 -x", ["--rates=-1e-3,-.5", "-x"]),
        ("--arch mlp conv other", ["--arch=mlp,conv", "other"]),
        ("--arch mlp,conv mlp,other", ["--arch=mlp,conv", "mlp,other"]),
        ("--dims 2 -- 3 --dims 4", ["--dims=2", "--", "3", "--dims", "4"]),
        ("-- --dims 2", ["--", "--dims", "2"]),
        ("--dims 2 20 --rates 1 --dims 3", ["--dims=2,20,3", "--rates=1"]),
        ("a --dims 2 b --rates 1 c", ["a", "--dims=2", "b", "--rates=1", "c"]),
        ("--dims=", ["--dims="]),
        ("--dimsx 2", ["--dimsx", "2"]),
        ("", []),
    ],
)
def test_a_list_ends_at_the_first_word_that_is_none_of_its_items(
    words: str, expected: list[str]
) -> None:
    assert _gather(*words.split()) == expected


def test_the_first_word_is_taken_so_that_it_can_be_named_in_an_error() -> None:
    assert _gather("--dims", "two", "x") == ["--dims=two", "x"]
    assert _gather("--dims", "") == ["--dims="]


@pytest.mark.parametrize("words", [["--dims"], ["--dims", "--json"], ["--dims", "--"]])
def test_a_list_flag_wants_a_value(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match="--dims needs at least one value"):
        _gather(*words)


def test_assignments_keep_their_commas_and_spaces() -> None:
    words = ["--set", "a=1,2", "b=[3, 4]", "c=x", "--set", "d=é=f", "--set=e=5"]
    (found,) = _gather(*words)
    assert split(found.partition("=")[2]) == ["a=1,2", "b=[3, 4]", "c=x", "d=é=f", "e=5"]
    (single,) = _gather("--set", "a=1,2")
    assert split(single.partition("=")[2]) == ["a=1,2"]
    assert SEPARATOR not in single


def test_words_in_any_script_are_left_alone() -> None:
    words = ["«Où est-il ?»", "--dims", "2", "日本語", "", "-", "--", "--dims"]
    assert _gather(*words) == ["«Où est-il ?»", "--dims=2", "日本語", "", "-", "--", "--dims"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--resume", ["--resume="]),
        ("--resume --out x", ["--resume=", "--out", "x"]),
        ("--resume runs/a --out x", ["--resume=runs/a", "--out", "x"]),
        ("--resume=runs/a", ["--resume=runs/a"]),
        ("--resume --", ["--resume=", "--"]),
        ("--resume -- a", ["--resume=", "--", "a"]),
    ],
)
def test_a_value_may_be_left_out_where_that_means_something(
    words: str, expected: list[str]
) -> None:
    assert _gather(*words.split()) == expected


@pytest.mark.parametrize(
    ("word", "whole", "number"),
    [
        *(("2", True, True), ("-2", True, True), ("+2", True, True), ("2.0", False, True)),
        *(("1e-3", False, True), (".5", False, True), ("-", False, False), ("", False, False)),
        *(("x", False, False), ("2x", False, False), ("--2", False, False), ("0x2", False, False)),
    ],
)
def test_what_a_number_is(word: str, whole: bool, number: bool) -> None:
    assert (is_int(word), is_float(word)) == (whole, number)


def _toy() -> typer.Typer:
    app = typer.Typer()
    command = command_class(lists=LISTS, optional=OPTIONAL)

    @app.command(cls=command)
    def measure(
        dims: Annotated[str, typer.Option("--dims")] = "",
        resume: Annotated[str | None, typer.Option("--resume")] = None,
        json: Annotated[bool, typer.Option("--json")] = False,
        text: Annotated[str, typer.Argument()] = "",
    ) -> None:
        typer.echo(f"{split(dims)} {resume!r} {json} {text}")

    return app


def _output(*words: str) -> str:
    result = CliRunner().invoke(_toy(), words)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_it_works_under_typers_own_runner() -> None:
    expected = "['2', '20', '200'] None True été"
    forms = ["--dims 2 20 200", "--dims 2,20,200", "--dims 2 --dims 20 --dims 200"]
    for form, before in itertools.product(forms, (True, False)):
        rest = ["--json"]
        words = ["été", *form.split(), *rest] if before else [*rest, *form.split(), "été"]
        assert _output(*words) == expected
    assert _output("--resume") == "[] '' False"
    assert _output("--resume", "a b") == "[] 'a b' False"
    assert _output("--dims", "-1", "-2", "--", "--dims") == "['-1', '-2'] None False --dims"


def test_a_list_without_a_value_is_a_usage_error() -> None:
    result = CliRunner().invoke(_toy(), ["--dims"])
    assert result.exit_code == 2
    assert "--dims needs at least one value" in result.output


def test_items_of_a_type_have_their_test() -> None:
    assert item_test(int)("3")
    assert not item_test(int)("0.5")
    assert item_test(float)("0.5")
    assert not item_test(Literal["a", "b"])("c")
    assert item_test(str)("c")
    assert not item_test(str)("-c")


# -- Flags made from config dataclasses: precedence, lists, choices, help, and what is refused


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
    return {"lr": 0.5, "name": "saved"} if given["resume"] else None


def _program() -> typer.Typer:
    program = typer.Typer(cls=lazy({}, base=Root))

    @configured(Toy, advice=_advice, base=_base)
    def run(
        config: Toy,
        show: Show,
        *,
        resume: Annotated[bool, typer.Option("--resume")] = False,
        out: OutFlag = None,
    ) -> None:
        """Run a toy."""
        found = to_dict(config) | {"out": out and str(out), "resume": resume}
        typer.echo(json.dumps(found | {"show": [show.json, show.quiet]}))

    @configured(Toy, grid=True)
    def compare(configs: dict[str, Toy], show: Show) -> None:
        typer.echo(json.dumps({label: to_dict(config) for label, config in configs.items()}))

    @plain
    def say(show: Show, words: Annotated[list[str], typer.Argument()]) -> None:
        typer.echo(f"{show} {' '.join(words)}")

    add_command(program, "run", run, cls=Toy, optional=frozenset())
    add_command(program, "compare", compare, cls=Toy)
    add_command(program, "say", say)
    return program


def _invoke(*words: str) -> Result:
    return CliRunner().invoke(_program(), words)


def _config(*words: str) -> dict[str, Any]:
    result = _invoke("run", *words)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _error(*words: str) -> str:
    result = _invoke("run", *words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def test_without_flags_every_value_is_the_dataclasses() -> None:
    found = _config()
    assert resolve(Toy, [{k: v for k, v in found.items() if k in to_dict(Toy())}]) == Toy()
    assert (found["out"], found["resume"], found["show"]) == (None, False, [False, False])


def test_each_source_is_weaker_than_the_next(tmp_path: Path) -> None:
    file = tmp_path / "été.yaml"
    file.write_text("lr: 0.2\nname: small\ninner: {dims: [4]}\n")
    given = ["--config", str(file)]
    assert _config()["lr"] == 0.1, "the dataclass"
    assert _config("--name", "small")["lr"] == 0.01, "what the data recommend"
    assert _config("--name", "small")["inner"]["dims"] == [9]
    assert _config(*given)["lr"] == 0.2, "a file"
    assert _config(*given, "--set", "lr=0.3")["lr"] == 0.3, "--set"
    assert _config(*given, "--set", "lr=0.3", "--lr", "0.4")["lr"] == 0.4, "a flag"
    found = _config("--lr", "0.4", "--set", "lr=0.3", *given)
    assert (found["lr"], found["inner"]["dims"]) == (0.4, [4]), "in whatever order they come"


def test_a_flag_that_says_the_default_still_wins(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("lr: 0.2\ninner: {skip: true, dims: [5]}\n")
    words = ["--config", str(file), "--lr", "0.1", "--no-skip", "--dims", "2", "3"]
    found = _config(*words)
    assert (found["lr"], found["inner"]["skip"], found["inner"]["dims"]) == (0.1, False, [2, 3])


def test_a_saved_run_replaces_defaults_and_advice_but_not_what_is_written() -> None:
    found = _config("--resume")
    assert (found["lr"], found["name"]) == (0.5, "saved")
    assert _config("--resume", "--lr", "0.7")["lr"] == 0.7
    assert _config("--resume", "--name", "small")["lr"] == 0.5


@pytest.mark.parametrize(
    "words", ["--dims 2 20 200", "--dims 2,20,200", "--dims 2 --dims 20 --dims 200"]
)
def test_every_form_of_a_list_is_the_same(words: str) -> None:
    assert _config(*words.split(), "--lr", "1")["inner"]["dims"] == [2, 20, 200]


def test_lists_of_numbers_and_of_choices() -> None:
    found = _config("--dims", "-1", "-2", "--rates", "1", "1e-3", "--kinds", "b", "a", "-q")
    assert found["inner"]["dims"] == [-1, -2]
    assert found["inner"]["rates"] == [1.0, 0.001]
    assert found["inner"]["kinds"] == ["b", "a"]
    assert found["show"] == [False, True]


@pytest.mark.parametrize("words", [["--dims", "none"], ["--dims="], ["--dims", ""]])
def test_a_list_may_be_emptied(words: list[str]) -> None:
    assert _config(*words)["inner"]["dims"] == []


def test_set_reaches_every_setting_and_reads_yaml() -> None:
    words = ["inner.hidden=3", "inner.dims=[4, 5]", "limit=null", "name=a,b", "inner.skip=true"]
    found = _config("--set", *words, "--set", "lr=1.0e-3")
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
        (["--dims", "2", "stray"], "stray"),
        (["--arch", "con"], "'mlp', 'conv'"),
        (["--limit", "x"], "'--limit'"),
        (["--set", "lr"], "--set cannot read 'lr'."),
        (["--set", "=3"], "--set cannot read '=3'."),
        (["--set", "lr=[1"], "--set cannot read the value of 'lr=[1'."),
        (["--set", "lr=1e-3"], "YAML wants a number such as 1.0e-3"),
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
    assert message in _error(*words)


def test_a_wrong_file_is_named_even_where_a_flag_would_hide_it(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("lr: 1e-3\n")
    assert "'lr' in bad.yaml cannot be '1e-3'" in _error("--config", "bad.yaml", "--lr", "1")
    (tmp_path / "typo.yaml").write_text("inner:\n  hiden: 3\n")
    assert "'inner.hiden' in typo.yaml" in _error("--config", "typo.yaml")


def test_print_config_shows_every_value_and_loads_back(tmp_path: Path) -> None:
    words = ["--name", "small", "--kinds", "b", "--set", "inner.hidden=1"]
    result = _invoke("run", *words, "--print-config")
    assert result.exit_code == 0
    assert result.stderr == ""
    expected = Toy(lr=0.01, name="small", inner=Inner(dims=(9,), kinds=("b",), hidden=1))
    assert result.stdout == dump_yaml(expected)
    (tmp_path / "again.yaml").write_text(result.stdout)
    assert _invoke("run", "--config", "again.yaml", "--print-config").stdout == result.stdout
    assert yaml.safe_load(result.stdout)["inner"]["dims"] == [9]


def test_the_help_says_meaning_default_and_choices() -> None:
    text = " ".join(_invoke("run", "--help").stdout.replace("│", " ").split())
    for words in (
        "--dims <int>… sizes (default: 2 3)",
        "--rates <float>… rates in [0, 1] (default: none)",
        "--arch <mlp|conv> network (default: mlp)",
        "whether to skip (default: no)",
        "--limit",
        "limit (default: none)",
        "--set",
        "--config",
        "--print-config",
        "--json",
        "--debug",
        "Run a toy.",
    ):
        assert words in text
    assert "--hidden" not in text, "that setting has no flag"


def test_a_grid_is_every_combination() -> None:
    result = _invoke("compare", "--set", "lr=1.0,0.5", "inner.dims=[1,2],[3, 4]", "--name", "x")
    found = json.loads(result.stdout)
    assert [(c["lr"], c["inner"]["dims"], c["name"]) for c in found.values()] == [
        (1.0, [1, 2], "x"),
        (1.0, [3, 4], "x"),
        (0.5, [1, 2], "x"),
        (0.5, [3, 4], "x"),
    ]
    assert next(iter(found)) == "lr=1.0 inner.dims=[1,2]"
    assert list(json.loads(_invoke("compare").stdout)) == [""]


def test_list_flags_are_those_of_the_class_and_of_the_command() -> None:
    found = list_flags(Toy, more_dims=lists.is_int)
    assert set(found) == {"--set", "--dims", "--rates", "--kinds", "--more-dims"}
    assert found["--kinds"]("b")
    assert not found["--kinds"]("c")


def test_plain_commands_speak_the_same_way() -> None:
    result = _invoke("say", "--json", "été", "-q", "x")
    assert result.stdout == "Show(json=True, quiet=True) été x\n"


def test_flags_reach_the_function_as_what_they_are() -> None:
    found = _config("--out", "a b/é", "--limit", "3", "--skip", "--json")
    assert (found["out"], found["limit"], found["inner"]["skip"]) == ("a b/é", 3, True)
    assert found["show"] == [True, False]
