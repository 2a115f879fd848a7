"""`dl vae explore`: one page, where it is, and what it cannot be."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from dlcli.display import page
from tests.cli.tiny import dl, dl_json, error_of


def test_writes_one_page_that_needs_nothing_else(tiny_run: Path, tmp_path: Path) -> None:
    found = dl_json("vae", "explore", "--run", str(tiny_run))
    assert found["files"] == [str(tmp_path / "explore.html")]
    assert (found["run"], found["checkpoint"]) == (str(tiny_run), "last")
    text = Path("explore.html").read_text(encoding="utf-8")
    assert found["bytes"] == len(text.encode())
    assert found["images"] > 0
    assert "http://" not in text
    assert "https://" not in text
    assert f"dl vae explore --run {tiny_run}" in text
    assert found["signature"] in text.replace("\u200b", "")


def test_opens_the_page(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    done = dl("vae", "explore", "--run", str(tiny_run), "--out", "new/a.html", "--open")
    assert done.exit_code == 0
    assert done.stdout.strip() == str(Path("new/a.html").absolute())
    assert opened == [Path("new/a.html").absolute().as_uri()]


def test_mistakes_are_errors_with_a_way_out(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_BYTES", 1000)
    for code, said, words in (
        (2, "no name of a page", ["--run", str(tiny_run), "--out", "a.txt"]),
        (2, "no run", ["--run", "nothing"]),
        (1, "more than", ["--run", str(tiny_run)]),
    ):
        done = dl("vae", "explore", *words, "--json")
        assert done.exit_code == code
        assert said in error_of(done)["message"]
    assert not Path("explore.html").exists()
