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
    for at, (word, links, borrowed) in enumerate(words):
        joined = CONTRACTED.get((done[-1][0], word)) if done else None
        if joined and not (word == "le" and elides(words[at + 1][0])):
            kept = done[-1][1] if borrowed else done[-1][1] + links
            done[-1] = (joined, kept, False)
        else:
            done.append((word, links, borrowed))
    return done


def elide(tokens: list[Token]) -> list[Token]:
    """Shorten words before a vowel or a mute h, and choose cet, son and nouvel there."""
    following = [word for word, _, _ in tokens[1:]] + ["."]
    return [
        (ELIDED[word] if word in ELIDED and elides(after) else word, links, borrowed)
        for (word, links, borrowed), after in zip(tokens, following, strict=True)
    ]
