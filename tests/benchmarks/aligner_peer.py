"""eflomal on our own training lines: what a tool made for alignment reaches on the same sentences.

    DL_DATA_DIR=… python -m tests.benchmarks.aligner_peer --eflomal /path/to/eflomal-align \\
        --alignment DIR --pairs 260000

DIR holds `hansards_dev100.src-tgt` and `.gold`, which join the training lines, as is usual. Lines
are cut into words in lower case, with French elisions and contractions undone as in the gold file.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from dlcli.data.corpora import load_corpus
from dlcli.data.sentences import split_words
from dlcli.data.text import read_sentences
from dlcli.nmt.links import (
    HEURISTICS,
    Links,
    parse_gold,
    parse_pharaoh,
    score_alignments,
    symmetrize,
)
from dlcli.nmt.pairs import read_joined
from dlcli.nmt.text import CONTRACTED, ELIDING

WHOLE = {short: word for word, short in ELIDING.items() if word != "la"} | {"c'": "ce"}
PARTS = {form: list(words) for words, form in CONTRACTED.items()}


def undone(words: Iterable[str]) -> list[str]:
    """Undo elisions and contractions: `l' État` and `du` become `le État` and `de le`."""
    found = []
    for word in words:
        low = word.lower().replace("’", "'")
        found += PARTS.get(low, [WHOLE.get(low, low)])
    return found


def words_of(line: str, *, french: bool) -> list[str]:
    """Cut a line of running text into words as the gold file has them."""
    words = [word.text for word in split_words(line)]
    return undone(words) if french else [word.lower() for word in words]


def run_eflomal(program: str, pairs: Sequence[tuple[list[str], list[str]]]) -> list[list[Links]]:
    """Return the links of both directions, each as (source, target)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = (" ".join(source) + " ||| " + " ".join(target) for source, target in pairs)
        (folder / "pairs").write_text("\n".join(lines) + "\n", encoding="utf-8")
        sides = [folder / "forward", folder / "backward"]
        files = ["-i", folder / "pairs", "-f", sides[0], "-r", sides[1]]
        subprocess.run([program, *map(str, files)], check=True)
        return [[parse_pharaoh(line) for line in side.read_text().splitlines()] for side in sides]


def main() -> None:
    """Read the command line and print the error rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--eflomal", required=True, help="the program eflomal-align")
    parser.add_argument("--alignment", type=Path, required=True, help="the folder of the gold")
    parser.add_argument("--data", default="europarl", help="training lines (europarl)")
    parser.add_argument("--pairs", type=int, default=260_000, help="of them (260,000)")
    args = parser.parse_args()
    read = read_joined(args.alignment / "hansards_dev100.src-tgt")
    scored = [
        (source.lower().split(), target.lower().split())
        for source, target in zip(read.source, read.target, strict=True)
    ]
    gold_lines = read_sentences(args.alignment / "hansards_dev100.gold")
    gold = [parse_gold(line, index=1) for line in gold_lines]
    train = load_corpus(args.data, offline=True).train.first(args.pairs)
    lines = [
        (words_of(source, french=False), words_of(target, french=True))
        for source, target in zip(train.source, train.target, strict=True)
    ]
    forward, backward = (
        side[: len(scored)] for side in run_eflomal(args.eflomal, [*scored, *lines])
    )
    print(f"eflomal, {len(lines):,} pairs of {args.data}, {len(gold)} scored sentences")
    for heuristic in HEURISTICS:
        joined = [
            symmetrize(one, other, heuristic=heuristic)
            for one, other in zip(forward, backward, strict=True)
        ]
        score = score_alignments(joined, gold)
        print(
            f"{heuristic:22s} error {100 * score.aer:5.2f}%  precision {100 * score.precision:5.1f}"
            f"%  recall {100 * score.recall:5.1f}%"
        )


if __name__ == "__main__":
    main()
