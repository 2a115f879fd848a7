"""What neighbouring French words do to one another: l', d', qu', n', cet, du, des, au, aux.

Words come in full ("de", "le", "accord"); contraction goes first, since the article that elides
does not contract: de + le Conseil is "du Conseil", de + le accord is "de l'accord".
"""

from __future__ import annotations

from collections.abc import Iterable

ELIDED = {
    "le": "l'",
    "la": "l'",
    "de": "d'",
    "que": "qu'",
    "ne": "n'",
    "ce": "cet",
    "sa": "son",
    "nouveau": "nouvel",
}
CONTRACTED = {
    ("de", "le"): "du",
    ("de", "les"): "des",
    ("à", "le"): "au",
    ("à", "les"): "aux",
    ("de", "des"): "de",  # de + des lois: "de lois"
    ("de", "de"): "de",
}
PREPOSITIONS = frozenset(first for first, _ in CONTRACTED)
ASPIRATED = frozenset(
    {"hausse", "hausses", "hiérarchie", "hiérarchies", "héros", "hall", "halls", "hangar"}
    | {"hangars", "hameau", "hameaux", "Hongrie", "hongrois", "hongroise", "hongroises"}
    | {"Haye", "huit"}
)
"""Words whose h keeps l', d' and cet away."""

_VOWELS = frozenset("aàâeéèêëhiîïoôœuùûüAÀÂEÉÈÊHIÎOÔŒUÙÛ")  # an h counts where it is mute

Token = tuple[str, tuple[int, ...], bool]
"""A word, the source words it is linked to, and whether the link is borrowed from its noun."""


def elides(following: str) -> bool:
    """Tell whether the next word makes "le" an "l'"."""
    return following[0] in _VOWELS and following not in ASPIRATED


def contract(tokens: Iterable[Token]) -> list[Token]:
    """Join prepositions with articles; the word that results has the links of both.

    An article without a counterpart has its link from its noun ("la pêche", fisheries): joined
    to a preposition it gives that up.
    """
    words = list(tokens)
    done: list[Token] = []
    last = ""
    for at, token in enumerate(words):
        word, links, borrowed = token
        joined = CONTRACTED.get((last, word)) if last in PREPOSITIONS else None
        if joined and not (word == "le" and elides(words[at + 1][0])):
            kept = done[-1][1] if borrowed else done[-1][1] + links
            done[-1] = (joined, kept, False)
            last = joined
        else:
            done.append(token)
            last = word
    return done


def elide(tokens: list[Token]) -> list[Token]:
    """Shorten words before a vowel or a mute h, and choose cet, son and nouvel there."""
    done = tokens[:]
    for at, (word, links, borrowed) in enumerate(tokens[:-1]):
        if word in ELIDED and elides(tokens[at + 1][0]):
            done[at] = ELIDED[word], links, borrowed
    return done
