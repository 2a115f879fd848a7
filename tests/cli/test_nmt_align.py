"""`dl nmt align`: Pharaoh lines, error rates, the fields of section 4, the refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dlcli.cli.app import app
from tests.cli.tiny import dl, dl_json, error_of
from tests.nmt.tiny_run import write_run

SOURCE = ["the king sees the dog .", "", "the cat hears the bird ."]
TARGET = ["le roi voit le chien .", "", "le chat entend le oiseau vert ."]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nmt")
    write_run(folder / "forward")
    write_run(folder / "backward", direction="fr-en", seed=1)
    write_run(folder / "none", attention="none")
    return folder


@pytest.fixture
def files(tmp_path: Path, runs: Path) -> list[str]:
    (tmp_path / "a.en").write_text("\n".join(SOURCE) + "\n")
    (tmp_path / "a.fr").write_text("\n".join(TARGET) + "\n")
    words = ["--source", "a.en", "--target", "a.fr", "--run", str(runs / "forward")]
    return ["nmt", "align", *words, "--device", "cpu"]


def test_links_come_out_a_line_a_pair(files: list[str], tmp_path: Path) -> None:
    done = dl(*files)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[1] == ""
    for line, source, target in zip(lines, SOURCE, TARGET, strict=True):
        pairs = [tuple(map(int, link.split("-"))) for link in line.split()]
        assert len(pairs) == len(target.split())
        assert all(s < len(source.split()) for s, _ in pairs)
    assert "Using" in done.stderr
    (tmp_path / "joined").write_text(
        "".join(f"{s} ||| {t}\n" for s, t in zip(SOURCE, TARGET, strict=True))
    )
    assert dl("nmt", "align", "--pairs", "joined", *files[6:]).stdout == done.stdout
    text = (tmp_path / "joined").read_text()
    piped = CliRunner().invoke(app, ["nmt", "align", "--pairs", "-", *files[6:]], input=text)
    assert piped.stdout == done.stdout


def test_json_has_the_names_that_scripts_rely_on(files: list[str], runs: Path) -> None:
    Path("gold").write_text("1-1 2-2 3p3\n\n1-1\n")
    found = dl_json(*files, "--gold", "gold", "--gold-index", "1", "--shift")
    assert found["sentences"] == 3
    for name in ("aer", "precision", "recall"):
        assert 0 <= found[name] <= 1
    assert (found["sure_links"], found["possible_links"]) == (3, 4)
    assert (found["run"], found["shift"]) == (str(runs / "forward"), 1)
    assert len(found["links"]) == 3
    assert "shift:1" in found["signature"].split("|")
    without: dict[str, Any] = dl_json(*files)
    assert without["aer"] is None
    assert without["sentences"] == 3


def test_gold_shows_the_error_rate_and_links_go_to_a_file(files: list[str], runs: Path) -> None:
    dl(*files, "--out", "links")
    links = Path("links").read_text()
    assert links == dl(*files).stdout
    done = dl(*files, "--gold", "links", "--out", "again")
    assert "alignment error rate  0.00 %" in done.stdout
    assert Path("again").read_text() == links
    both = dl(*files, "--gold", "links", "--symmetrize", str(runs / "backward"))
    assert both.exit_code == 0, both.output
    assert str(runs / "backward") in both.stdout
    assert "symmetrize:intersection|combine:average" in both.stdout.replace("\n", "")


def test_mistakes_are_named(files: list[str], runs: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("one line\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "far").write_text("90-0\n\n\n")
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "run.json").write_text('{"kind": "vae"}')
    (tmp_path / "vae" / "config.yaml").write_text("{}")
    run = str(runs / "none")
    cases: list[tuple[list[str], str, int]] = [
        ([*files[:4], "--target", "short", *files[6:]], "3 lines and short has 1", 1),
        ([*files[:4], *files[6:]], "needs either --source and --target, or --pairs", 2),
        ([*files, "--pairs", "short"], "needs either", 2),
        (["nmt", "align", "--pairs", "empty", *files[6:]], "no lines", 2),
        (["nmt", "align", "--pairs", "short", *files[6:]], "Line 1 of short has 0 '|||'", 1),
        ([*files, "--gold", "short"], "1 lines for 3 pairs", 1),
        ([*files, "--gold", "far"], "90-0 is out of range", 1),
        ([*files, "--gold-index", "2"], "gold_index", 2),
        ([*files, "--symmetrize", str(runs / "forward")], "other direction", 2),
        ([*files[:6], "--run", run], "--attention none", 2),
        ([*files[:6], "--run", "vae"], "is a vae run", 2),
        ([*files, "--symmetrize", "nowhere"], "no run 'nowhere'", 2),
    ]
    for words, message, code in cases:
        done = dl(*words, "--json")
        assert message in error_of(done)["message"], words
        assert done.exit_code == code, words


def test_shifting_means_attention(files: list[str]) -> None:
    assert dl_json(*files)["links_from"] == "posterior"
    assert dl_json(*files, "--shift")["links_from"] == "attention"
    error = error_of(dl(*files, "--shift", "--links-from", "posterior", "--json"))
    assert "--shift has no meaning" in error["message"]


@pytest.mark.parametrize("flag", [["--heuristic", "union"], ["--combine", "product"]])
def test_joining_one_direction_is_refused(files: list[str], flag: list[str]) -> None:
    error = error_of(dl(*files, *flag, "--json"))
    assert "joins two directions" in error["message"]
    assert "--symmetrize" in error["hint"]


def test_the_grammar_knows_its_links(runs: Path) -> None:
    words = ["nmt", "align", "--data", "grammar", "--n", "5", "--run", str(runs / "forward")]
    found = dl_json(*words)
    assert found["sentences"] == 5
    assert 0 <= found["aer"] <= 1
    assert "|data:grammar-test|pairs:" in found["signature"]
    error = error_of(dl(*words, "--gold", "links", "--json"))
    assert "--data has its own" in error["message"]
