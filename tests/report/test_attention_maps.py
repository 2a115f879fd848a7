"""Attention maps as pictures and numbers: the words can be read back from each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dlcli.display.console import to_json
from dlcli.errors import UsageFault
from dlcli.nmt.attending import AttentionMap
from dlcli.nmt.heatmap import attention_fields, attention_words, labels, save_attention
from tests.report.terminals import on_pipes, on_terminal

SOURCE = ("The", "European", "Area", "...", "</s>")
TARGET = ("la", "zone", "européenne", "</s>")

MAP = AttentionMap(
    text="The European Area ...",
    translation="la zone européenne",
    source=SOURCE,
    target=TARGET,
    matrix=np.array(
        [[0.5, 0, 0.5, 0, 0], [0, 0.125, 0.875, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0.25, 0.75]]
    ),
    unknown_source=(),
    unknown_target=(1,),
    nll_per_token=1.5,
    forced=False,
    unit="words",
    signature="model:nmt|version:x",
)


@pytest.mark.parametrize("ending", ["svg", "SVG"])
def test_the_figure_carries_its_words(ending: str) -> None:
    path = save_attention(MAP, Path(f"a.{ending}"))
    drawn = re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))
    words = [word.replace("&lt;", "<").replace("&gt;", ">") for word in drawn]
    assert words[: len(SOURCE)] == list(SOURCE)
    assert words[len(SOURCE) : len(SOURCE) + len(TARGET)] == [
        "la", "zone <unk>", "européenne", "</s>",
    ]  # fmt: skip


@pytest.mark.parametrize(("ending", "mark"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_of_other_forms(ending: str, mark: bytes) -> None:
    assert save_attention(MAP, Path(f"a.{ending}")).read_bytes().startswith(mark)


def test_numbers_can_be_read_back() -> None:
    found = json.loads(save_attention(MAP, Path("a.json")).read_text(encoding="utf-8"))
    assert found["source"] == list(SOURCE)
    assert found["target"] == list(TARGET)
    assert np.array_equal(found["attention"], MAP.matrix)
    assert found["files"] == [str(Path("a.json").absolute())]
    with np.load(save_attention(MAP, Path("a.npz"))) as held:
        assert tuple(held["source"]) == SOURCE
        assert tuple(held["target"]) == TARGET
        assert np.array_equal(held["attention"], MAP.matrix)
        assert str(held["alignment"]) == MAP.alignment


def test_fields_are_those_of_the_design() -> None:
    found = json.loads(to_json(attention_fields(MAP, files=[])))
    assert {"source", "target", "attention", "alignment", "files"} <= set(found)
    assert set(found["alignment"].split()) == {"0-0", "2-1", "1-2"}
    assert (found["steps_back"], found["steps"]) == (1, 2)
    assert found["unknown"] == {"source": [], "target": [1]}
    assert found["signature"]


@pytest.mark.parametrize("columns", [80, 20])
def test_the_terminal_shows_words_shades_and_numbers(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    consoles, out, _ = on_terminal(monkeypatch, columns=columns)
    consoles.result({}, *attention_words(MAP))
    text = out.getvalue()
    assert "48;2;" in text
    assert "1 of 2 steps run against the diagonal" in text
    monkeypatch.setenv("COLUMNS", str(columns))
    consoles, out, _ = on_pipes(monkeypatch)
    consoles.result({}, *attention_words(MAP))
    plain = out.getvalue()
    assert "\x1b" not in plain
    for word in ("la", "zone <unk>", "européenne", "</s>", "la zone européenne"):
        assert word in plain
    assert "@@" in plain


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_terminal(monkeypatch, no_color=True)
    consoles.result({}, *attention_words(MAP))
    assert "48;" not in out.getvalue()
    assert "@@" in out.getvalue()


def test_unknown_words_are_marked() -> None:
    assert labels(["a", "b", "<unk>"], unknown=[1, 2]) == ["a", "b <unk>", "<unk>"]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.jpg"])
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(UsageFault, match="does not say which form"):
        save_attention(MAP, Path(name))
