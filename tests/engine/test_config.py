"""Config: precedence, strictness with a way out, and files that load back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Lt
from hypothesis import given
from hypothesis import strategies as st

from dlcli.engine.config import (
    MAX_SHOWN,
    STRICT,
    bare,
    choices_of,
    flags_of_difference,
    keys,
    merge,
    nest,
    resolve,
    setting,
    to_dict,
)
from dlcli.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    __pydantic_config__ = STRICT

    lr: Annotated[float, Gt(0)] = setting(1e-3, flag="--lr", help="step size", source="seed")
    arch: Literal["mlp", "conv", "none"] = setting("mlp", help="network")
    dims: tuple[Annotated[int, Ge(1)], ...] = setting((2, 3), flag="--dims", help="sizes")
    limit: Annotated[float, Ge(0), Lt(1)] | None = setting(None, help="limit")


@dataclass(frozen=True, kw_only=True)
class Toy:
    __pydantic_config__ = STRICT

    inner: Inner = field(default_factory=Inner)
    epochs: Annotated[int, Ge(0)] = setting(80, flag="--epochs", help="passes")
    name: str = setting("auto", help="a name")
    skip: bool = setting(False, help="whether")


def _error(*layers: Mapping[Any, Any], source: str = "") -> ConfigError:
    with pytest.raises(ConfigError) as failure:
        resolve(Toy, layers, source=source)
    return failure.value


def test_defaults_stand_in_the_dataclass() -> None:
    assert resolve(Toy) == resolve(Toy, [{}, {}]) == Toy()
    with pytest.raises(FrozenInstanceError):
        Toy().epochs = 3  # type: ignore[misc]


def test_later_layers_win_key_by_key() -> None:
    advice = {"epochs": 5, "inner": {"lr": 0.5, "dims": [7]}}
    file = {"epochs": 6, "inner": {"lr": 0.25}}
    flags = {"inner": {"lr": 0.125}}
    found = resolve(Toy, [advice, file, flags])
    assert found == Toy(epochs=6, inner=Inner(lr=0.125, dims=(7,)))


def test_layers_are_left_as_they_were() -> None:
    first: dict[str, Any] = {"inner": {"lr": 0.5}}
    merge(first, {"inner": {"lr": 0.25}, "epochs": 2})
    assert first == {"inner": {"lr": 0.5}}


def test_a_list_replaces_a_list_and_becomes_a_tuple() -> None:
    assert resolve(Toy, [{"inner": {"dims": [1, 2]}}, {"inner": {"dims": [9]}}]).inner.dims == (9,)
    assert resolve(Toy, [{"inner": {"dims": (4, 5)}}]).inner.dims == (4, 5)
    assert resolve(Toy, [{"inner": {"dims": []}}]).inner.dims == ()


def test_an_integer_is_a_float_but_not_the_other_way_round() -> None:
    assert resolve(Toy, [{"inner": {"lr": 1}}]).inner.lr == 1.0
    assert "cannot be 2.0" in _error({"epochs": 2.0}).message


@pytest.mark.parametrize(
    ("layer", "message", "hint"),
    [
        ({"epoch": 1}, "There is no setting 'epoch'.", "Did you mean 'epochs'?"),
        ({"lr": 1.0}, "There is no setting 'lr'.", "Did you mean 'inner.lr'?"),
        ({"inner": {"epochs": 1}}, "no setting 'inner.epochs'.", "Did you mean 'epochs'?"),
        ({"iner": {}}, "There is no setting 'iner'.", "Did you mean 'inner'?"),
        ({"inner": {"lrr": 1}}, "There is no setting 'inner.lrr'.", "Did you mean 'inner.lr'?"),
        ({"inner": {"zzzz": 1}}, "There is no setting 'inner.zzzz'.", "There are inner."),
        ({"zzz": 1}, "There is no setting 'zzz'.", "See --print-config for all settings."),
        ({1: 2}, "There is no setting '1'.", "See --print-config for all settings."),
        ({"inner": {None: 2}}, "There is no setting 'inner.None'.", ""),
        ({"inner": 3}, "The setting 'inner' is a group, not a value.", "like inner.lr"),
        ({"inner": None}, "The setting 'inner' is a group, not a value.", "like inner.lr"),
        ({"epochs": -1}, "'epochs' (--epochs) cannot be -1.", "greater than or equal to 0."),
        ({"epochs": True}, "'epochs' (--epochs) cannot be True.", "valid integer"),
        ({"epochs": None}, "'epochs' (--epochs) cannot be None.", "valid integer"),
        ({"epochs": "3"}, "'epochs' (--epochs) cannot be '3'.", "YAML wants a number"),
        ({"inner": {"lr": "1e-3"}}, "'inner.lr' (--lr) cannot be '1e-3'.", "such as 1.0e-3"),
        ({"inner": {"lr": float("nan")}}, "'inner.lr' (--lr) cannot be nan.", "finite"),
        ({"inner": {"lr": float("inf")}}, "'inner.lr' (--lr) cannot be inf.", "finite"),
        ({"epochs": float("nan")}, "'epochs' (--epochs) cannot be nan.", "integer"),
        ({"inner": {"limit": 1}}, "'inner.limit' cannot be 1.", "less than 1."),
        ({"inner": {"dims": [3, 0]}}, "'inner.dims' (--dims) cannot be 0.", "or equal to 1."),
        ({"inner": {"dims": 5}}, "'inner.dims' (--dims) cannot be 5.", "a list"),
        ({"inner": {"dims": "2,3"}}, "'inner.dims' (--dims) cannot be '2,3'.", "a list"),
        ({"inner": {"arch": "con"}}, "'inner.arch' cannot be 'con'.", "mlp, conv, none; did you"),
        ({"inner": {"arch": False}}, "'inner.arch' cannot be False.", "YAML reads no, off"),
        ({"name": False}, "'name' cannot be False.", "quote the word"),
        ({"name": 5}, "'name' cannot be 5.", "valid string"),
        ({"skip": "yes"}, "'skip' cannot be 'yes'.", "valid boolean"),
        ({"skip": 1}, "'skip' cannot be 1.", "valid boolean"),
    ],
)
def test_what_is_wrong_is_named_with_a_way_out(
    layer: dict[Any, Any], message: str, hint: str
) -> None:
    found = _error(layer)
    assert message in found.message
    assert hint in found.hint


def test_an_error_names_the_file_it_is_in() -> None:
    assert "'epochs' in a.yaml cannot" in _error({"epochs": -1}, source="a.yaml").message
    assert "'epoch' in a.yaml." in _error({"epoch": 1}, source="a.yaml").message
    assert "'inner' in a.yaml is a group" in _error({"inner": 1}, source="a.yaml").message


def test_values_that_no_file_could_hold_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (loop, {(1, 2): 3}, 1 << 20_000, "\ud800"):
        assert "no plain number, word or list" in _error({"name": value}, source="--set").message


def test_a_long_wrong_value_is_cut() -> None:
    message = _error({"epochs": "9" * 5000}).message
    assert len(message) < MAX_SHOWN + 60


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
names = st.sampled_from([key.path.rpartition(".")[2] for key in keys(Toy)] + ["inner", "epoch"])
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.text(max_size=3) | plain, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(names | st.text(max_size=3), nested, max_size=4), max_size=3))
def test_whatever_the_layers_hold_it_is_a_config_or_a_config_error(
    layers: list[dict[str, Any]],
) -> None:
    try:
        found = resolve(Toy, layers)
    except ConfigError:
        return
    assert isinstance(found, Toy)


def test_to_dict_is_plain() -> None:
    assert to_dict(Toy())["inner"] == {"lr": 1e-3, "arch": "mlp", "dims": [2, 3], "limit": None}


def test_keys_are_leaves_with_paths_types_and_words() -> None:
    found = {key.path: key for key in keys(Toy)}
    assert list(found) == [
        *("inner.lr", "inner.arch", "inner.dims", "inner.limit"),
        *("epochs", "name", "skip"),
    ]
    assert found["inner.arch"].choices == ("mlp", "conv", "none")
    assert (found["inner.lr"].flag, found["inner.lr"].source) == ("--lr", "seed")
    assert found["inner.dims"].default == (2, 3)
    assert bare(found["inner.limit"].type) is float
    assert choices_of(int) == ()


def test_nest_turns_a_path_into_groups() -> None:
    assert nest("a.b.c", 3) == {"a": {"b": {"c": 3}}}
    assert nest("a", None) == {"a": None}


@dataclass(frozen=True, kw_only=True)
class Network:
    sizes: tuple[int, ...] = setting((3, 4), flag="--sizes", help="")
    tied: bool = setting(False, flag="--tied/--untied", help="")
    hidden: int = setting(5, help="")


def test_flags_of_difference_are_ready_to_be_typed() -> None:
    assert flags_of_difference(Network(), {"sizes": [3, 4], "hidden": 9}) == ""
    assert flags_of_difference(Network(), {"sizes": [7, 8], "tied": True}) == "--sizes 7 8 --tied"
    assert flags_of_difference(Network(tied=True, sizes=(1,)), {}) == "--sizes 3 4 --untied"
