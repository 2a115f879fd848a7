"""English forms by rule, and the indefinite article.

Exceptions are noted in the lexicon; a rule here covers what is regular.
"""

from __future__ import annotations

_CONSONANT_SOUND = ("eu", "uni", "use", "one")  # a European, a unilateral, a useful
_MUTE_H = ("hono", "hour", "hones", "heir")


def plural(noun: str) -> str:
    """Return the regular plural: agreements, policies, speeches."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def past(verb: str) -> str:
    """Return the regular past tense and participle: adopted, approved, ratified."""
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"


def indefinite(following: str) -> str:
    """Return "a" or "an", by the sound that the next word begins with."""
    word = following.lower()
    vowel = word[0] in "aeiou" and not word.startswith(_CONSONANT_SOUND)
    return "an" if vowel or word.startswith(_MUTE_H) else "a"
