"""`dl nmt train` and `dl nmt compare-forcing`: what they say and write, refuse, and resume."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from dlcli.engine.checkpoint import load_model
from dlcli.engine.config import load_yaml
from dlcli.engine.runs import RunFolder
from tests.cli.tiny import NMT_WHERE, TRANSFORMER, contents, dl, dl_json, error_of, nmt_train

pytestmark = pytest.mark.usefixtures("no_figures")


def _words() -> list[str]:
    return nmt_train(command="compare-forcing")


def test_every_ratio_is_trained_for_as_many_updates_and_tested(tmp_path: Path) -> None:
    found = dl_json(*_words(), "--bins", "5", "6", "--out", "cmp")
    assert found["run"] == str(tmp_path / "cmp")
    assert found["files"] == [str(tmp_path / "cmp/forcing.png")]
    assert Path(found["files"][0]).read_bytes().startswith(b"\x89PNG")
    rows = found["results"]
    assert [row["teacher_forcing"] for row in rows] == [1.0, 0.5, 0.0]
    assert {row["updates"] for row in rows} == {8}
    for row in rows:
        valid = row["valid"]
        gap = valid["free_nll_per_token"] - valid["nll_per_token"]
        assert row["exposure_gap"] == pytest.approx(gap)
        assert sum(found["sentences"] for found in row["by_length"]) == row["sentences"]
        assert "split:test" in row["signature"]
    assert "forcing:0.5/token" in rows[1]["signature"]


def test_a_table_and_a_figure_of_ones_own(tmp_path: Path) -> None:
    done = dl(*_words(), "--ratios", "1", "0", "--plot", "mine.svg", "--out", "cmp")
    assert done.exit_code == 0, done.output
    assert "free-running" in done.stdout
    assert "teacher forcing" in (tmp_path / "mine.svg").read_text()


def test_it_goes_on_with_what_is_done(tmp_path: Path) -> None:
    words = [*_words(), "--ratios", "1", "0", "--out", "cmp"]
    first = dl_json(*words)
    before = contents(tmp_path / "cmp" / "forcing-1")
    more = ["nmt", "compare-forcing", "--resume", "cmp", "--ratios", "1", "0.25", "0"]
    found = dl_json(*more)
    assert [row["teacher_forcing"] for row in found["results"]] == [1.0, 0.25, 0.0]
    assert found["results"][0]["valid"] == first["results"][0]["valid"]
    assert contents(tmp_path / "cmp" / "forcing-1") == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ratios", "1"], "--ratios 1 compare nothing"),
        (["--ratios", "1", "1"], "--ratios 1 1 compare nothing"),
        (["--ratios", "1", "2"], "--ratios 1 2 compare nothing"),
        (["--teacher-forcing", "0.5"], "sets the teacher-forcing ratio itself"),
        (["--teacher-forcing-end", "0.5"], "sets the teacher-forcing ratio itself"),
        (["--patience", "2"], "--patience"),
        (["--max-minutes", "2"], "--max-minutes"),
        (["--bins", "9", "3"], "--bins 9 3"),
        (["--plot", "x.bmp"], "x.bmp"),
    ],
)
def test_what_has_no_meaning_is_refused_before_any_training(
    words: list[str], message: str, tmp_path: Path
) -> None:
    done = dl(*_words(), *words, "--out", "cmp", "--json")
    assert done.exit_code == 2, done.output
    assert message in error_of(done)["message"]
    assert not (tmp_path / "cmp").exists()


FIELDS = {"run", "data", "updates", "tokens_per_s", "valid", "signature"}


def test_json_has_the_fields_that_scripts_rely_on(tmp_path: Path) -> None:
    done = dl(*nmt_train(), "--out", "ici été/a b", "--json")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert set(found) >= FIELDS
    assert set(found["valid"]) >= {"nll_per_token", "bleu", "chrf"}
    assert found["run"] == str(tmp_path / "ici été" / "a b")
    assert found["updates"] == 8
    assert found["tokens_per_s"] > 0
    record = RunFolder(Path(found["run"])).record()
    assert (record["status"], record["kind"], record["result"]) == ("done", "nmt", found)


def test_without_json_the_result_is_a_table_and_progress_is_a_line_an_epoch() -> None:
    done = dl(*nmt_train(), "--out", "a")
    assert done.exit_code == 0
    assert "validation BLEU" in done.stdout
    assert "signature" in done.stdout
    assert "The whole training is 8 updates" in done.stderr
    names, *epochs = done.stderr.splitlines()[3:6]
    assert {"epoch", "loss", "free", "bleu", "chrf", "tokens/s"} <= set(names.split())
    assert [line.split()[0] for line in epochs] == ["1", "2"]


@pytest.mark.parametrize("network", [[], TRANSFORMER], ids=["gru", "transformer"])
def test_what_goes_on_ends_like_what_was_never_stopped(network: list[str], tmp_path: Path) -> None:
    words = [*nmt_train(), *network]
    dl_json(*words, "--out", "whole")
    assert dl(*words, "--out", "cut", "--max-minutes", "1e-9", "--json").exit_code == 0
    assert RunFolder(tmp_path / "cut").status == "stopped"
    found = dl_json("nmt", "train", "--resume", "cut", "--max-minutes", "0")
    assert found["updates"] == 8
    assert found["valid"] == dl_json(*words, "--out", "whole", "--resume")["valid"]
    ours, theirs = (
        load_model(RunFolder(tmp_path / name), kind="nmt", checkpoint="last").weights
        for name in ("whole", "cut")
    )
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_seeds_are_means_of_runs(tmp_path: Path) -> None:
    found = dl_json(*nmt_train(), "--seeds", "2", "--out", "s")
    assert found["seeds"] == 2
    assert [Path(run["run"]).name for run in found["runs"]] == ["seed-0", "seed-1"]
    mean = sum(run["valid"]["nll_per_token"] for run in found["runs"]) / 2
    assert found["valid"]["nll_per_token"] == pytest.approx(mean)
    assert found["valid_std"]["bleu"] >= 0
    done = dl("nmt", "train", "--resume", "s", "--seeds", "2")
    assert done.exit_code == 0, done.output
    assert "validation BLEU over 2 seeds" in done.stdout


def test_flags_reach_the_settings_and_the_data_set_is_named(tmp_path: Path) -> None:
    words = [*nmt_train(), "--direction", "fr-en", "--lowercase", "--attention", "none"]
    words += ["--teacher-forcing", "0.5", "--teacher-forcing-unit", "sentence", "--out", "run"]
    found = dl_json(*words)
    saved = load_yaml(tmp_path / "run/config.yaml")
    assert saved["data"]["name"].startswith(str(tmp_path / "toy.tsv#"))
    assert saved["model"]["attention"] == "none"
    assert saved["objective"]["teacher_forcing"] == 0.5
    for part in ("direction:fr-en", "lowercase:yes", "attention:none", "forcing:0.5/sentence"):
        assert part in found["signature"]


@pytest.mark.parametrize(
    ("words", "direction", "source"),
    [
        (["--data", "a.en,b.fr"], "en-fr", "The"),
        (["--data", "b.fr,a.en"], "fr-en", "Le"),
        (["--data", "a.en,b.fr", "--direction", "fr-en"], "fr-en", "Le"),
        (["--data", "toy.tsv", "--source-lang", "deu", "--target-lang", "cs"], "de-cs", "The"),
        (["--data", "toy.tsv", "--source-lang", "fr", "--target-lang", "en"], "fr-en", "The"),
        (["--data", "toy.tsv:de-cs", "--direction", "cs-de"], "cs-de", "Le"),
    ],
)
def test_a_pair_of_languages_is_one_thing_in_settings_signature_and_folder(
    words: list[str], direction: str, source: str, tmp_path: Path
) -> None:
    trained = nmt_train()
    for column, name in enumerate(("a.en", "b.fr")):
        rows = [line.split("\t")[column] for line in Path("toy.tsv").read_text().splitlines()]
        Path(name).write_text("\n".join(rows))
    found = dl_json(*trained, *words, "--epochs", "1")
    run = Path(found["run"])
    assert f"|direction:{direction}|" in found["signature"]
    assert f"nmt-{direction}" in run.name
    assert load_yaml(run / "config.yaml")["data"]["direction"] == direction
    assert found["direction"] == direction
    shown = dl_json("data", "show", found["data"], "--direction", direction, "--n", "1")
    assert shown["pairs"][0]["source"].startswith(source)
    assert dl_json("nmt", "eval", "--run", str(run), "--beam", "1")["direction"] == direction
    again = dl_json("nmt", "train", "--resume", str(run), "--epochs", "2")
    assert again["data"] == found["data"]


def test_the_direction_of_a_data_set_is_shown_with_the_settings() -> None:
    for words, direction in (
        (["--data", "tatoeba:deu-eng"], "de-en"),
        (["--data", "multi30k:cs-de", "--direction", "de-cs"], "de-cs"),
        (["--source-lang", "pt-BR", "--target-lang", "en"], "pt_BR-en"),
    ):
        done = dl("nmt", "train", *words, "--print-config", "--json")
        assert json.loads(done.stdout)["data"]["direction"] == direction


REFUSED: list[tuple[list[str], int, str]] = [
    (["--vocabulary", "100"], 2, "--vocabulary 100 is too small"),
    (["--data", "nowhere.tsv"], 2, "nowhere.tsv"),
    (["--data", "mnist"], 2, "mnist"),
    (["--average", "1"], 2, "--average 1"),
    (["--dropout-context", "1.0"], 2, "dropout_context"),
    (["--max-length", "1"], 1, "at most 1 tokens"),
    (["--lr", "1e6", "--optimizer", "sgd", "--clip-norm", "0", "--epochs", "30"], 1, "finite"),
    (["--init-from", "nothing"], 2, "nothing"),
    (["--direction", "english"], 2, "no direction 'english'"),
    (["--source-lang", "de"], 2, "--source-lang and --target-lang go together"),
    (["--source-lang", "a b", "--target-lang", "en"], 2, "'a b' is no name of a language"),
    (["--data", "grammar", "--direction", "de-en"], 2, "'grammar' has no direction 'de-en'"),
]


@pytest.mark.parametrize(("words", "code", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_said_in_a_sentence(words: list[str], code: int, message: str) -> None:
    done = dl(*nmt_train(), *words, "--out", "run", "--json")
    assert done.exit_code == code, done.output
    error = error_of(done)
    assert message in error["message"]
    assert error["hint"]


def test_the_grammar_recommends_its_own_settings() -> None:
    printed = dl("nmt", "train", "--data", "grammar", "--print-config")
    assert printed.exit_code == 0, printed.output
    other = dl("nmt", "train", "--data", "multi30k", "--print-config")
    assert "name: grammar" in printed.stdout
    assert "name: multi30k" in other.stdout


def test_auto_takes_what_there_is_and_says_so(tmp_path: Path) -> None:
    words = ["nmt", "train", "--offline", "--train-pairs", "40", "--validation", "5", *NMT_WHERE]
    words += ["--embedding", "7", "--encoder-hidden", "5", "--hidden", "9", "--epochs", "1"]
    done = dl(*words, "--out", "run", "--json")
    assert done.exit_code == 0, done.output
    assert "grammar" in json.loads(done.stdout)["data"]
    assert "grammar" in done.stderr
    assert os.fspath(tmp_path) in json.loads(done.stdout)["run"]
