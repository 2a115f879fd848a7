"""Words of a sentence with their places in it: for the axes of figures, for links, for merging.

One rule for English and French, so that nobody need say which it is: whitespace parts words,
punctuation stands apart, and an elided French word keeps its apostrophe (`l'` `accord`), while
`don't`, `aujourd'hui`, `peut-être`, `2.8` and `U.S.` stay whole. `...` is one word.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

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
