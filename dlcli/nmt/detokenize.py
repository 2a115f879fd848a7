"""Tokens put together into running text, with the characters that each token became.

Alignment corpora come tokenised, some with French elisions and contractions undone ("de le" for
"du", "le État" for "l'État"). A translator wants running text; links are wanted between the tokens
as given. So every token keeps a span of the text; tokens that were contracted share one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dlcli.nmt.french import contracted, elided

Span = tuple[int, int]

CLOSING = frozenset(".,;:!?)]}…%°") | {"...", "..", "!!", "?!", "’s"}
OPENING = frozenset("([{$£€#¿¡")
HYPHENS = frozenset("-‐‑/")
ENGLISH_ENDS = re.compile(r"['’](?:s|m|d|ll|re|ve)|n['’]t", re.IGNORECASE)
SPACED_IN_FRENCH = frozenset("%$£€#°")
"""Signs that stand apart from their number in French."""


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

    Args:
        tokens: words and punctuation marks, none empty, without whitespace.
        language: `fr` contracts and elides; another only places the spaces.
        capitalize: begin with a capital, as sentences that translators learn from do.
    """
    if capitalize:
        tokens = _capitalized(tokens)
    units = _french(tokens) if language == "fr" else [_Unit(text=token) for token in tokens]
    text, spans = "", list[Span]()
    for index, unit in enumerate(units):
        if index and not units[index - 1].clings and not _joined(units, index, language=language):
            text += " "
        spans += [(len(text), len(text) + len(unit.text))] * unit.tokens
        text += unit.text
    return Detokenized(text=text, spans=tuple(spans))


def as_given(text: str, *, words: Sequence[Span]) -> Detokenized:
    """Take running text as it is, with the spans of its words."""
    return Detokenized(text=text, spans=tuple(words))


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
    if language == "fr" and (unit in SPACED_IN_FRENCH or before in SPACED_IN_FRENCH):
        return False
    if unit in CLOSING or before in OPENING:
        return True
    if language == "en" and ENGLISH_ENDS.fullmatch(unit):
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
            capital = token[0].upper()
            found[index] = capital + token[1:] if len(capital) == 1 else token
            break
    return found
