"""What French does to two words that meet: elision (l'État) and contraction (du, aux).

Rules for text in which both were undone. A vowel or a mute h elides; an h aspiré does not.
"""

from __future__ import annotations

import unicodedata

ELIDING = {
    "le": "l'", "la": "l'", "de": "d'", "je": "j'", "me": "m'", "te": "t'", "se": "s'", "ne": "n'",
    "que": "qu'", "jusque": "jusqu'", "lorsque": "lorsqu'", "puisque": "puisqu'",
    "quoique": "quoiqu'",
}  # fmt: skip
"""Words that lose their vowel before another."""
CONTRACTED = {
    ("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux",
}  # fmt: skip
BEFORE_FEW = {
    "lorsque": ("il", "elle", "on", "en", "un"),
    "puisque": ("il", "elle", "on", "en", "un"),
    "quoique": ("il", "elle", "on", "en", "un"),
}
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
    few = BEFORE_FEW.get(low)
    if few and not before.lower().startswith(few):
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
