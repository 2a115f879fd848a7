"""Every command of `dl nmt` on languages that are neither English nor French."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from dlcli.data.agglutinative import load_agglutinative
from tests.cli.tiny import NMT_LENGTH, NMT_SIZES, NMT_WHERE, dl, dl_json

pytestmark = pytest.mark.usefixtures("no_figures")

PARTS = {
    "de": ("Der Hund|Die Katze|Der König", "sieht|hört|mag", "den Vogel.|das Haus.|den Baum."),
    "cs": ("Pes|Kočka|Král", "vidí|slyší|má rád", "ptáka.|dům.|strom."),
    "ja": ("犬が|猫が|王様が", "鳥を|家を|木を", "見る。|聞く。|好む。"),
    "zh": ("狗|猫|国王", "看见|听见|喜欢", "鸟。|房子。|树。"),
    "th": ("สุนัข|แมว|พระราชา", "เห็น|ได้ยิน|ชอบ", "นก|บ้าน|ต้นไม้"),
    "he": ("הכלב|החתול|המלך", "רואה|שומע|אוהב", "ציפור.|בית.|עץ."),
}
SPACED = {"de", "cs", "he"}


def sentences(language: str) -> list[str]:
    """Return 27 sentences, the same meanings in each language."""
    first, second, third = (part.split("|") for part in PARTS[language])
    order = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]
    if language == "ja":
        order = [(a, c, b) for a, b, c in order]
    glue = " " if language in SPACED else ""
    return [glue.join((first[a], second[b], third[c])) for a, b, c in order]


@dataclass(frozen=True)
class Pair:
    source: str
    target: str
    tokenizer: str
    words: int
    """Of the first source sentence."""


PAIRS = [
    Pair("de", "cs", "13a", 6),
    Pair("ja", "zh", "zh", 7),
    Pair("he", "th", "char", 4),
    Pair("zh", "he", "13a", 5),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.source}-{pair.target}")
def test_every_command_works_on_any_pair(pair: Pair, tmp_path: Path) -> None:
    source, target = (sentences(language) for language in (pair.source, pair.target))
    direction = f"{pair.source}-{pair.target}"
    rows = zip(source, target, strict=True)
    Path("pairs.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in rows))
    words = ["--data", "pairs.tsv", "--source-lang", pair.source, "--target-lang", pair.target]
    words += [*NMT_SIZES, *NMT_LENGTH, *NMT_WHERE, "--vocabulary", "400"]
    trained = dl_json("nmt", "train", *words, "--out", "run")
    assert trained["direction"] == direction
    assert (f"|tok:{pair.tokenizer}|" in trained["signature"]) == (pair.tokenizer != "13a")
    found = dl_json("nmt", "eval", "run", "--beam", "2", "--max-length", "9")
    assert f"|tok:{pair.tokenizer}|" in found["bleu"]["signature"]
    assert (found["bleu_tokenized"] is None) == (pair.target in ("zh", "th", "he"))
    assert found["direction"] == direction
    assert 0 <= found["exact"] <= 1
    run = ["--run", "run"]
    seen = dl_json("nmt", "attend", source[0], *run, "--target", target[0], "--out", "a.svg")
    assert len(seen["source"]) == pair.words + 1  # and </s>
    assert all(abs(sum(row) - 1) < 1e-6 for row in seen["attention"])
    shown = dl("nmt", "attend", source[0], *run, "--target", target[0], "--out", "b.json")
    assert shown.exit_code == 0, shown.output
    lines = [f"{one} ||| {other}" for one, other in zip(source[:3], target[:3], strict=True)]
    Path("pairs.txt").write_text("\n".join(lines))
    for text in ("running", "tokens"):
        aligned = dl_json("nmt", "align", *run, "--pairs", "pairs.txt", "--text", text)
        assert len(aligned["links"]) == 3
    assert dl_json("nmt", "translate", source[0], *run, "--max-length", "5")["source"] == source[0]
    exported = dl_json("runs", "export", "run", "--out", "exported")
    assert f"direction:{direction}" in Path(exported["run"], "README.md").read_text()


def test_both_directions_are_joined_and_the_teacher_compared_on_any_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dlcli.nmt.scoring.find_spec", lambda _: None)  # as without MeCab
    for language in ("ja", "zh"):
        Path(f"a.{language}").write_text("\n".join(sentences(language)) + "\n")
    words = ["--data", "a.ja,a.zh", *NMT_SIZES, *NMT_LENGTH, *NMT_WHERE, "--vocabulary", "400"]
    dl_json("nmt", "train", *words, "--out", "forward")
    for command in (
        ["train", *words, "--direction", "zh-ja", "--out", "backward"],
        ["eval", "backward", "--beam", "1", "--max-length", "5"],
    ):
        done = dl("nmt", *command)
        assert done.exit_code == 0, done.output
        assert " ".join(done.stderr.split()).count("pip install 'sacrebleu[ja]'") == 1
    align = ["nmt", "align", "--run", "forward", "--symmetrize", "backward"]
    files = ["--source", "a.ja", "--target", "a.zh", "--text", "running", "--n", "4"]
    found = dl_json(*align, *files)
    assert found["direction"] == "ja-zh"
    links = [tuple(map(int, link.split("-"))) for link in found["links"][0].split()]
    assert all(s < 7 and t < 5 for s, t in links)
    compared = dl_json("nmt", "compare-forcing", *words, "--ratios", "1", "0", "--out", "cmp")
    assert [row["bleu"]["signature"].count("|tok:zh|") for row in compared["results"]] == [1, 1]
    shutil.rmtree("cmp")


def test_the_invented_languages_are_trained_on_with_settings_of_their_own() -> None:
    words = ["--data", "agglutinative", "--train-pairs", "50", "--validation", "5", "--epochs", "1"]
    found = dl_json("nmt", "train", *words, *NMT_SIZES, *NMT_WHERE, "--out", "run")
    assert "direction:qaa-qab|tokenizer:sentencepiece" in found["signature"]
    source = load_agglutinative(train=1, valid=0, test=0).train.source[0]
    seen = dl_json("nmt", "attend", source, "--run", "run", "--max-length", "9")
    assert seen["source"] == [*source, "</s>"]
