"""`dl env`: what this machine offers."""

from __future__ import annotations

import pytest

from dlcli.nmt.fast.compiling import load_library
from tests.cli.tiny import dl, dl_json


def test_json_names_versions_devices_and_precisions() -> None:
    found = dl_json("env")
    assert found["devices"][-1] == "cpu"
    assert set(found["bf16_native"]) == set(found["devices"])
    assert found["torch"].startswith("2.13")


def test_words_say_the_same() -> None:
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
