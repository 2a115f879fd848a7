"""Text on its way to a translator and back.

In this order: sentences, prepared alike in training and in use, and cut where they are longer than
what a model was trained on; the tokens of a line; Moses's tokens, which older papers score; and
tokens put together into running text, in French with what it does where two words meet.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata, util

from dlcli.data.sentences import CJK, UNSPACED

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]+")


def prepare_source(line: str) -> str:
    """Return a sentence as a translator reads it, in training as in use.

    It is in NFC, without control characters, and has one plain space between words: in French a
    no-break space comes before "!", or does not, depending on who typed it.
    """
    return " ".join(unicodedata.normalize("NFC", _CONTROL.sub(" ", line)).split())


def prepare_target(line: str) -> str:
    """Return a given translation like those that translators learn from: in NFC, on one line."""
    return one_line(unicodedata.normalize("NFC", line))


def one_line(text: str) -> str:
    """Return what a model wrote on one line: spelt in bytes, it may hold line ends."""
    return _CONTROL.sub(" ", text).strip()


def tokens_of(line: str) -> list[str]:
    """Split a tokenised line at plain spaces and tabs: a no-break space is part of a token."""
    return [token for token in re.split(r"[ \t\r\n]", line) if token]


_WIDE = (
    "\u3001-\u3003\u3008-\u3011\u3014-\u301b\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
"""Punctuation of Chinese and Japanese, which has its space within it."""
SENTENCE_END = re.compile(r"(?<=[.!?…؟۔।॥])[\"'”’»)\]]*\s+|[。！？｡]+[」』”’）》】]*\s*")
PLACES = (
    re.compile(r"(?<=[;:؛])\s+|(?<=[；：])\s*(?=\S)"),
    re.compile(r"(?<=[,،])\s+|(?<=[，、])\s*(?=\S)"),
    re.compile(r"\s+"),
)
"""Where a sentence may be cut, the best kind of place first."""


def cut_passage(text: str, *, fits: Callable[[str], bool]) -> list[str]:
    """Cut a text into parts that fit: at the ends of sentences, and only then within them.

    Args:
        text: one line.
        fits: whether a part is short enough; a single character always is.

    Returns:
        One text, if it fits as it is; `join_passage` gives the text back, except where a word was
        too long.
    """
    if fits(text):
        return [text]
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    bounds = [0, *ends, len(text)]
    sentences = [text[a:b].strip() for a, b in itertools.pairwise(bounds)]
    return [part for one in sentences if one for part in _halves(one, fits=fits)]


def _halves(text: str, *, fits: Callable[[str], bool]) -> list[str]:
    """Cut a sentence near its middle until its parts fit."""
    waiting, found = [text], []
    while waiting:
        part = waiting.pop()
        if len(part) < 2 or fits(part):
            found.append(part)
            continue
        middle = len(part) // 2
        start, end = next(
            (
                min(spans, key=lambda span: abs(span[0] - middle))
                for place in PLACES
                if (spans := [match.span() for match in place.finditer(part)])
            ),
            (middle, middle),
        )
        waiting += [part[end:], part[:start]]
    return found


_CJK_END, _CJK_START = re.compile(f"[{CJK}{_WIDE}]$"), re.compile(f"[{CJK}{_WIDE}]")


def join_passage(parts: Sequence[str]) -> str:
    """Put the parts of a text one behind the other; see `space_between`."""
    found = parts[0] if parts else ""
    for before, after in itertools.pairwise(parts):
        found += space_between(before, after) + after
    return found


def space_between(before: str, after: str) -> str:
    """Return what stands between two parts of a text: nothing where Chinese or Japanese meets."""
    return "" if _CJK_END.search(before) or _CJK_START.match(after) else " "


def moses_available() -> bool:
    """Say whether sacremoses is installed."""
    return util.find_spec("sacremoses") is not None


def moses_knows(language: str) -> bool:
    """Say whether sacremoses, once installed, knows how a language is cut into tokens.

    Chinese, which it leaves in one piece, it does not know.
    """
    from sacremoses.corpus import NonbreakingPrefixes

    base = language.partition("_")[0]
    return base in NonbreakingPrefixes().available_langs.values() and base not in ("zh", "yue")


def moses_tokenized(lines: Sequence[str], *, language: str, lowercase: bool = False) -> list[str]:
    """Cut lines into tokens as Moses does, a space between each two.

    Scores of tokenised text are only comparable among themselves: in French "l' homme" counts as
    two tokens here and as one in sacreBLEU's 13a. sacremoses is no dependency of this package:
    without it there is no tokenised BLEU.

    Args:
        lines: running text.
        language: see `moses_knows`.
        lowercase: before it is cut, as usual.

    Raises:
        ModuleNotFoundError: sacremoses is not installed.
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    language = language.partition("_")[0]
    normalizer, tokenizer = MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)
    found = []
    for line in lines:
        text = normalizer.normalize(line.lower() if lowercase else line)
        found.append(str(tokenizer.tokenize(text, escape=False, return_str=True)))
    return found


def moses_version() -> str:
    """Return the version of sacremoses, for signatures."""
    return metadata.version("sacremoses")


Span = tuple[int, int]

CLOSING = frozenset(".,;:!?)]}…%°،؛؟۔।॥。，、！？；：｡") | {"...", "..", "!!", "?!"}
OPENING = frozenset("([{$£€#¿¡")
HYPHENS = frozenset("-‐‑/")
ENGLISH_ENDS = re.compile(r"['’](?:s|m|d|ll|re|ve)|n['’]t", re.IGNORECASE)
SPACED_SIGNS = frozenset("%$£€#°")
"""Signs that stand apart from their number, except in English."""
QUOTES = {'"': '"', "“": "”", "„": "“”", "«": "»", "»": "«"}
"""A quotation mark → those that close what it opens. French has spaces inside; English corpora
have marks whose spaces are not known."""
_UNSPACED_END = re.compile(f"[{UNSPACED}{_WIDE}]$")
_UNSPACED_START = re.compile(f"[{UNSPACED}{_WIDE}]")


@dataclass(frozen=True, kw_only=True)
class Detokenized:
    """Running text; `text[start:end]` of `spans[i]` is what token i became, never nothing."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """Letters that stand for one token, or for several that were contracted."""

    text: str
    tokens: int = 1
    clings: bool = False
    """No space follows, as after an elision."""


def detokenize(tokens: Sequence[str], *, language: str, capitalize: bool = True) -> Detokenized:
    """Put tokens together as they would stand in a printed text.

    Alignment corpora come tokenised, some with French elisions and contractions undone ("de le"
    for "du", "le État" for "l'État"). A translator wants running text; links are wanted between
    the tokens as given. So every token keeps a span of the text; contracted tokens share one.

    Args:
        tokens: words and punctuation marks, none empty, without whitespace.
        language: `fr` contracts and elides, `en` has ends of its own ("is" "n't"); another only
            places the spaces, none where its script has none.
        capitalize: begin with a capital, as sentences that translators learn from do.
    """
    if capitalize:
        tokens = _capitalized(tokens)
    base = language.partition("_")[0]
    units = _french(tokens) if base == "fr" else [_Unit(text=token) for token in tokens]
    quotes = _quotes(tokens) if base not in ("en", "fr") else {}
    text, spans = "", list[Span]()
    for index, unit in enumerate(units):
        clings = index and units[index - 1].clings
        quoted = quotes.get(index) == "closes" or quotes.get(index - 1) == "opens"
        if index and not clings and not quoted and not _joined(units, index, language=base):
            text += " "
        spans += [(len(text), len(text) + len(unit.text))] * unit.tokens
        text += unit.text
    return Detokenized(text=text, spans=tuple(spans))


def _quotes(tokens: Sequence[str]) -> dict[int, str]:
    """Say of each quotation mark whether it opens or closes: each closes what is open, or opens."""
    found, opened = dict[int, str](), ""
    for index, token in enumerate(tokens):
        if opened and token in QUOTES[opened]:
            found[index], opened = "closes", ""
        elif token in QUOTES:
            found[index], opened = "opens", token
    return found


def _french(tokens: Sequence[str]) -> list[_Unit]:
    """Contract and elide; what has an apostrophe at its end clings to the next word."""
    units: list[_Unit] = []
    at = 0
    while at < len(tokens):
        before = tokens[at - 1] if at else ""
        token, after = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        both = contracted(token, after, then=tokens[at + 2] if at + 2 < len(tokens) else "")
        if both:
            units.append(_Unit(text=both, tokens=2))
            at += 2
            continue
        short = "" if before in HYPHENS else elided(token, before=after)
        ends_so = len(token) > 1 and token[-1] in "'’" and after[:1].isalnum()
        units.append(_Unit(text=short or token, clings=bool(short) or ends_so))
        at += 1
    return units


def _joined(units: Sequence[_Unit], index: int, *, language: str) -> bool:
    """Say whether no space comes before a unit."""
    unit, before = units[index].text, units[index - 1].text
    spaced = frozenset[str]() if language == "en" else SPACED_SIGNS
    if language == "fr" and (unit in spaced or before in spaced):
        return False
    if unit in CLOSING - spaced or before in OPENING - spaced:
        return True
    if language == "en" and ENGLISH_ENDS.fullmatch(unit):
        return True
    if language == "fr" and unit == "’s":  # of an English name
        return True
    if _UNSPACED_END.search(before) and _UNSPACED_START.match(unit):
        return True
    after = units[index + 1].text if index + 1 < len(units) else ""
    if unit in HYPHENS:
        return before[-1].isalnum() and after[:1].isalnum()
    earlier = units[index - 2].text if index > 1 else ""
    return before in HYPHENS and earlier[-1:].isalnum() and unit[0].isalnum()


def _capitalized(tokens: Sequence[str]) -> list[str]:
    """Begin the first word with a capital."""
    found = list(tokens)
    for index, token in enumerate(found):
        if token[0].isalnum():
            capital = token[0].title()  # Georgian has capitals, and none at the start of a sentence
            found[index] = capital + token[1:] if len(capital) == 1 else token
            break
    return found


# What French does to two words that meet: elision (l'État) and contraction (du, aux). A vowel or a
# mute h elides; an h aspiré does not.

ELIDING = {
    "le": "l'", "la": "l'", "de": "d'", "je": "j'", "me": "m'", "te": "t'", "se": "s'", "ne": "n'",
    "que": "qu'", "jusque": "jusqu'", "lorsque": "lorsqu'", "puisque": "puisqu'",
    "quoique": "quoiqu'",
}  # fmt: skip
"""Words that lose their vowel before another."""
CONTRACTED = {
    ("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux",
}  # fmt: skip
BEFORE_FEW, FEW = ("lorsque", "puisque", "quoique"), ("il", "elle", "on", "en", "un")
"""Words that elide only before words that begin so."""
OF_ETRE = ("est", "étai", "étant", "eût")
"""Forms before which "ce" elides."""
_INFINITIVES = """
connaître convaincre croire dire faire lire mettre permettre prendre remettre rendre suivre tenir
vaincre voir
"""
INFINITIVES = frozenset(_INFINITIVES.split())
"""Verbs before which "de le" is a pronoun: "afin de le faire"."""
_ASPIRATED = """
hach haie haillon hain haï hallali halle halt hamac hameau hamster hanche hand hangar hanneton hant
haran harass harcel harcèl hard harem hareng hargn haricot harnach harnais harp hasard hât hausse
haussi haut havre heaume heurt hibou hideu hiérarch hiss hoch hockey hold holland homard hong honni
hont hoquet hors hotte houbl houe houill houle houp housse houx hublot huche huée huguenot huit hurl
huron husky hussard hutte hérisson hernie héron héros herse hêtre
"""
ASPIRATED = tuple(_ASPIRATED.split())
"""Beginnings of words with an h aspiré."""
NOT_ELIDED_BEFORE = ("onz", "oui", "ouistiti", "uhlan", "ululer")
VOWELS = frozenset("aeiouœæ")


def elided(word: str, *, before: str) -> str:
    """Return `word` as it stands before another (`l'`), or nothing where it stays."""
    low = word.lower()
    if low == "ce":
        return word[:-1] + "'" if before.lower().startswith(OF_ETRE) else ""
    if low == "si":
        return word[:-1] + "'" if before.lower() in ("il", "ils") else ""
    if low not in ELIDING or not begins_with_vowel(before):
        return ""
    if low in BEFORE_FEW and not before.lower().startswith(FEW):
        return ""
    return word[:1] + ELIDING[low][1:]


def contracted(first: str, second: str, *, then: str) -> str:
    """Return `du` for "de" "le", and so on; nothing where the two stay apart.

    Args:
        first: a preposition.
        second: an article.
        then: the word that follows: "de l'État" and "afin de le faire" are not contracted.
    """
    form = CONTRACTED.get((first.lower(), second))
    if form is None or not then or then.lower() in INFINITIVES:
        return ""
    if second == "le" and begins_with_vowel(then):
        return ""
    return form[0].upper() + form[1:] if first[0].isupper() else form


def begins_with_vowel(word: str) -> bool:
    """Say whether words elide before this one."""
    low = word.lower()
    if not low or low.startswith(NOT_ELIDED_BEFORE):
        return False
    letter = _plain(low[0])
    if letter == "h":
        return len(low) > 1 and not low.startswith(ASPIRATED)
    if letter == "y":  # "l'y", "d'Yves", but "le yen"
        return len(low) == 1 or _plain(low[1]) not in VOWELS
    return letter in VOWELS


def _plain(letter: str) -> str:
    """Take the accent off a letter."""
    return unicodedata.normalize("NFD", letter)[0]
