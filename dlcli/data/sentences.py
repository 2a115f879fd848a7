"""Lines of text out of files that anybody may have written: what is no sentence is told apart.

Lines end at "\n" or "\r\n" and nowhere else (`str.splitlines` would also cut at U+2028 and at
control characters, and so shift one side of a corpus against the other).
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, cast

from dlcli.data.catalogue import PATH_DIGEST
from dlcli.data.storage import Notice
from dlcli.errors import ConfigError, DataError

LONGEST = 10_000
"""Characters that a side of a pair may have."""

INVALID, CONTROL, TOO_LONG = "invalid UTF-8", "control characters", "too long"
NO_TAB, EMPTY = "no tab", "empty side"

_BLOCK = 1 << 22  # bytes: large enough for speed, small beside a corpus
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is no sentence.

    Attributes:
        reason: why, one of this module's names for it.
        excerpt: its beginning, with what cannot be shown escaped.
        number: its line number from 1, or 0 while nobody has counted.
    """

    reason: str
    excerpt: str
    number: int = 0

    def __str__(self) -> str:
        return f"line {self.number:,} ({self.reason}): {self.excerpt}"


@dataclass(kw_only=True)
class Tally:
    """What was read and what was left out.

    Attributes:
        read: how many lines there were.
        dropped: reason → how many lines.
        examples: the first three lines left out.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[Fault] = field(default_factory=list)

    def leave_out(self, fault: Fault) -> None:
        """Count the line that was read last as left out."""
        self.dropped[fault.reason] += 1
        if len(self.examples) < 3:
            self.examples.append(Fault(fault.reason, fault.excerpt, self.read))

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())


def read_lines(stream: BinaryIO, *, name: str) -> Iterator[str | Fault]:
    """Yield a file's lines, in NFC and without their ends; a mark of byte order is skipped.

    Args:
        stream: the file, opened in binary.
        name: what errors call it.

    Raises:
        DataError: the file is UTF-16, which no line of it would survive.
    """
    rest = stream.read(_BLOCK)
    if rest.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{name} is UTF-16, not UTF-8.",
            hint="Convert it first: `iconv -f UTF-16 -t UTF-8 FILE > NEW`.",
        )
    rest = rest.removeprefix(b"\xef\xbb\xbf")
    while block := stream.read(_BLOCK):
        head, found, tail = block.rpartition(b"\n")
        if not found:
            rest += block
            continue
        yield from _lines_of(rest + head)
        rest = tail
    if rest:
        yield from _lines_of(rest.removesuffix(b"\n"))


def _lines_of(block: bytes) -> Iterable[str | Fault]:
    """Decode a block of whole lines, line by line only where something in it is amiss."""
    block = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
    try:
        text = block.decode()
    except UnicodeDecodeError:
        return map(_line_of, block.split(b"\n"))
    if _CONTROL.search(text) or not unicodedata.is_normalized("NFC", text):
        return map(_checked, text.split("\n"))
    return text.split("\n")


def _line_of(line: bytes) -> str | Fault:
    try:
        return _checked(line.decode())
    except UnicodeDecodeError:
        return Fault(INVALID, _excerpt(line.decode(errors="backslashreplace")))


def _checked(line: str) -> str | Fault:
    if _CONTROL.search(line):
        return Fault(CONTROL, _excerpt(line))
    return unicodedata.normalize("NFC", line)


def columns(lines: Iterable[str | Fault], *, tally: Tally) -> Iterator[tuple[str, str]]:
    """Yield the first two columns of tab-separated lines; what else they have is not looked at."""
    for line in lines:
        tally.read += 1
        if isinstance(line, Fault):
            tally.leave_out(line)
            continue
        first, tab, rest = line.partition("\t")
        fault = side_fault(first, rest.partition("\t")[0]) if tab else Fault(NO_TAB, _excerpt(line))
        if fault is not None:
            tally.leave_out(fault)
        else:
            yield first.strip(), rest.partition("\t")[0].strip()


def side_by_side(
    first: Iterable[str | Fault], second: Iterable[str | Fault], *, tally: Tally, names: str
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of two files, line by line.

    Args:
        first, second: the lines of each.
        tally: counts what is read and what is left out.
        names: what errors call the two files.

    Raises:
        DataError: one has more lines than the other.
    """
    for one, other in zip_longest(first, second):
        if one is None or other is None:
            raise DataError(
                f"{names} differ in length: one ends after {tally.read:,} lines.",
                hint="Line N of one must translate line N of the other.",
            )
        tally.read += 1
        fault = one if isinstance(one, Fault) else other
        if not isinstance(one, Fault) and not isinstance(other, Fault):
            fault = side_fault(one, other) or ""
        if isinstance(fault, Fault):
            tally.leave_out(fault)
        elif isinstance(one, str) and isinstance(other, str):
            yield one.strip(), other.strip()


def side_fault(first: str, second: str) -> Fault | None:
    """Return what is wrong with a pair of sentences, or None."""
    if not first or not second or first.isspace() or second.isspace():
        return Fault(EMPTY, _excerpt(f"{first}\t{second}"))
    if len(first) > LONGEST or len(second) > LONGEST:
        longer = max(first, second, key=len)
        return Fault(TOO_LONG, f"{len(longer):,} characters, {_excerpt(longer)}")
    if "\t" in first or "\t" in second:
        return Fault(CONTROL, _excerpt(f"{first} | {second}"))
    return None


def refuse_if_many(tally: Tally, *, name: str) -> None:
    """Refuse a file of which more than a tenth, and more than four lines, are no pairs.

    Raises:
        DataError: it shows three of them with their line numbers.
    """
    bad = tally.dropped.total()
    if bad > 4 and bad * 10 > tally.read:
        shown = "; ".join(map(str, tally.examples))
        raise DataError(
            f"{name}: {bad:,} of {tally.read:,} lines are not pairs of sentences ({tally}): "
            f"{shown}.",
            hint="Each line of a TSV is a sentence, a tab and its translation, in UTF-8.",
        )


def _excerpt(line: str) -> str:
    cut = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
    return repr(cut)


# -- Words of a sentence with their places in it: for the axes of figures, for links, for merging
# One rule for English and French, so that nobody need say which it is: whitespace parts words,
# punctuation stands apart, and an elided French word keeps its apostrophe (`l'` `accord`), while
# `don't`, `aujourd'hui`, `peut-être`, `2.8` and `U.S.` stay whole. `...` is one word.

_INVISIBLE = "\u00ad\u200c\u200d\u2060"  # soft hyphen and joiners, inside words only
_PATTERN = r"""
    (?:(?<!\w)[A-Za-zÀ-ÖØ-öø-ÿ]\.){2,}(?!\w)                            # U.S., e.g.
  | (?i:[ldjmtsnc]|(?:jus|lors|puis|quoi)?qu)['’]                       # l', jusqu'
  | \d+(?:[.,:/]\d+)+(?:WORD)?(?:['’\-\u2010\u2011]WORD)*              # 2.8, 1,000, 10:30
  | WORD(?:['’\-\u2010\u2011]WORD)*                                     # don't, peut-être
  | ([.!?*=~_\-–—])\1+                                                  # ..., --
  | [\U0001F1E6-\U0001F1FF]{2}                                          # a flag
  | _ | [^\w\s\u200b\ufeff](?:[JOIN\U0001F3FB-\U0001F3FF]|(?<=\u200d)[^\w\s])*
"""
# The elision is tried before the plain word: left to right from a word's beginning, `l'accord` is
# cut and `va-t'en` is not.


@dataclass(frozen=True, slots=True)
class Word:
    """One word and its place.

    Attributes:
        text: the word as it stands in the sentence.
        start: offset of its first character.
        end: offset behind its last one, so that `sentence[start:end] == text`.
    """

    text: str
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """Split a sentence into words; `text[word.start : word.end] == word.text` for each.

    Only whitespace and invisible characters lie between them.
    """
    return [Word(m.group(), m.start(), m.end()) for m in _pattern().finditer(text)]


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Compile the rule; what combines with a letter is not `\\w` in Python, yet inside a word."""
    marks = re.escape(_marks()).replace(r"\-", "-")
    word = rf"[^\W_]+(?:[{marks}{_INVISIBLE}]+[^\W_]*)*"
    pattern = _PATTERN.replace("WORD", word).replace("JOIN", f"{marks}{_INVISIBLE}")
    return re.compile(pattern, re.VERBOSE)


def _marks() -> str:
    """Return the combining marks of Unicode's first plane as ranges of a character class."""
    codes = [c for c in range(0x300, 0x10000) if unicodedata.category(chr(c))[0] == "M"]
    starts = [c for c in codes if unicodedata.category(chr(c - 1))[0] != "M"]
    ends = [c for c in codes if unicodedata.category(chr(c + 1))[0] != "M"]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))


# -- Parallel sentences in memory: what every corpus is once it is loaded

DIRECTIONS = ("en-fr", "fr-en")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Sentences and their translations, raw detokenised text, one line each, in NFC.

    Attributes:
        source: N sentences without line ends.
        target: their N translations.
        links: word alignments of each pair where they are known: Pharaoh format, such as
            "0-0 1-2", source word first, counted from 0 over `dlcli.data.sentences.split_words`.
    """

    source: Sequence[str]
    target: Sequence[str]
    links: Sequence[str] | None = None

    def __post_init__(self) -> None:
        counts = {len(self.source), len(self.target)}
        if self.links is not None:
            counts.add(len(self.links))
        if len(counts) != 1:
            raise ValueError(f"sides of a corpus differ in length: {sorted(counts)}")

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Pairs:
        """Gather (source, target) pairs."""
        sides = list(pairs)
        return cls(source=tuple(one for one, _ in sides), target=tuple(two for _, two in sides))

    def __len__(self) -> int:
        return len(self.source)

    def swapped(self) -> Pairs:
        """Return the pairs of the other direction."""
        links = None if self.links is None else tuple(map(_turned, self.links))
        return Pairs(source=self.target, target=self.source, links=links)

    def first(self, count: int) -> Pairs:
        """Return the first pairs only."""
        links = None if self.links is None else self.links[:count]
        return Pairs(source=self.source[:count], target=self.target[:count], links=links)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A parallel corpus in its splits.

    Attributes:
        name: the true name, as it goes into signatures (never "auto").
        languages: of source and target as loaded, such as ("en", "fr").
        train: what is learnt from.
        valid: what is chosen by.
        tests: what is read once, by name; the first is the default test.
        dropped: reason → how many lines were left out for it.
    """

    name: str
    languages: tuple[str, str]
    train: Pairs
    valid: Pairs
    tests: Mapping[str, Pairs]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def swapped(self) -> Corpus:
        """Return the corpus of the other direction."""
        return Corpus(
            name=self.name,
            languages=(self.languages[1], self.languages[0]),
            train=self.train.swapped(),
            valid=self.valid.swapped(),
            tests={name: pairs.swapped() for name, pairs in self.tests.items()},
            dropped=self.dropped,
        )

    def split(self, name: str) -> Pairs:
        """Return a split: "train", "valid", "test" (the default test) or a test's own name.

        Raises:
            ConfigError: it has no split of that name.
        """
        known = {"train": self.train, "valid": self.valid}
        if self.tests:
            known["test"] = next(iter(self.tests.values()))
        known |= self.tests
        if name not in known:
            raise ConfigError(
                f"The corpus '{self.name}' has no split '{name}'.",
                hint=f"It has {', '.join(known)}.",
            )
        return known[name]


def _turned(links: str) -> str:
    """Turn Pharaoh links round: "0-0 1-2" becomes "0-0 2-1"."""
    pairs = sorted(tuple(map(int, link.split("-")))[::-1] for link in links.split())
    return " ".join(f"{source}-{target}" for source, target in pairs)


# -- Which pairs are learnt from, chosen by and tested on: by hashes, so that anyone gets the same
# Sentences that differ in case or punctuation only count as one. Pairs that share a sentence on
# either side, directly or through others, are a family and stay together: nothing that is tested,
# in either direction, was learnt.
#
# Legend: N pairs; a source or target *number* stands for one different sentence of that side.

TRAIN, VALID, TEST = 0, 1, 2

_WORDS = re.compile(r"\w+")


def sentence_key(sentence: str) -> str:
    """Reduce a sentence to what makes it another one: its words, without case."""
    return " ".join(_WORDS.findall(sentence.casefold())) or sentence


def stable_hash(text: str) -> int:
    """Hash a text into [0, 2**64), the same in every process and on every machine."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Pairs that are connected by shared sentences.

    Attributes:
        rank: the smallest hash of its source sentences.
        sources: how many different source sentences it has.
        pairs: places of its pairs, ascending.
    """

    rank: int
    sources: int
    pairs: list[int]


def split_connected(
    source: Iterable[str], target: Iterable[str], *, held_out: int
) -> dict[int, list[int]]:
    """Deal pairs out to TRAIN, VALID and TEST, a whole family at a time.

    Families come in the order of their hashes. One that has more sentences than VALID or TEST
    still lacks goes to TRAIN.

    Args:
        source: N sentences.
        target: their N translations.
        held_out: how many different source sentences VALID shall have, and TEST as well.

    Returns:
        The places of each split's pairs, ascending; VALID and TEST stay empty where there are fewer
        than three families.
    """
    families = _families(source, target)
    dealt: dict[int, list[int]] = {TRAIN: [], VALID: [], TEST: []}
    lacks = dict.fromkeys((VALID, TEST), 0)
    if len(families) >= 3:
        second_smallest = sorted(family.sources for family in families)[1]
        lacks = dict.fromkeys((VALID, TEST), max(held_out, second_smallest))
    for family in sorted(families, key=lambda family: family.rank):
        split = next((s for s in (VALID, TEST) if family.sources <= lacks[s]), TRAIN)
        if split != TRAIN:
            lacks[split] -= family.sources
        dealt[split] += family.pairs
    return {split: sorted(pairs) for split, pairs in dealt.items()}


def split_corpus(
    pairs: Sequence[tuple[str, str]],
    *,
    name: str,
    held_out: int,
    tally: Tally,
    languages: tuple[str, str] = ("en", "fr"),
) -> Corpus:
    """Make a corpus of pairs that come without splits, dealt out by `split_connected`.

    Raises:
        DataError: too few sentences differ for a training, a validation and a test set.
    """
    dealt = split_connected([one for one, _ in pairs], [two for _, two in pairs], held_out=held_out)
    if not all(dealt.values()):
        raise DataError(
            f"{name} has {_amount(len(pairs), 'pair')} of sentences, too few or too much alike for "
            "a training, a validation and a test set.",
            hint="Three pairs that share no sentence are the least; hundreds make a translator.",
        )
    splits = {s: Pairs.of(pairs[place] for place in places) for s, places in dealt.items()}
    return Corpus(
        name=name,
        languages=languages,
        train=splits[TRAIN],
        valid=splits[VALID],
        tests={"test": splits[TEST]},
        dropped=dict(tally.dropped),
    )


def _amount(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _families(source: Iterable[str], target: Iterable[str]) -> list[_Family]:
    sources, source_keys = _number(source)
    targets, target_keys = _number(target)
    roots = list(range(len(source_keys) + len(target_keys)))

    def root(node: int) -> int:
        while roots[node] != node:
            roots[node] = roots[roots[node]]  # halves the path, so that the next walk is shorter
            node = roots[node]
        return node

    for one, other in zip(sources, targets, strict=True):
        roots[root(one)] = root(len(source_keys) + other)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(sources):
        members[root(one)].append(place)
    hashes = [stable_hash(key) for key in source_keys]
    return [
        _Family(rank=min(hashes[n] for n in numbers), sources=len(numbers), pairs=pairs)
        for pairs in members.values()
        for numbers in [{sources[place] for place in pairs}]
    ]


def _number(sentences: Iterable[str]) -> tuple[list[int], Sequence[str]]:
    """Number sentences by their keys, in the order in which they come."""
    numbers: dict[str, int] = {}
    numbered = [numbers.setdefault(sentence_key(s), len(numbers)) for s in sentences]
    return numbered, list(numbers)


# -- The user's own corpora: a file of tab-separated pairs, or two files that go line by line
# Their names carry a digest (`/home/me/pairs.tsv#1f2e3d4c`), so that a figure's signature says what
# it was measured on, and a file that has changed since is noticed when it is read by that name.

MOST_HELD_OUT = 2_000
HELD_OUT_SHARE = 10
"""One different source sentence in so many is held out for validation, and one for the test."""


def read_text_files(name: str, *, notice: Notice) -> Corpus:
    """Read a user's corpus: "pairs.tsv", or "a.en,b.fr", each perhaps with ".gz" behind it.

    A TSV has the source of "en-fr" in its first column; what follows its second is not looked at.
    Of two files the English one is the first, whatever their order, where their suffixes say so.

    Args:
        name: the path or paths, perhaps with the digest of an earlier reading.
        notice: called with one sentence where lines are left out.

    Raises:
        ConfigError: more than two paths are named.
        DataError: a file cannot be read or has changed, too many lines are no pairs, or too few
            pairs are there to be split.
    """
    paths = _paths(PATH_DIGEST.sub("", name))
    digest = _digest(paths)
    asked = PATH_DIGEST.search(name)
    shown = ",".join(map(str, paths))
    if asked and asked[1] != digest:
        raise DataError(
            f"{shown} has changed: its digest was {asked[1]} and is {digest}.",
            hint="Put the old file back, or name it without the digest.",
        )
    tally = Tally()
    pairs = _read(paths, tally=tally, shown=shown)
    refuse_if_many(tally, name=shown)
    if tally.dropped:
        examples = "; ".join(map(str, tally.examples))
        notice(f"{shown}: {tally.dropped.total():,} of {tally.read:,} lines left out: {examples}.")
    different = len({sentence_key(source) for source, _ in pairs})
    held_out = min(MOST_HELD_OUT, max(1, different // HELD_OUT_SHARE))
    return split_corpus(
        pairs,
        name=f"{shown}#{digest}",
        held_out=held_out,
        tally=tally,
        languages=_languages(paths),
    )


def _paths(name: str) -> list[Path]:
    """Return the one or two files that a name stands for, absolute, the English one first."""
    words = [name] if Path(name).is_file() else name.split(",")
    if len(words) > 2 or not all(words):
        raise ConfigError(
            f"'{name}' names {len(words)} files.",
            hint="Name one file of tab-separated pairs, or two files: --data a.en,b.fr.",
        )
    paths = [Path(word).expanduser().absolute() for word in words]
    for path in paths:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise DataError(
                f"{path} {what}.",
                hint="Name a file of tab-separated pairs, two files (a.en,b.fr) or a data set.",
            )
    if [_language(path) for path in paths] == ["fr", "en"]:
        paths.reverse()
    return paths


def _language(path: Path) -> str:
    """Return the language that a file's suffix names: "fr" for `train.fr.gz`, else nothing."""
    suffix = Path(path.name.removesuffix(".gz")).suffix[1:]
    return suffix if re.fullmatch("[a-z]{2}", suffix) else ""


def _languages(paths: list[Path]) -> tuple[str, str]:
    named = [_language(path) for path in paths]
    return (named[0], named[1]) if len(named) == 2 and all(named) else ("en", "fr")


def _digest(paths: list[Path]) -> str:
    hashed = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise _unreadable(path, error) from None
    return hashed.hexdigest()[:8]


def _read(paths: list[Path], *, tally: Tally, shown: str) -> list[tuple[str, str]]:
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(path)) for path in paths]
        lines = [read_lines(file, name=str(p)) for file, p in zip(files, paths, strict=True)]
        if len(lines) == 1:
            return list(columns(lines[0], tally=tally))
        return list(side_by_side(lines[0], lines[1], tally=tally, names=shown))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked where its name ends in `.gz`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"{path} cannot be read: {reason}.", hint="Check the file and its rights.")
