"""Config: precedence, strictness with a way out, and files that load back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Lt
from hypothesis import given
from hypothesis import strategies as st

from dlcli import __version__
from dlcli.engine.config import (
    MAX_SHOWN,
    STRICT,
    DataclassType,
    bare,
    choices_of,
    dump_yaml,
    flags_of_difference,
    keys,
    load_yaml,
    resolve,
    setting,
    setting_like,
    settings_signature,
    signature,
    to_dict,
)
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig
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


def test_later_layers_win_key_by_key() -> None:
    advice = {"epochs": 5, "inner": {"lr": 0.5, "dims": [7]}}
    file = {"epochs": 6, "inner": {"lr": 0.25}}
    flags = {"inner": {"lr": 0.125}}
    found = resolve(Toy, [advice, file, flags])
    assert found == Toy(epochs=6, inner=Inner(lr=0.125, dims=(7,)))


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
        ({"inner": {None: 2}}, "There is no setting 'inner.null'.", ""),
        ({"inner": 3}, "The setting 'inner' is a group, not a value.", "like inner.lr"),
        ({"inner": None}, "The setting 'inner' is a group, not a value.", "like inner.lr"),
        ({"epochs": -1}, "'epochs' (--epochs) cannot be -1.", "must be at least 0."),
        ({"epochs": True}, "'epochs' (--epochs) cannot be True.", "a whole number"),
        ({"epochs": None}, "'epochs' (--epochs) cannot be None.", "a whole number"),
        ({"epochs": "3"}, "'epochs' (--epochs) cannot be '3'.", "write a number"),
        ({"inner": {"lr": "fast"}}, "'inner.lr' (--lr) cannot be 'fast'.", "such as 0.001"),
        ({"inner": {"lr": float("nan")}}, "'inner.lr' (--lr) cannot be nan.", "finite"),
        ({"inner": {"lr": float("inf")}}, "'inner.lr' (--lr) cannot be inf.", "finite"),
        ({"epochs": float("nan")}, "'epochs' (--epochs) cannot be nan.", "whole number"),
        ({"inner": {"limit": 1}}, "'inner.limit' cannot be 1.", "less than 1."),
        ({"inner": {"dims": [3, 0]}}, "'inner.dims' (--dims) cannot be 0.", "at least 1."),
        ({"inner": {"dims": 5}}, "'inner.dims' (--dims) cannot be 5.", "a list"),
        ({"inner": {"dims": "2,3"}}, "'inner.dims' (--dims) cannot be '2,3'.", "a list"),
        ({"inner": {"arch": "con"}}, "'inner.arch' cannot be 'con'.", "mlp, conv, none; did you"),
        ({"inner": {"arch": False}}, "'inner.arch' cannot be False.", "YAML reads no, off"),
        ({"name": False}, "'name' cannot be False.", "quote the word"),
        ({"name": 5}, "'name' cannot be 5.", "text"),
        ({"skip": "yes"}, "'skip' cannot be 'yes'.", "true or false"),
        ({"skip": 1}, "'skip' cannot be 1.", "true or false"),
    ],
)
def test_what_is_wrong_is_named_with_a_way_out(
    layer: dict[Any, Any], message: str, hint: str
) -> None:
    found = _error(layer)
    assert message in found.message
    assert hint in found.hint


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


@dataclass(frozen=True, kw_only=True)
class Network:
    sizes: tuple[int, ...] = setting((3, 4), flag="--sizes", help="")
    tied: bool = setting(False, flag="--tied/--untied", help="")
    hidden: int = setting(5, help="")


def test_flags_of_difference_are_ready_to_be_typed() -> None:
    assert flags_of_difference(Network(), {"sizes": [3, 4], "hidden": 9}) == ""
    assert flags_of_difference(Network(), {"sizes": [7, 8], "tied": True}) == "--sizes 7 8 --tied"
    assert flags_of_difference(Network(tied=True, sizes=(1,)), {}) == "--sizes 3 4 --untied"


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
configs = st.builds(
    Toy,
    epochs=st.integers(0, 10**18),
    name=text,
    skip=st.booleans(),
    inner=st.builds(
        Inner,
        lr=st.floats(1e-300, 1e300),
        arch=st.sampled_from(["mlp", "conv", "none"]),
        dims=st.lists(st.integers(1, 2**40), max_size=5).map(tuple),
        limit=st.none() | st.floats(0, 0.99),
    ),
)


@given(config=configs, comments=st.booleans())
def test_every_config_loads_back_from_its_own_file(
    tmp_path_factory: pytest.TempPathFactory, config: Toy, comments: bool
) -> None:
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_bytes(dump_yaml(config, comments=comments).encode())
    assert resolve(Toy, [load_yaml(file)]) == config


def test_the_file_says_what_each_key_means() -> None:
    lines = dump_yaml(Toy(epochs=3)).splitlines()
    assert lines[0] == "inner:"
    assert lines[1].split("#")[0].rstrip() == "  lr: 0.001"
    assert lines[1].endswith("# step size [seed]")
    assert lines[-3].startswith("epochs: 3 ")
    assert lines[-3].endswith("# passes (default 80)")


def _load(tmp_path: Path, content: str | bytes) -> dict[str, Any]:
    file = tmp_path / "été & co.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_yaml(file)


def test_reads_yaml(tmp_path: Path) -> None:
    assert _load(tmp_path, "inner:\n  lr: 1.0e-3\n  dims: [1, 2]\n") == {
        "inner": {"lr": 1e-3, "dims": [1, 2]}
    }
    assert _load(tmp_path, "a: [1e-3, -2E+5, 1.e3]") == {"a": [0.001, -2e5, 1000.0]}
    assert _load(tmp_path, "") == _load(tmp_path, "# nothing\n") == {}
    assert _load(tmp_path, b"\xef\xbb\xbfepochs: 1\r\n") == {"epochs": 1}, "as Windows writes it"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1,\nb: 2", "is not valid YAML at line 2"),
        ("a: 'b", "is not valid YAML at line"),
        ("\tepochs: 3", "is not valid YAML at line 1"),
        ("epochs: !!python/object/apply:os.system [ls]", "is not valid YAML at line 1"),
        ("a: 2020-99-99", "is not valid YAML"),
        ("- 1\n- 2", "holds list, not a mapping"),
        ("5", "holds int, not a mapping"),
        ("no: 3", "The key False in"),
        ("inner:\n  on: 3", "The key True in"),
        ("3: 4", "The key 3 in"),
        ("epochs: 1\nname: a\nepochs: 2", "The key 'epochs' stands twice"),
        ("inner: {lr: 1.0}\ninner: {arch: mlp}", "The key 'inner' stands twice"),
        ("inner:\n  lr: 1.0\n  lr: 2.0", "The key 'lr' stands twice"),
        ("inner: &a\n  inner: *a", "not valid YAML"),
        (b"\xff\xfe\x00", "cannot be read: it is not UTF-8 text"),
        ("a: \x00", "is not valid YAML"),
        ("a: b\n--- \nc: d", "is not valid YAML at line 2"),
        ("epochs: 010", "is not what it looks like: YAML reads it as 8."),
        ("inner: {dims: [1, 1:30]}", "is not what it looks like: YAML reads it as 90."),
    ],
)
def test_a_file_that_is_not_settings_is_refused(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        _load(tmp_path, content)
    assert message in failure.value.message
    assert "été & co.yaml" in failure.value.message
    assert failure.value.hint


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"cannot be read: {reason}"):
            load_yaml(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("inner", ["[*{0}, *{0}]", "{{p: *{0}, q: *{0}}}", "{{<<: [*{0}, *{0}]}}"])
def test_a_few_lines_that_stand_for_more_than_any_memory_are_refused(
    inner: str, tmp_path: Path
) -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{i + 1}: &a{i + 1} {inner.format(f'a{i}')}" for i in range(60))]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_yaml(tmp_path / "bomb.yaml")


def test_anchors_and_aliases_are_welcome(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\nc: [*a, *a]\n")
    assert load_yaml(tmp_path / "a.yaml") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": [{"x": 1}, {"x": 1}],
    }


def test_parts_come_in_the_order_given_and_the_version_last() -> None:
    found = signature(data="mnist", noise_samples=16, estimator="elbo")
    assert found == f"data:mnist|noise-samples:16|estimator:elbo|version:dlcli-{__version__}"


def test_values_are_written_so_that_equal_ones_read_equal() -> None:
    found = signature(a=None, b=True, c=False, d=0.1 + 0.2, e=[1, 2.50], f=(), g=1e-3, h="a|b")
    assert found.split("|")[:-1] == ["b:yes", "c:no", "d:0.3", "e:1,2.5", "f:", "g:0.001", "h:a/b"]


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Settings of which each shows in a signature in its own way."""

    lr: float = setting(0.1, help="", signature="optimizer")
    optimizer: str = setting("adam", help="", signature="optimizer")
    seed: int = setting(0, help="", signature="seed")
    threads: int = setting(0, help="", signature=None)


@dataclass(frozen=True, kw_only=True)
class Grown(Signed):
    """The same with a setting, and a group, that someone added and nobody listed."""

    dropout: float = setting(0.0, help="")
    network: Network = field(default_factory=Network)


def _signature(config: Signed) -> str:
    return settings_signature(
        config,
        {"data": "mnist"},
        order=("optimizer", "seed"),
        composed={"optimizer": f"{config.optimizer}-{config.lr:g}"},
    ).rpartition("|version:")[0]


def test_a_new_setting_shows_in_the_signature_where_it_is_not_the_default() -> None:
    usual = "data:mnist|optimizer:adam-0.1|seed:0"
    assert _signature(Signed(threads=4)) == _signature(Grown(threads=4)) == usual
    assert _signature(Grown(dropout=0.5)) == f"{usual}|dropout:0.5"
    assert _signature(Grown(network=Network(tied=True, hidden=9))) == f"{usual}|tied:yes|hidden:9"


def test_a_setting_may_be_declared_like_another() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Copy:
        lr: float = setting_like(Inner, "lr", default=0.5)

    (copy,) = keys(Copy)
    assert (copy.default, copy.flag, copy.help, copy.source) == (0.5, "--lr", "step size", "seed")


ALL: list[type[DataclassType]] = [ComputeConfig, OptimConfig, LoopConfig]


@pytest.mark.parametrize("cls", ALL)
def test_the_defaults_are_valid_by_their_own_rules(cls: type[DataclassType]) -> None:
    given = {key.path: key.default for key in keys(cls)}
    assert resolve(cls, [given]) == cls()


def test_every_setting_has_a_flag_of_its_own_and_a_meaning() -> None:
    found = [key for cls in ALL for key in keys(cls)]
    flags = [key.flag for key in found]
    assert all(flags)
    assert len(set(flags)) == len(flags)
    assert all(key.help and not key.help.endswith(".") for key in found)


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (ComputeConfig, "seed", -1),
        (ComputeConfig, "seed", 2**63),
        (ComputeConfig, "threads", -1),
        (ComputeConfig, "precision", "fp16"),
        (OptimConfig, "lr", 0),
        (OptimConfig, "lr", -1e-3),
        (OptimConfig, "momentum", 1),
        (OptimConfig, "final_lr", 1.5),
        (OptimConfig, "warmup_steps", -1),
        (OptimConfig, "weight_decay", -1),
        (OptimConfig, "clip_norm", -1),
        (OptimConfig, "accumulate", 0),
        (OptimConfig, "optimizer", "adamw"),
        (LoopConfig, "epochs", -1),
        (LoopConfig, "batch_size", 0),
        (LoopConfig, "evaluate_every", 0),
        (LoopConfig, "patience", -1),
        (LoopConfig, "max_minutes", -1),
        (LoopConfig, "checkpoint_minutes", 0),
    ],
)
def test_values_out_of_range_are_refused(cls: type[DataclassType], key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"'{key}'"):
        resolve(cls, [{key: value}])
