"""`dl nmt align`: Pharaoh lines, error rates, the fields of section 4, the refusals."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from dlcli.cli.nmt import CHUNK, _attention_file, decoded, line_groups
from dlcli.errors import DataError, UsageFault
from dlcli.nmt.translator import Translator
from tests.cli.tiny import dl as dl_of_nmt_align
from tests.cli.tiny import dl as dl_of_nmt_eval
from tests.cli.tiny import dl_json as dl_json_of_nmt_align
from tests.cli.tiny import dl_json as dl_json_of_nmt_eval
from tests.cli.tiny import error_of
from tests.nmt.sentences import write_tsv
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
    done = dl_of_nmt_align(*files)
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
    assert dl_of_nmt_align("nmt", "align", "--pairs", "joined", *files[6:]).stdout == done.stdout
    text = (tmp_path / "joined").read_text()
    piped = CliRunner().invoke(app, ["nmt", "align", "--pairs", "-", *files[6:]], input=text)
    assert piped.stdout == done.stdout


def test_json_has_the_names_that_scripts_rely_on(files: list[str], runs: Path) -> None:
    Path("gold").write_text("1-1 2-2 3p3\n\n1-1\n")
    found = dl_json_of_nmt_align(*files, "--gold", "gold", "--gold-index", "1", "--shift")
    assert found["sentences"] == 3
    for name in ("aer", "precision", "recall"):
        assert 0 <= found[name] <= 1
    assert (found["sure_links"], found["possible_links"]) == (3, 4)
    assert (found["run"], found["shift"]) == (str(runs / "forward"), 1)
    assert len(found["links"]) == 3
    assert "shift:1" in found["signature"].split("|")
    without: dict[str, Any] = dl_json_of_nmt_align(*files)
    assert without["aer"] is None
    assert without["sentences"] == 3


def test_gold_shows_the_error_rate_and_links_go_to_a_file(files: list[str], runs: Path) -> None:
    dl_of_nmt_align(*files, "--out", "links")
    links = Path("links").read_text()
    assert links == dl_of_nmt_align(*files).stdout
    done = dl_of_nmt_align(*files, "--gold", "links", "--out", "again")
    assert "alignment error rate  0.00 %" in done.stdout
    assert Path("again").read_text() == links
    both = dl_of_nmt_align(*files, "--gold", "links", "--symmetrize", str(runs / "backward"))
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
        done = dl_of_nmt_align(*words, "--json")
        assert message in error_of(done)["message"], words
        assert done.exit_code == code, words


def test_shifting_means_attention(files: list[str]) -> None:
    assert dl_json_of_nmt_align(*files)["links_from"] == "posterior"
    assert dl_json_of_nmt_align(*files, "--shift")["links_from"] == "attention"
    error = error_of(dl_of_nmt_align(*files, "--shift", "--links-from", "posterior", "--json"))
    assert "--shift has no meaning" in error["message"]


@pytest.mark.parametrize("flag", [["--heuristic", "union"], ["--combine", "product"]])
def test_joining_one_direction_is_refused(files: list[str], flag: list[str]) -> None:
    error = error_of(dl_of_nmt_align(*files, *flag, "--json"))
    assert "joins two directions" in error["message"]
    assert "--symmetrize" in error["hint"]


def test_the_grammar_knows_its_links(runs: Path) -> None:
    words = ["nmt", "align", "--data", "grammar", "--n", "5", "--run", str(runs / "forward")]
    found = dl_json_of_nmt_align(*words)
    assert found["sentences"] == 5
    assert 0 <= found["aer"] <= 1
    assert "|data:grammar-test|pairs:" in found["signature"]
    error = error_of(dl_of_nmt_align(*words, "--gold", "links", "--json"))
    assert "--data has its own" in error["message"]


# -- `dl nmt attend`: the matrix with its words, in every form it is given

QUICK = ["--device", "cpu", "--precision", "fp32", "--beam", "2", "--max-length", "8"]
NMT_ATTEND_TARGET = "L'accord sur la zone ..."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "tiny")


def dl(*words: str, run: Path, given: str | None = None) -> Result:
    command = ["nmt", "attend", "--run", str(run), *QUICK, *words]
    return CliRunner().invoke(app, command, input=given)


def dl_json(*words: str, run: Path, given: str | None = None) -> dict[str, Any]:
    done = dl(*words, "--json", run=run, given=given)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_three_dots_typed_literally(run: Path) -> None:
    done = dl("The agreement ...", run=run)
    assert done.exit_code == 0, done.output
    heads = [line for line in done.stdout.splitlines() if line.strip()]
    assert "@@" in done.stdout
    assert heads[-1].endswith("figures/attend-the-agreement.png")
    assert Path(heads[-1]).is_file()
    assert f"Using {run}" in done.stderr
    found = dl_json("The agreement ...", run=run)
    assert found["source"] == ["The", "agreement", "...", "</s>"]
    assert found["run"] == str(run)


def test_figures_do_not_replace_one_another(run: Path) -> None:
    translator = Translator.load(run)
    found = translator.attend("The agreement " * 9 + "...")
    names = {
        _attention_file(found, translator=translator, target=given)
        for given in (None, "une cible", "une autre")
    }
    assert len(names) == 3
    own = _attention_file(found, translator=translator, target=None)
    assert own.parent == run / "figures"
    assert own.stem == "attend-" + "-".join(["the", "agreement"] * 4 + ["the"])
    shipped = Translator.load("pretrained:nmt-grammar")
    packaged = _attention_file(shipped.attend("The law"), translator=shipped, target=None)
    assert str(packaged) == "attend-nmt-grammar-the-law.png"


def test_json_has_the_names_of_the_design(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.svg"
    found = dl_json("The agreement ...", "--target", NMT_ATTEND_TARGET, "--out", str(out), run=run)
    assert found["target"] == ["L'", "accord", "sur", "la", "zone", "...", "</s>"]
    matrix = np.array(found["attention"])
    assert matrix.shape == (7, 4)
    assert np.allclose(matrix.sum(axis=1), 1)
    assert sorted(link.split("-")[1] for link in found["alignment"].split()) == list("012345")
    assert found["files"] == [str(out)]
    drawn = re.findall(r"<!-- (.*?) -->", out.read_text(encoding="utf-8"))
    words = [word.replace("&lt;", "<").replace("&gt;", ">") for word in drawn]
    assert words[:11] == [*found["source"], *found["target"]]


@pytest.mark.parametrize("ending", ["png", "pdf", "json", "npz"])
def test_out_takes_figures_and_numbers(run: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"a.{ending}"
    assert dl_json("The cat", "--out", str(out), run=run)["files"] == [str(out)]
    assert out.stat().st_size > 100


def test_subwords_have_rows_of_their_own(run: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.npz")
    found = dl_json(
        "The agreement", "--target", NMT_ATTEND_TARGET, "--subwords", "--out", out, run=run
    )
    assert found["unit"] == "subwords"
    assert len(found["target"]) > 7
    assert np.allclose(np.sum(found["attention"], axis=1), 1)


def test_lines_from_a_pipe_are_answered_one_by_one(run: Path) -> None:
    done = dl("--json", run=run, given="The cat\n\nThe king here.\n")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["text"] for one in found] == ["The cat", "The king here."]
    assert [one["files"] for one in found] == [[], []]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([""], "The sentence has no words"),
        (["The cat", "--target", " "], "The translation has no words"),
        (["cat " * 5000], "tokens, and attention is drawn for at most 1,000"),
        (["The cat", "--out", "a.jpg"], "does not say which form"),
        (["--target", "Le chat"], "--target goes with one sentence"),
        (["-", "--out", "a.png"], "--out goes with one sentence"),
        (["The cat", "--beam", "0"], "A beam of 0"),
    ],
)
def test_nmt_attend_mistakes_are_named(run: Path, words: list[str], message: str) -> None:
    done = dl(*words, "--json", run=run)
    assert done.exit_code == 2
    assert message in error_of(done)["message"]


def test_a_run_without_attention_is_refused(tmp_path: Path) -> None:
    done = dl("The cat", "--json", run=write_run(tmp_path / "none", attention="none"))
    assert done.exit_code == 2
    assert "was trained with --attention none" in error_of(done)["message"]


@pytest.mark.parametrize("text", ["🙂", "שלום עולם", "The\0cat", "e\u0301te\u0301"])
def test_any_text_is_shown(run: Path, tmp_path: Path, text: str) -> None:
    found = dl_json(text, "--out", str(tmp_path / "a.npz"), run=run)
    assert np.allclose(np.sum(found["attention"], axis=1), 1)


# -- `dl nmt eval`: the fields of section 4, files, a comparison, the refusals

SMALL = ["--max-length", "6", "--beam", "2", "--resamples", "50", "--device", "cpu"]


@pytest.fixture(scope="module")
def nmt_eval_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nmt")
    write_tsv(folder / "toy.tsv", count=60)
    data = str(folder / "toy.tsv")
    write_run(folder / "forward", data=data)
    write_run(folder / "none", data=data, attention="none", seed=2)
    write_run(folder / "backward", data=data, direction="fr-en", seed=1)
    return folder


def test_nmt_eval_json_has_the_names_that_scripts_rely_on(
    nmt_eval_runs: Path, tmp_path: Path
) -> None:
    words = ["--run", str(nmt_eval_runs / "forward"), *SMALL, "--plot", "a.png", "--out", "a.fr"]
    found = dl_json_of_nmt_eval(
        "nmt", "eval", *words, "--against", str(nmt_eval_runs / "none"), "--bins", "5", "6"
    )
    for name in ("bleu", "chrf"):
        assert set(found[name]) == {"score", "ci95", "signature"}
        assert len(found[name]["ci95"]) == 2
    assert found["sentences"] == len(Path("a.fr").read_text().splitlines())
    assert found["sentences_per_s"] > 0
    assert (found["split"], found["direction"]) == ("test", "en-fr")
    assert {"score", "ci95"} <= set(found["by_length"][0]["bleu"])
    assert found["against"]["run"] == str(nmt_eval_runs / "none")
    assert len(found["against"]["difference"]["ci95"]) == 2
    assert found["files"] == [str(tmp_path / "a.png"), str(tmp_path / "a.fr")]
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert "search:beam-2" in found["signature"].split("|")


def test_words_and_the_runs_name_as_an_argument(nmt_eval_runs: Path) -> None:
    done = dl_of_nmt_eval(
        "nmt", "eval", str(nmt_eval_runs / "forward"), *SMALL, "--split", "valid", "--lowercase"
    )
    assert done.exit_code == 0, done.output
    for word in ("BLEU", "chrF", "sentences/s", "By sentence length", "case:lc", "split:valid"):
        assert word in done.stdout, word
    assert "Using" in done.stderr


def test_files_of_ones_own(nmt_eval_runs: Path) -> None:
    Path("a.en").write_text("The king.\n\nThe cat sees the dog.\n")
    Path("a.ref").write_text("Le roi.\n\nLe chat voit le chien.\n")
    files = ["--input", "a.en", "--reference", "a.ref", "--out", "a.fr"]
    found = dl_json_of_nmt_eval("nmt", "eval", str(nmt_eval_runs / "forward"), *files, *SMALL)
    assert (found["sentences"], found["split"]) == (3, "file")
    assert Path("a.fr").read_text().splitlines()[1] == ""


def test_nmt_eval_mistakes_are_named(nmt_eval_runs: Path) -> None:
    Path("one").write_text("one\n")
    Path("two").write_text("one\ntwo\n")
    Path("vae").mkdir()
    Path("vae/run.json").write_text('{"kind": "vae"}')
    Path("vae/config.yaml").write_text("{}")
    run = ["--run", str(nmt_eval_runs / "forward")]
    cases: list[tuple[list[str], str, int]] = [
        ([*run, "--input", "one"], "--input and --reference together", 2),
        ([*run, "--input", "one", "--reference", "two"], "one has 1 lines and two has 2", 1),
        ([*run, "--input", "nowhere", "--reference", "two"], "nowhere cannot be read", 1),
        ([*run, "--split", "train"], "training sentences", 2),
        ([*run, "--split", "test_2016"], "no split 'test_2016'", 2),
        ([*run, "--bins", "9", "3"], "--bins 9 3", 2),
        ([*run, "--beam", "0"], "beam", 2),
        ([*run, "--against", str(nmt_eval_runs / "backward")], "translates fr-en", 2),
        (["--run", "vae"], "is a vae run", 2),
        (["--run", "nowhere"], "no run 'nowhere'", 2),
        (["a", "--run", "b"], "two runs", 2),
        ([*run, "--plot", "a.txt"], "picture format", 2),
    ]
    for words, message, code in cases:
        done = dl_of_nmt_eval(
            "nmt", "eval", "--max-length", "3", "--device", "cpu", *words, "--json"
        )
        assert message in error_of(done)["message"], words
        assert done.exit_code == code, words


# -- `dl nmt translate`: from a word, a file, a pipe; what it says, and what it refuses

NMT_TRANSLATE_QUICK = ["--device", "cpu", "--precision", "fp32", "--beam", "2", "--max-length", "6"]
LINES = ["The cat sees the dog here.", "", "The king!", "  ", "🙂 שלום", "The bird again ..."]


@pytest.fixture(scope="module")
def nmt_translate_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "tiny")


def nmt_translate_dl(*words: str, nmt_translate_run: Path, given: bytes | None = None) -> Result:
    command = ["nmt", "translate", "--run", str(nmt_translate_run), *NMT_TRANSLATE_QUICK, *words]
    return CliRunner().invoke(app, command, input=given)


def answers(*words: str, nmt_translate_run: Path, given: bytes | None = None) -> list[str]:
    done = nmt_translate_dl(*words, run=nmt_translate_run, given=given)
    assert done.exit_code == 0, done.output
    return done.stdout.split("\n")[:-1]


def test_a_file_a_pipe_and_the_same_lines_typed_agree(
    nmt_translate_run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "in.txt"
    file.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    found = answers("--input", str(file), run=nmt_translate_run)
    assert len(found) == len(LINES)
    assert [not line for line in found] == [not line.strip() for line in LINES]
    assert answers(run=nmt_translate_run, given=file.read_bytes()) == found
    assert answers("-", run=nmt_translate_run, given=file.read_bytes()) == found
    assert answers("\n".join(LINES), run=nmt_translate_run) == found
    typed = [answers("--", line, run=nmt_translate_run) for line in LINES]
    assert [line for lines in typed for line in lines] == found


def test_line_ends_of_any_kind_change_nothing(nmt_translate_run: Path) -> None:
    found = answers(run=nmt_translate_run, given=b"The cat\nThe king\n")
    for given in (
        b"The cat\r\nThe king\r\n",
        b"\xef\xbb\xbfThe cat\nThe king",
        b"The\0cat\nThe king",
    ):
        assert answers(run=nmt_translate_run, given=given) == found


def test_json_is_one_object_a_line(nmt_translate_run: Path) -> None:
    found = [
        json.loads(line)
        for line in answers("--json", run=nmt_translate_run, given=b"The cat\n\nThe king")
    ]
    assert [one["source"] for one in found] == ["The cat", "", "The king"]
    assert found[1]["translation"] == ""
    assert found[1]["score"] == 0
    assert all(one["score"] <= 0 for one in found)
    assert [one["translation"] for one in found] == answers(
        run=nmt_translate_run, given=b"The cat\n\nThe king"
    )


def test_n_best_are_ranked(nmt_translate_run: Path) -> None:
    (one,) = map(json.loads, answers("The cat", "--n-best", "2", "--json", run=nmt_translate_run))
    scores = [best["score"] for best in one["n_best"]]
    assert len(scores) == 2
    assert one["translation"] == one["n_best"][0]["translation"]
    rows = [
        row.split(" ||| ") for row in answers("The cat", "--n-best", "2", run=nmt_translate_run)
    ]
    assert [row[0] for row in rows] == ["0", "0"]
    assert [float(row[2]) for row in rows] == scores


def test_nothing_gives_nothing(nmt_translate_run: Path) -> None:
    assert answers(run=nmt_translate_run, given=b"") == []
    assert answers("", run=nmt_translate_run) == [""]


def test_five_thousand_words_are_answered_and_remarked_on(nmt_translate_run: Path) -> None:
    done = nmt_translate_dl(
        "--beam", "1", run=nmt_translate_run, given=b"The cat sees the dog. " * 1000
    )
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert "was translated in 1,000 parts" in done.stderr


def test_lines_before_a_faulty_one_are_answered(nmt_translate_run: Path) -> None:
    done = nmt_translate_dl("--json", run=nmt_translate_run, given=b"The cat\n\xff\xfe\n")
    assert done.exit_code == 1
    first, error = map(json.loads, done.stdout.splitlines())
    assert first["source"] == "The cat"
    assert error["error"]["kind"] == "data"
    assert "Line 2 of standard input is not UTF-8" in error["error"]["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--beam", "0"], "A beam of 0 holds no translation"),
        (["a", "--n-best", "3"], "cannot give the 3 best"),
        (["a", "--length-penalty", "-1"], "length penalty of -1"),
        (["a", "--input", __file__], "TEXT and --input are two inputs"),
        (["--input", "nowhere.txt"], "nowhere.txt"),
        (["a", "--run", "nowhere"], "no run 'nowhere'"),
        (["a", "--batch-size", "0"], "batch"),
    ],
)
def test_nmt_translate_mistakes_are_named(
    nmt_translate_run: Path, words: list[str], message: str
) -> None:
    done = nmt_translate_dl(*words, "--json", run=nmt_translate_run)
    assert done.exit_code == 2
    assert message in error_of(done)["message"]


def test_a_beam_larger_than_the_vocabulary_is_no_mistake(nmt_translate_run: Path) -> None:
    assert len(answers("The cat", "--beam", "400", "--max-length", "2", run=nmt_translate_run)) == 1


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**record, "kind": "vae"}))
    done = nmt_translate_dl("The cat", "--json", run=other)
    assert done.exit_code == 2
    assert "is a vae run, and this command needs a nmt run" in error_of(done)["message"]


def test_a_closed_pipe_is_quiet(nmt_translate_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("The cat\n" * 3000)
    words = [
        sys.executable,
        "-m",
        "dlcli",
        "nmt",
        "translate",
        "--run",
        str(nmt_translate_run),
        *NMT_TRANSLATE_QUICK,
    ]
    with subprocess.Popen(
        [*words, "--quiet", "--beam", "1", "--input", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# -- Lines from anywhere: what ends them, what they may hold, and that they come as they are there


def lines(content: bytes) -> list[str]:
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
    ],
)
def test_lines_end_at_line_ends_only(content: bytes, wanted: list[str]) -> None:
    assert lines(content) == wanted


def test_a_line_may_be_longer_than_what_is_read_at_once() -> None:
    long = "é" * CHUNK
    assert lines(f"{long}\nb\n{long}".encode()) == [long, "b", long]


def test_lines_before_a_faulty_one_are_given() -> None:
    groups = decoded(io.BytesIO(b"a\nb\n\xe9t\xe9\nc\n"), name="x.txt")
    assert next(groups) == ["a", "b"]
    with pytest.raises(DataError, match=r"Line 3 of x\.txt is not UTF-8: byte 1 is 0xe9"):
        next(groups)


def test_utf_16_is_recognised() -> None:
    with pytest.raises(DataError, match="UTF-16"):
        lines("a\n".encode("utf-16"))


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


def test_text_and_files_are_the_same_to_it(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\n\nb\n")
    assert list(line_groups(None, file)) == list(line_groups("a\n\nb", None)) == [["a", "", "b"]]
    assert list(line_groups("", None)) == [[""]]
    with pytest.raises(UsageFault, match="two inputs"):
        list(line_groups("a", file))


def test_a_closed_standard_input_has_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert list(line_groups(None, None)) == []
