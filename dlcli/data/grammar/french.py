"""French forms by rule: gender and number of adjectives and participles, plurals, the future.

Exceptions are noted in the lexicon; a rule here covers what is regular.
"""

from __future__ import annotations

from typing import Literal

Gender = Literal["m", "f"]

_PLURALS = (("al", "aux"), ("eau", "eaux"), ("s", "s"), ("x", "x"), ("z", "z"))
_FEMININES = (
    ("e", "e"),
    ("er", "ère"),
    ("f", "ve"),
    ("eux", "euse"),
    ("en", "enne"),
    ("el", "elle"),
    ("on", "onne"),
)


def _turn(word: str, endings: tuple[tuple[str, str], ...], *, default: str) -> str:
    for old, new in endings:
        if word.endswith(old):
            return word.removesuffix(old) + new
    return word + default


def plural(word: str) -> str:
    """Return the regular plural: accords, journaux, réseaux, avis."""
    return _turn(word, _PLURALS, default="s")


def feminine(adjective: str) -> str:
    """Return the regular feminine: important/importante, premier/première, européen/européenne."""
    return _turn(adjective, _FEMININES, default="e")


def participle(infinitive: str) -> str:
    """Return the regular past participle: signé, établi."""
    return infinitive[:-2] + ("é" if infinitive.endswith("er") else "i")


def future_stem(infinitive: str) -> str:
    """Return the stem of future and conditional: signer-, établir-, construir-."""
    return infinitive.removesuffix("e")


def four_forms(participle: str) -> tuple[str, str, str, str]:
    """Return a participle's masculine, masculine plural, feminine and feminine plural."""
    return participle, plural(participle), participle + "e", participle + "es"
