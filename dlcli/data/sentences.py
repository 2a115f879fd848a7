"""Parallel sentences in memory: pairs, corpora in their splits, and the words of a sentence."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlcli.data.languages import Languages
from dlcli.errors import ConfigError, DataError, plural


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
        whole: how many training pairs there are, where `train` holds only the first of them.
    """

    name: str
    languages: Languages
    train: Pairs
    valid: Pairs
    tests: Mapping[str, Pairs]
    dropped: Mapping[str, int] = field(default_factory=dict)
    whole: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        """How many pairs each split has, by its own name."""
        tests = {name: len(pairs) for name, pairs in self.tests.items()}
        return {"train": self.whole or len(self.train), "valid": len(self.valid)} | tests

    def swapped(self) -> Corpus:
        """Return the corpus of the other direction."""
        return replace(
            self,
            languages=(self.languages[1], self.languages[0]),
            train=self.train.swapped(),
            valid=self.valid.swapped(),
            tests={name: pairs.swapped() for name, pairs in self.tests.items()},
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


TRAIN, VALID, TEST = 0, 1, 2


def split_corpus(
    pairs: Sequence[tuple[str, str]],
    *,
    name: str,
    held_out: int,
    dropped: Mapping[str, int],
    languages: Languages = ("en", "fr"),
) -> Corpus:
    """Make a corpus of pairs that come without splits, dealt out by `split_connected`.

    Args:
        pairs: all of them.
        name: what the corpus is called.
        held_out: how many different source sentences are for validation, and for the test as well.
        dropped: reason → how many lines were left out for it.
        languages: of source and target.

    Raises:
        DataError: too few sentences differ for a training, a validation and a test set.
    """
    dealt = split_connected([one for one, _ in pairs], [two for _, two in pairs], held_out=held_out)
    if not all(dealt.values()):
        amount = f"{plural(len(pairs), 'pair')} of sentences"
        different = len({(sentence_key(one), sentence_key(two)) for one, two in pairs})
        if different < len(pairs):
            amount += f" ({different:,} without repetitions)"
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        raise DataError(
            f"{name} has {amount}, too few or too much alike for a training, a validation and a "
            f"test set{f'; lines left out: {left_out}' if left_out else ''}.",
            hint="Three pairs that share no sentence are the least; hundreds make a translator. "
            "Each line of a TSV is a sentence, a tab and its translation, in UTF-8.",
        )
    splits = {s: Pairs.of(pairs[place] for place in places) for s, places in dealt.items()}
    return Corpus(
        name=name,
        languages=languages,
        train=splits[TRAIN],
        valid=splits[VALID],
        tests={"test": splits[TEST]},
        dropped=dict(dropped),
    )


def split_connected(
    source: Sequence[str], target: Sequence[str], *, held_out: int
) -> dict[int, list[int]]:
    """Deal pairs out to TRAIN, VALID and TEST by hashes, so that anyone gets the same splits.

    Sentences that differ in case or punctuation only count as one. Pairs that share a sentence on
    either side, directly or through others, are a family and stay together: nothing that is tested,
    in either direction, was learnt. Families come in the order of their smallest hashes. One that
    has more sentences than VALID or TEST still lacks goes to TRAIN.

    Args:
        source: N sentences.
        target: their N translations.
        held_out: how many different source sentences VALID shall have, and TEST as well.

    Returns:
        The places of each split's pairs, ascending; VALID and TEST stay empty where there are fewer
        than three families.
    """
    sources = [sentence_key(sentence) for sentence in source]
    families = []
    for pairs in _families(sources, [sentence_key(sentence) for sentence in target]):
        different = {sources[pair] for pair in pairs}
        families.append((min(map(stable_hash, different)), len(different), pairs))
    families.sort(key=lambda family: family[0])
    dealt: dict[int, list[int]] = {TRAIN: [], VALID: [], TEST: []}
    lacks = dict.fromkeys((VALID, TEST), 0)
    if len(families) >= 3:
        second_smallest = sorted(count for _, count, _ in families)[1]
        lacks = dict.fromkeys((VALID, TEST), max(held_out, second_smallest))
    for _, count, pairs in families:
        split = next((s for s in (VALID, TEST) if count <= lacks[s]), TRAIN)
        if split != TRAIN:
            lacks[split] -= count
        dealt[split] += pairs
    return {split: sorted(pairs) for split, pairs in dealt.items()}


def _families(sources: Sequence[str], targets: Sequence[str]) -> Iterable[list[int]]:
    """Gather the places of pairs that are connected by equal sentences (union-find)."""
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]  # halves the path, so that the next walk is shorter
            node = parent[node]
        return node

    for one, other in zip(sources, targets, strict=True):
        parent[root((0, one))] = root((1, other))
    families: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for place, one in enumerate(sources):
        families[root((0, one))].append(place)
    return families.values()


def sentence_key(sentence: str) -> str:
    """Reduce a sentence to what makes it another one: its words, without case."""
    return " ".join(_key_words().findall(sentence.casefold())) or sentence


@functools.cache
def _key_words() -> re.Pattern[str]:
    return re.compile(rf"\w[\w{_marks()}]*")  # Hindi words differ by signs on letters


def stable_hash(text: str) -> int:
    """Hash a text into [0, 2**64), the same in every process and on every machine."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


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


def split_words(text: str, *languages: str) -> list[Word]:
    """Split a sentence into words; `text[word.start : word.end] == word.text` for each.

    Whitespace parts words, and punctuation stands apart; `don't`, `peut-être`, `2.8` and `U.S.`
    stay whole, and `...` is one word. Where a script has no spaces between words (`UNSPACED`), each
    letter is a word, with the marks on it. What depends on the language is elision: in French `l'`
    is a word before `accord`, and `aujourd'hui` is one. Only whitespace and invisible characters
    lie between words.

    Args:
        text: the sentence.
        languages: those it may be in; English and French where none is given.
    """
    pattern = _pattern(*_rules(languages or ("en", "fr")))
    return [Word(m.group(), m.start(), m.end()) for m in pattern.finditer(text)]


def count_words(text: str, *languages: str) -> int:
    """Count what stands between spaces, and of scripts without spaces every letter."""
    letters, other = _letters_and_others(_rules(languages)[1])
    return sum(
        max(1, len(letters.findall(part)) + bool(other.search(part))) for part in text.split()
    )


def is_unspaced(text: str, *languages: str) -> bool:
    """Say whether most letters of a text are of scripts without spaces."""
    letters, _ = _letters_and_others(_rules(languages)[1])
    return 2 * len(letters.findall(text)) > sum(map(str.isalpha, text))


CJK = "\u3005-\u3007\u3041-\u30fa\u30fc-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff" \
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"  # fmt: skip
"""Chinese characters, kana and bopomofo, as ranges of a character class."""
UNSPACED = CJK + "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf\u1000-\u103f" \
    "\u1050-\u109f\u1780-\u17d3\u1980-\u19c9\u1a20-\u1a5e\ua980-\ua9c0\uaa60-\uaa7b"  # fmt: skip
"""Scripts without spaces between words: those of CJK, Thai, Lao, Burmese, Khmer, Javanese."""
LETTERWISE = ("qaa", "qab")
"""Languages whose letters do not show that they have no spaces: those of `agglutinative`."""

_INVISIBLE = "\u00ad\u200c\u200d\u2060"  # soft hyphen and joiners, inside words only
_FRENCH = "(?i:[ldjmtsnc]|(?:jus|lors|puis|quoi)?qu)['’]"  # l', jusqu'
_ANY = "[^\\W\\d_]+['’](?=[^\\W\\d_])"  # dell'arte
ELISION = {"fr": _FRENCH, "en": _FRENCH, "it": _ANY, "ca": _ANY, "ga": _ANY}
"""Language → what is a word of its own before an apostrophe. English text has French names."""
_NOTHING = "(?!)"
_EVERY = r"^\W\d_"
_PATTERN = r"""
    (?:(?<!EDGE)[A-Za-zÀ-ÖØ-öø-ÿ]\.){2,}(?!EDGE)                        # U.S., e.g.
  | ELISION
  | LETTER[JOIN]*
  | \d+(?:[.,:/]\d+)+(?:WORD)?(?:['’\-\u2010\u2011]WORD)*              # 2.8, 1,000, 10:30
  | WORD(?:['’\-\u2010\u2011]WORD)*                                     # don't, peut-être
  | ([.!?*=~_\-–—])\1+                                                  # ..., --
  | [\U0001F1E6-\U0001F1FF]{2}                                          # a flag
  | _ | [^\w\s\u200b\ufeff](?:[JOIN\U0001F3FB-\U0001F3FF]|(?<=\u200d)[^\w\s])*
"""
# The elision is tried before the plain word: left to right from a word's beginning, `l'accord` is
# cut and `va-t'en` is not.


def _rules(languages: Sequence[str]) -> tuple[str, str]:
    """Return what elides in any of some languages, and which letters are words by themselves."""
    bases = [language.partition("_")[0] for language in languages]
    elision = next((ELISION[base] for base in bases if base in ELISION), _NOTHING)
    return elision, _EVERY if set(bases) & {*LETTERWISE} else UNSPACED


@functools.cache
def _pattern(elision: str, letters: str) -> re.Pattern[str]:
    r"""Compile the rule; what combines with a letter is not `\w` in Python, yet inside a word."""
    marks = re.escape(_marks()).replace(r"\-", "-")
    other = _other(letters)
    word = rf"{other}+(?:[{marks}{_INVISIBLE}]+{other}*)*"
    pattern = _PATTERN.replace("ELISION", elision).replace("LETTER", f"[{letters}]")
    pattern = pattern.replace("EDGE", r"\w" if letters == _EVERY else rf"[^\W{letters}]")
    pattern = pattern.replace("WORD", word).replace("JOIN", f"{marks}{_INVISIBLE}")
    return re.compile(pattern, re.VERBOSE)


@functools.cache
def _letters_and_others(letters: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(f"[{letters}][{_marks()}]*"), re.compile(_other(letters))


def _other(letters: str) -> str:
    """Return the class of letters and digits of which several make a word."""
    return r"\d" if letters == _EVERY else rf"[^\W_{letters}]"


@functools.cache
def _marks() -> str:
    """Return the combining marks of Unicode's first plane as ranges of a character class."""
    codes = [c for c in range(0x300, 0x10000) if unicodedata.category(chr(c))[0] == "M"]
    starts = [c for c in codes if unicodedata.category(chr(c - 1))[0] != "M"]
    ends = [c for c in codes if unicodedata.category(chr(c + 1))[0] != "M"]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))
