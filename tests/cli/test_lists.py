"""Lists on the command line: every way of writing one means the same."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dlcli.cli.options import (
    SEPARATOR,
    command_class,
    gather,
    is_assignment,
    is_float,
    is_int,
    is_one_of,
    item_test,
    split,
)

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
