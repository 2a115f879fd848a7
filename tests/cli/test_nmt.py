"""`dl nmt translate`, `attend`, `eval` and `align`: fields, words, pipes, refusals."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from dlcli.cli.nmt import CHUNK, decoded, line_groups
from dlcli.errors import DataError
from tests.cli.tiny import dl, dl_json, error_of
from tests.nmt.toy import TRANSFORMER, write_run, write_tsv


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Translators of a toy corpus: both directions, one without attention, and a Transformer."""
    folder = tmp_path_factory.mktemp("nmt")
    write_tsv(folder / "toy.tsv", count=60)
    data = str(folder / "toy.tsv")
    write_run(folder / "forward", data=data)
    write_run(folder / "backward", data=data, direction="fr-en", seed=1)
    write_run(folder / "none", data=data, attention="none", seed=2)
    write_run(folder / "transformer", data=data, seed=3, **TRANSFORMER)
    return folder


@pytest.fixture
def vae() -> None:
    """A run of another kind, in `vae`."""
    Path("vae").mkdir()
    Path("vae/run.json").write_text('{"kind": "vae"}')
    Path("vae/config.yaml").write_text("{}")


def check_mistakes(cases: list[tuple[list[str], str, int]], *command: str, more: list[str]) -> None:
    """Check that each command line ends with its message and exit code."""
    for words, message, code in cases:
        done = dl(*command, *more, *words, "--json")
        assert message in error_of(done)["message"], words
        assert done.exit_code == code, words


QUICK = ["--device", "cpu", "--precision", "fp32", "--beam", "2", "--max-length", "8"]


LINES = ["The cat sees the dog here.", "", "The king!", "  ", "🙂 שלום", "The bird again ..."]


def translate(*words: str, runs: Path, given: bytes | None = None) -> Result:
    command = ["nmt", "translate", "--run", str(runs / "forward"), *QUICK, *words]
    return CliRunner().invoke(app, command, input=given)


def answers(*words: str, runs: Path, given: bytes | None = None) -> list[str]:
    done = translate(*words, runs=runs, given=given)
    assert done.exit_code == 0, done.output
    return done.stdout.split("\n")[:-1]


def test_a_file_a_pipe_and_the_same_lines_typed_agree(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    found = answers("--input", str(file), runs=runs)
    assert len(found) == len(LINES)
    assert [not line for line in found] == [not line.strip() for line in LINES]
    assert answers(runs=runs, given=file.read_bytes()) == found
    assert answers("-", runs=runs, given=file.read_bytes()) == found
    assert answers("\n".join(LINES), runs=runs) == found
    typed = [answers("--", line, runs=runs) for line in LINES if line.strip()]
    assert [line for lines in typed for line in lines] == list(filter(None, found))
    content = gzip.compress(file.read_bytes())
    file.write_bytes(content)  # packed, whatever its name
    assert answers("--input", str(file), runs=runs) == found
    done = translate(runs=runs, given=content)
    assert (done.exit_code, "standard input is packed" in done.stderr) == (1, True)


@pytest.mark.parametrize("text", ["- I agree.", "-5", "--Oui.", "-Hello", "--beam me up", "-\tx"])
def test_text_may_begin_with_a_dash(text: str, runs: Path) -> None:
    assert answers(text, "--n-best", "1", runs=runs) == answers("--", text, runs=runs)
    found = attend_json(text, "-o", "a.json", runs=runs)
    assert found["text"] == " ".join(text.split())
    target = attend_json("Oui", "--target", text, "-o", "a.json", runs=runs)
    assert target["translation"] == text.replace("\t", " ")


def test_a_flag_that_there_is_not_is_no_text(runs: Path) -> None:
    done = translate("The cat", "--beem", "3", runs=runs)
    assert (done.exit_code, "--beam" in done.stderr) == (2, True)


def test_a_file_given_as_text_is_remarked_on(runs: Path) -> None:
    Path("in.txt").write_text("The cat")
    done = translate("in.txt", runs=runs)
    assert "'in.txt' is translated as text; for the file write --input in.txt." in done.stderr


def test_translate_json_is_one_object_a_line(runs: Path) -> None:
    given = b"The cat\n\nThe king"
    found = [json.loads(line) for line in answers("--json", runs=runs, given=given)]
    assert [one["source"] for one in found] == ["The cat", "", "The king"]
    assert found[1]["translation"] == ""
    assert found[1]["score"] == 0
    assert all(one["score"] <= 0 for one in found)
    assert [one["translation"] for one in found] == answers(runs=runs, given=given)


def test_n_best_are_ranked(runs: Path) -> None:
    words = ["The cat", "--beam", "9", "--n-best", "9"]
    (one,) = map(json.loads, answers(*words, "--json", runs=runs))
    scores = [best["score"] for best in one["n_best"]]
    assert scores == sorted(scores, reverse=True)
    assert one["translation"] == one["n_best"][0]["translation"]
    assert 1 < len({best["translation"] for best in one["n_best"]}) == len(scores) < 9
    assert f"has {len(scores)} different translations" in translate(*words, runs=runs).stderr
    rows = [row.split(" ||| ") for row in answers(*words, runs=runs)]
    assert {row[0] for row in rows} == {"0"}
    assert [float(row[2]) for row in rows] == scores


def test_nothing_gives_nothing(runs: Path) -> None:
    assert answers(runs=runs, given=b"") == []
    assert answers(runs=runs, given=b"\n") == [""]
    for text in ("", "  "):
        done = translate(text, "--json", runs=runs)
        error = error_of(done)
        assert (done.exit_code, error["message"].partition(",")[0]) == (2, "TEXT is empty")
        assert "pipe lines in" in error["hint"]


def test_a_line_in_parts_is_remarked_on(runs: Path) -> None:
    done = translate("--beam", "1", runs=runs, given=b"The cat sees the dog. " * 50)
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert "was translated in 50 parts" in done.stderr


def test_lines_before_a_faulty_one_are_answered(runs: Path) -> None:
    done = translate("--json", runs=runs, given=b"The cat\n\xff\xfe\n")
    assert done.exit_code == 1
    first, error = map(json.loads, done.stdout.splitlines())
    assert first["source"] == "The cat"
    assert error["error"]["kind"] == "data"
    assert "Line 2 of standard input is not UTF-8: byte 1 is 0xff" in error["error"]["message"]


@pytest.mark.usefixtures("vae")
def test_mistakes_in_translating_are_named(runs: Path) -> None:
    cases = [
        (["a", "--beam", "0"], "A beam of 0 holds no translation", 2),
        (["a", "--n-best", "3"], "cannot give the 3 best", 2),
        (["a", "--length-penalty", "-1"], "length penalty of -1", 2),
        (["a", "--input", __file__], "TEXT and --input are two inputs", 2),
        (["--input", "nowhere.txt"], "nowhere.txt", 2),
        (["a", "--run", "nowhere"], "no run 'nowhere'", 2),
        (["good", "morning"], "unexpected extra argument", 2),
        (["a", "--run", "vae"], "of kind vae, and this command needs one of kind nmt", 2),
        (["a", "--batch-size", "0"], "batch", 2),
    ]
    more = ["--run", str(runs / "forward"), *QUICK]
    check_mistakes(cases, "nmt", "translate", more=more)
    assert "Put text that has spaces into quotes" in translate("good", "day", runs=runs).stderr


def test_a_closed_pipe_is_quiet(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("The cat\n" * 3000)
    command = [sys.executable, "-m", "dlcli", "nmt", "translate", "--run", str(runs / "forward")]
    with subprocess.Popen(
        [*command, *QUICK, "--quiet", "--beam", "1", "--input", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


SENTENCE, TARGET = "The agreement ...", "L'accord sur la zone ..."


def attend(*words: str, runs: Path, given: str | None = None) -> Result:
    command = ["nmt", "attend", "--run", str(runs / "forward"), *QUICK, *words]
    return CliRunner().invoke(app, command, input=given)


def attend_json(*words: str, runs: Path) -> dict[str, Any]:
    done = attend(*words, "--json", runs=runs)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    assert np.allclose(np.sum(found["attention"], axis=1), 1)
    return found


def test_a_sentence_is_drawn_into_the_run(runs: Path) -> None:
    done = attend(SENTENCE, runs=runs)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert "@@" in done.stdout
    assert lines[-1] == str(runs / "forward/figures/attend-the-agreement.png")
    assert Path(lines[-1]).is_file()
    assert f"Using {runs / 'forward'}" in done.stderr
    found = attend_json(SENTENCE, runs=runs)
    assert found["source"] == ["The", "agreement", "...", "</s>"]
    assert found["run"] == str(runs / "forward")


def test_figures_do_not_replace_one_another(runs: Path) -> None:
    long = "The agreement " * 9 + "..."
    names = {
        Path(attend_json(long, *target, runs=runs)["files"][0]).name
        for target in ([], ["--target", "une cible"], ["--target", "une autre"], ["--subwords"])
    }
    assert len(names) == 4
    assert "attend-" + "-".join(["the", "agreement"] * 4 + ["the"]) + ".png" in names
    shipped = dl_json("nmt", "attend", "The law", "--run", "pretrained:nmt-grammar")
    assert shipped["files"] == [str(Path.cwd() / "runs/pictures/attend-nmt-grammar-the-law.png")]


def test_attend_json_has_the_names_that_scripts_rely_on(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.svg"
    found = attend_json(SENTENCE, "--target", TARGET, "--out", str(out), runs=runs)
    assert found["target"] == ["L'", "accord", "sur", "la", "zone", "...", "</s>"]
    assert np.shape(found["attention"]) == (7, 4)
    assert sorted(link.split("-")[1] for link in found["alignment"].split()) == list("012345")
    assert found["files"] == [str(out)]
    drawn = re.findall(r"<!-- (.*?) -->", out.read_text(encoding="utf-8"))
    words = [word.replace("&lt;", "<").replace("&gt;", ">") for word in drawn]
    assert words[:11] == [*found["source"], *found["target"]]


def test_subwords_have_rows_of_their_own(runs: Path) -> None:
    words = [SENTENCE, "--target", TARGET, "--subwords", "--out", "a.npz"]
    found = attend_json(*words, runs=runs)
    assert found["unit"] == "subwords"
    assert len(found["target"]) > 7


def test_lines_from_a_pipe_are_answered_one_by_one(runs: Path) -> None:
    done = attend("--json", runs=runs, given="The cat\n\nThe king here.\n")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["text"] for one in found] == ["The cat", "The king here."]
    assert [one["files"] for one in found] == [[], []]


def test_a_transformer_shows_the_layer_and_head_that_are_chosen(
    align: list[str], runs: Path
) -> None:
    run = ["--run", str(runs / "transformer")]
    attend = [
        "nmt",
        "attend",
        SENTENCE,
        "--target",
        TARGET,
        *run,
        "--device",
        "cpu",
        "-o",
        "a.json",
    ]
    for words, said in (
        ([], "layer:1|head:mean"),
        (["--layer", "2", "--head", "1"], "layer:2|head:1"),
    ):
        shown, linked = dl_json(*attend, *words), dl_json(*align[:6], *run, *words)
        assert [sum(row) for row in shown["attention"]] == pytest.approx([1] * len(shown["target"]))
        assert f"|{said}|" in shown["signature"]
        assert f"|{said}|" in linked["signature"]
    assert len(dl_json("nmt", "translate", SENTENCE, *run, *QUICK)["translation"]) > 0


def test_mistakes_in_attending_are_named(runs: Path) -> None:
    cases = [
        ([""], "The sentence has no words", 2),
        (["\x00 "], "The sentence has no words", 2),
        (["The cat", "--target", " "], "The translation has no words", 2),
        (["The cat", "--target", "chat " * 5000], "The translation has", 2),
        (["cat " * 5000], "tokens, and attention is drawn for at most 1,000", 2),
        (["The cat", "--out", "a.jpg"], "does not say which form", 2),
        (["--target", "Le chat"], "--target goes with one sentence", 2),
        (["-", "--out", "a.png"], "--out goes with one sentence", 2),
        (["The cat", "--beam", "0"], "A beam of 0", 2),
        (["The cat", "--run", str(runs / "none")], "was trained with --attention none", 2),
        (["The cat", "--layer", "1"], "This model has one attention", 2),
        (["The cat", "--head", "3", "--run", str(runs / "transformer")], "has no head 3", 2),
    ]
    more = ["--run", str(runs / "forward"), *QUICK]
    check_mistakes(cases, "nmt", "attend", more=more)


SMALL = ["--max-length", "6", "--beam", "2", "--resamples", "50", "--device", "cpu"]


def test_eval_json_has_the_names_that_scripts_rely_on(runs: Path, tmp_path: Path) -> None:
    words = ["--run", str(runs / "forward"), *SMALL, "--plot", "a.png", "--out", "a.fr"]
    words += ["--against", str(runs / "none"), "--bins", "5", "6"]
    found = dl_json("nmt", "eval", *words)
    for name in ("bleu", "chrf"):
        assert set(found[name]) == {"score", "ci95", "signature"}
        assert len(found[name]["ci95"]) == 2
    assert found["sentences"] == len(Path("a.fr").read_text().splitlines())
    assert "translations" not in found
    assert found["sentences_per_s"] > 0
    assert (found["split"], found["direction"]) == ("test", "en-fr")
    assert {"score", "ci95"} <= set(found["by_length"][0]["bleu"])
    assert found["against"]["run"] == str(runs / "none")
    assert len(found["against"]["difference"]["ci95"]) == 2
    assert found["files"] == [str(tmp_path / "a.png"), str(tmp_path / "a.fr")]
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert "search:beam-2" in found["signature"].split("|")


def test_words_and_the_runs_name_as_an_argument(runs: Path) -> None:
    words = ["nmt", "eval", str(runs / "forward"), *SMALL, "--split", "valid", "--lowercase"]
    done = dl(*words)
    assert done.exit_code == 0, done.output
    for word in ("BLEU", "chrF", "sentences/s", "By sentence length", "case:lc", "split:valid"):
        assert word in done.stdout, word
    assert "Using" in done.stderr


def test_files_of_ones_own(runs: Path) -> None:
    Path("a.en").write_text("The king.\n\nThe cat sees the dog.\n")
    Path("a.ref").write_text("Le roi.\n\nLe chat voit le chien.\n")
    files = ["--input", "a.en", "--reference", "a.ref", "--out", "a.fr"]
    found = dl_json("nmt", "eval", str(runs / "forward"), *files, *SMALL)
    assert (found["sentences"], found["data"]) == (3, str(Path("a.en").absolute()))
    assert found["split"] == "file"
    assert Path("a.fr").read_text().splitlines()[1] == ""
    for words, n in ((files, 2), ([], 1)):
        few = dl_json("nmt", "eval", str(runs / "forward"), *words, *SMALL, "--n", str(n))
        assert few["sentences"] == n


def test_references_with_letters_and_accents_apart_are_joined_and_said(runs: Path) -> None:
    Path("a.en").write_text("The king.\n")
    Path("nfc").write_text("Le château où l'été s'achève.\n")
    Path("nfd").write_text(unicodedata.normalize("NFD", Path("nfc").read_text()))
    files = ["nmt", "eval", str(runs / "forward"), "--input", "a.en", *SMALL, "--reference"]
    composed, apart = dl_json(*files, "nfc"), dl(*files, "nfd", "--json")
    found = json.loads(apart.stdout)
    assert "(it is not in NFC)" in apart.stderr
    for name in ("bleu", "chrf"):
        assert found[name]["score"] == composed[name]["score"]
        assert found[name]["signature"] == f"{composed[name]['signature']}|references:nfc"
    assert "|references:nfc|" in found["signature"]
    assert "|references" not in composed["signature"]


@pytest.mark.usefixtures("vae")
def test_mistakes_in_evaluating_are_named(runs: Path) -> None:
    Path("one").write_text("one\n")
    Path("two").write_text("one\ntwo\n")
    Path("none").write_text("")
    run = ["--run", str(runs / "forward")]
    cases: list[tuple[list[str], str, int]] = [
        ([*run, "--input", "one"], "--input and --reference together", 2),
        ([*run, "--input", "one", "--reference", "two"], "one has 1 line and two has 2", 1),
        ([*run, "--input", "nowhere", "--reference", "two"], "nowhere cannot be read", 1),
        ([*run, "--input", "none", "--reference", "none"], "no lines", 2),
        ([*run, "--data", "nowhere"], "nowhere", 2),
        ([*run, "--split", "train"], "training sentences", 2),
        ([*run, "--split", "test_2016"], "no split 'test_2016'", 2),
        ([*run, "--bins", "9", "3"], "--bins 9 3", 2),
        ([*run, "--beam", "0"], "beam", 2),
        ([*run, "--against", str(runs / "backward")], "translates fr-en", 2),
        (["--run", "vae"], "is a run of kind vae", 2),
        (["--run", "nowhere"], "no run 'nowhere'", 2),
        (["a", "--run", "b"], "two runs", 2),
        ([*run, "--plot", "a.txt"], "picture format", 2),
    ]
    check_mistakes(cases, "nmt", "eval", more=["--max-length", "3", "--device", "cpu"])


SOURCES = ["the king sees the dog .", "", "the cat hears the bird ."]
TARGETS = ["le roi voit le chien .", "", "le chat entend le oiseau vert ."]


@pytest.fixture
def align(runs: Path) -> list[str]:
    """The words of `nmt align` on three pairs; the last four choose run and device."""
    Path("a.en").write_text("\n".join(SOURCES) + "\n")
    Path("a.fr").write_text("\n".join(TARGETS) + "\n")
    words = ["nmt", "align", "--source", "a.en", "--target", "a.fr"]
    return [*words, "--run", str(runs / "forward"), "--device", "cpu"]


def test_links_come_out_a_line_a_pair(align: list[str]) -> None:
    done = dl(*align)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[1] == ""
    for line, source, target in zip(lines, SOURCES, TARGETS, strict=True):
        pairs = [tuple(map(int, link.split("-"))) for link in line.split()]
        assert len(pairs) == len(target.split())
        assert all(s < len(source.split()) for s, _ in pairs)
    assert "Using" in done.stderr
    text = "".join(f"{s} ||| {t}\n" for s, t in zip(SOURCES, TARGETS, strict=True))
    Path("joined").write_text(text)
    assert dl("nmt", "align", "--pairs", "joined", *align[6:]).stdout == done.stdout
    piped = CliRunner().invoke(app, ["nmt", "align", "--pairs", "-", *align[6:]], input=text)
    assert piped.stdout == done.stdout


def test_align_json_has_the_names_that_scripts_rely_on(align: list[str], runs: Path) -> None:
    Path("gold").write_text("1-1 2-2 3p3\n\n1-1\n")
    found = dl_json(*align, "--gold", "gold", "--gold-index", "1", "--shift")
    assert found["sentences"] == 3
    for name in ("aer", "precision", "recall"):
        assert 0 <= found[name] <= 1
    assert (found["sure_links"], found["possible_links"]) == (3, 4)
    assert (found["run"], found["shift"]) == (str(runs / "forward"), 1)
    assert found["links_from"] == "attention"
    assert len(found["links"]) == 3
    assert "shift:1" in found["signature"].split("|")
    without = dl_json(*align)
    assert (without["aer"], without["sentences"]) == (None, 3)
    assert without["links_from"] == "posterior"


def test_gold_shows_the_error_rate_and_links_go_to_a_file(align: list[str], runs: Path) -> None:
    dl(*align, "--out", "links")
    links = Path("links").read_text()
    assert links == dl(*align).stdout
    done = dl(*align, "--gold", "links", "--out", "again")
    assert "alignment error rate  0.00 %" in done.stdout
    assert Path("again").read_text() == links
    both = dl(*align, "--gold", "links", "--symmetrize", str(runs / "backward"))
    assert both.exit_code == 0, both.output
    assert str(runs / "backward") in both.stdout
    assert "symmetrize:intersection|combine:average" in both.stdout.replace("\n", "")


def test_layers_and_heads_are_compared_by_their_error(align: list[str], runs: Path) -> None:
    Path("gold").write_text("0-0 1-1 2p2 3-3\n\n1-1 4-6\n")
    words = [*align[:6], "--gold", "gold", "--run", str(runs / "transformer"), "--device", "cpu"]
    found = dl_json(*words, "--by-layer")
    errors = {(row["layer"], row["head"]): row["aer"] for row in found["by_layer"]}
    assert list(errors) == [(layer, head) for layer in (1, 2) for head in (None, 1, 2)]
    assert found["aer"] == min(errors.values())
    assert dl_json(*words, "--layer", "2", "--head", "1")["aer"] == errors[2, 1]
    lines = dl(*words, "--by-layer").stdout.splitlines()
    assert "Alignment error rate in %, by layer and head" in lines
    assert ["layer", "mean", "head", "1", "head", "2"] in map(str.split, lines)


@pytest.mark.usefixtures("vae")
def test_mistakes_in_aligning_are_named(align: list[str], runs: Path) -> None:
    Path("short").write_text("one line\n")
    Path("empty").write_text("")
    Path("far").write_text("90-0\n\n\n")
    Path("gold").write_text("0-0\n\n0-0\n")
    files, run = align[2:6], align[6:]
    cases: list[tuple[list[str], str, int]] = [
        ([*files[:2], "--target", "short", *run], "3 lines and short has 1", 1),
        ([*files[:2], *run], "needs either --source and --target, or --pairs", 2),
        ([*files, *run, "--pairs", "short"], "needs either", 2),
        (["--pairs", "empty", *run], "no lines", 2),
        (["--pairs", "short", *run], "Line 1 of short has 0 '|||'", 1),
        ([*files, *run, "--gold", "short"], "1 line for 3 pairs", 1),
        ([*files, *run, "--gold", "far"], "90-0 is out of range", 1),
        ([*files, *run, "--gold-index", "2"], "gold_index", 2),
        ([*files, *run, "--symmetrize", str(runs / "forward")], "other direction", 2),
        ([*files, *run, "--symmetrize", "nowhere"], "no run 'nowhere'", 2),
        ([*files, *run, "--heuristic", "union"], "joins two directions", 2),
        ([*files, *run, "--combine", "product"], "joins two directions", 2),
        ([*files, *run, "--shift", "--links-from", "posterior"], "--shift has no meaning", 2),
        (["--data", "grammar", *run, "--gold", "short"], "--data has its own", 2),
        ([*files, "--run", str(runs / "none")], "--attention none", 2),
        ([*files, "--run", "vae"], "is a run of kind vae", 2),
        ([*files, *run, "--head", "1"], "This model has one attention", 2),
        ([*files, *run, "--by-layer"], "the right links are not known", 2),
        ([*files, *run, "--gold", "gold", "--by-layer"], "This model has one attention", 2),
        ([*files, *run, "--by-layer", "--head", "1"], "--by-layer tries every layer", 2),
    ]
    check_mistakes(cases, "nmt", "align", more=[])


def test_the_grammar_knows_its_links(runs: Path) -> None:
    words = ["nmt", "align", "--data", "grammar", "--n", "5", "--run", str(runs / "forward")]
    found = dl_json(*words)
    assert found["sentences"] == 5
    assert 0 <= found["aer"] <= 1
    assert "|data:grammar-test|pairs:" in found["signature"]


def lines_of(content: bytes) -> list[str]:
    return [line for group in decoded(io.BytesIO(content), name="it") for line in group]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"\n\na\n\n", ["", "", "a", ""]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"a\x00b\n", ["a\x00b"]),
        ("שלום\u2028🙂\x85\n".encode(), ["שלום\u2028🙂\x85"]),
        (b"a\rb\n", ["a\rb"]),
        (f"{'é' * CHUNK}\nb\n".encode(), ["é" * CHUNK, "b"]),
    ],
)
def test_lines_end_at_line_ends_only(content: bytes, wanted: list[str]) -> None:
    assert lines_of(content) == wanted


def test_utf_16_is_recognised() -> None:
    with pytest.raises(DataError, match="UTF-16"):
        lines_of("a\n".encode("utf-16"))


def test_a_pipe_gives_what_it_has_before_its_end() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        groups = decoded(stream, name="a pipe")
        os.write(writer, b"a\nb\nbeg")
        assert next(groups) == ["a", "b"]
        os.write(writer, b"un\n")
        assert next(groups) == ["begun"]
        os.close(writer)
        assert list(groups) == []


def test_without_standard_input_there_are_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert list(line_groups(None, None)) == []
