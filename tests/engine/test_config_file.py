"""Config files: they load back, say what they mean, and fail in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.engine.config import dump_yaml, load_yaml, resolve
from dlcli.errors import ConfigError
from tests.engine.test_config import Inner, Toy

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
