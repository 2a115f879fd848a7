"""A few sentences that the tests of the translator learn from."""

from __future__ import annotations

from dlcli.data.sentences import Corpus, Pairs

NOUNS = {"cat": "chat", "dog": "chien", "bird": "oiseau vert", "king": "roi", "man": "vieil homme"}
VERBS = {"sees": "voit", "likes": "aime bien", "hears": "entend"}
ENDS = {"here": "ici", "today": "aujourd'hui", "again": "à nouveau", "": ""}


def _pair(subject: str, verb: str, thing: str, end: str) -> tuple[str, str]:
    source = f"The {subject} {verb} the {thing} {end}".strip() + "."
    target = f"Le {NOUNS[subject]} {VERBS[verb]} le {NOUNS[thing]} {ENDS[end]}".strip() + "."
    return source, target


ALL = [_pair(s, v, t, e) for s in NOUNS for v in VERBS for t in NOUNS if s != t for e in ENDS]


def pairs(start: int, stop: int) -> Pairs:
    """Return some of the 240 sentences and their translations, well mixed."""
    mixed = sorted(ALL, key=lambda pair: hash_of(pair[0]))[start:stop]
    return Pairs(source=tuple(s for s, _ in mixed), target=tuple(t for _, t in mixed))


def hash_of(text: str) -> int:
    """Return a number that mixes sentences and is the same in every process."""
    return sum((i * 31 + 7) ** 3 * ord(c) for i, c in enumerate(text)) % 10_007


def corpus(train: int = 100) -> Corpus:
    """Return a corpus of `train` pairs and a few others."""
    return Corpus(
        name=f"toy:{train}",
        languages=("en", "fr"),
        train=pairs(0, train),
        valid=pairs(200, 212),
        tests={"test": pairs(212, 224)},
    )


def write_tsv(path: object, *, count: int = 100) -> None:
    """Write `count` pairs as a TSV."""
    from pathlib import Path

    found = pairs(0, count)
    rows = zip(found.source, found.target, strict=True)
    Path(str(path)).write_text("".join(f"{s}\t{t}\n" for s, t in rows), encoding="utf-8")
