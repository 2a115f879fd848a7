"""`dl nmt eval`: the fields of section 4, files, a comparison, the refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.tiny import dl, dl_json, error_of
from tests.nmt.sentences import write_tsv
from tests.nmt.tiny_run import write_run

SMALL = ["--max-length", "6", "--beam", "2", "--resamples", "50", "--device", "cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nmt")
    write_tsv(folder / "toy.tsv", count=60)
    data = str(folder / "toy.tsv")
    write_run(folder / "forward", data=data)
    write_run(folder / "none", data=data, attention="none", seed=2)
    write_run(folder / "backward", data=data, direction="fr-en", seed=1)
    return folder


def test_json_has_the_names_that_scripts_rely_on(runs: Path, tmp_path: Path) -> None:
    words = ["--run", str(runs / "forward"), *SMALL, "--plot", "a.png", "--out", "a.fr"]
    found = dl_json("nmt", "eval", *words, "--against", str(runs / "none"), "--bins", "5", "6")
    for name in ("bleu", "chrf"):
        assert set(found[name]) == {"score", "ci95", "signature"}
        assert len(found[name]["ci95"]) == 2
    assert found["sentences"] == len(Path("a.fr").read_text().splitlines())
    assert found["sentences_per_s"] > 0
    assert (found["split"], found["direction"]) == ("test", "en-fr")
    assert {"score", "ci95"} <= set(found["by_length"][0]["bleu"])
    assert found["against"]["run"] == str(runs / "none")
    assert len(found["against"]["difference"]["ci95"]) == 2
    assert found["files"] == [str(tmp_path / "a.png"), str(tmp_path / "a.fr")]
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert "search:beam-2" in found["signature"].split("|")


def test_words_and_the_runs_name_as_an_argument(runs: Path) -> None:
    done = dl("nmt", "eval", str(runs / "forward"), *SMALL, "--split", "valid", "--lowercase")
    assert done.exit_code == 0, done.output
    for word in ("BLEU", "chrF", "sentences/s", "By sentence length", "case:lc", "split:valid"):
        assert word in done.stdout, word
    assert "Using" in done.stderr


def test_files_of_ones_own(runs: Path) -> None:
    Path("a.en").write_text("The king.\n\nThe cat sees the dog.\n")
    Path("a.ref").write_text("Le roi.\n\nLe chat voit le chien.\n")
    files = ["--input", "a.en", "--reference", "a.ref", "--out", "a.fr"]
    found = dl_json("nmt", "eval", str(runs / "forward"), *files, *SMALL)
    assert (found["sentences"], found["split"]) == (3, "file")
    assert Path("a.fr").read_text().splitlines()[1] == ""


def test_mistakes_are_named(runs: Path) -> None:
    Path("one").write_text("one\n")
    Path("two").write_text("one\ntwo\n")
    Path("vae").mkdir()
    Path("vae/run.json").write_text('{"kind": "vae"}')
    Path("vae/config.yaml").write_text("{}")
    run = ["--run", str(runs / "forward")]
    cases: list[tuple[list[str], str, int]] = [
        ([*run, "--input", "one"], "--input and --reference together", 2),
        ([*run, "--input", "one", "--reference", "two"], "one has 1 lines and two has 2", 1),
        ([*run, "--input", "nowhere", "--reference", "two"], "nowhere cannot be read", 1),
        ([*run, "--split", "train"], "training sentences", 2),
        ([*run, "--split", "test_2016"], "no split 'test_2016'", 2),
        ([*run, "--bins", "9", "3"], "--bins 9 3", 2),
        ([*run, "--beam", "0"], "beam", 2),
        ([*run, "--against", str(runs / "backward")], "translates fr-en", 2),
        (["--run", "vae"], "is a vae run", 2),
        (["--run", "nowhere"], "no run 'nowhere'", 2),
        (["a", "--run", "b"], "two runs", 2),
        ([*run, "--plot", "a.txt"], "picture format", 2),
    ]
    for words, message, code in cases:
        done = dl("nmt", "eval", "--max-length", "3", "--device", "cpu", *words, "--json")
        assert message in error_of(done)["message"], words
        assert done.exit_code == code, words
