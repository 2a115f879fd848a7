"""`dl env`: what this machine offers."""

from __future__ import annotations

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
