"""A pair of sentences in the making: words of both languages and the links between them."""

from __future__ import annotations

from dataclasses import dataclass

from dlcli.data.grammar import english
from dlcli.data.grammar.elision import Token, contract, elide
from dlcli.data.grammar.names import Fixed


@dataclass(frozen=True, slots=True)
class Example:
    """A finished pair.

    Attributes:
        source: the English sentence.
        target: the French one.
        links: which English word stands for which French one, in Pharaoh format from 0.
        lengths: words of both, punctuation and elided ones counted.
    """

    source: str
    target: str
    links: str
    lengths: tuple[int, int]


class Draft:
    """English words said so far, and French ones with the English places they are linked to."""

    def __init__(self) -> None:
        self.english: list[str] = []
        self.french: list[Token] = []

    def say(self, word: str) -> int:
        """Add an English word; return its place."""
        self.english.append(word)
        return len(self.english) - 1

    def dire(self, word: str, *places: int, borrowed: bool = False) -> None:
        """Add a French word that stands for the English ones at these places."""
        self.french.append((word, places, borrowed))

    def both(self, phrase: Fixed) -> None:
        """Add a fixed phrase in both languages."""
        start = len(self.english)
        self.english += phrase.english
        self.french += phrase.shifted(start)

    def finish(self) -> Example:
        """Join the words: contraction, elision, capitals, spaces."""
        words = self.english
        if "a" in words:
            following = [*words[1:], ""]
            pairs = zip(words, following, strict=True)
            words = [english.indefinite(after) if word == "a" else word for word, after in pairs]
        tokens = elide(contract(self.french))
        links = sorted([(place, at) for at, token in enumerate(tokens) for place in token[1]])
        return Example(
            source=_written(words),
            target=_written([word for word, _, _ in tokens], french=True),
            links=" ".join([f"{source}-{target}" for source, target in links]),
            lengths=(len(words), len(tokens)),
        )


def _written(words: list[str], *, french: bool = False) -> str:
    """Write words as a sentence: no space before punctuation, nor behind an apostrophe.

    French has a space before a semicolon and an exclamation mark.
    """
    text = " ".join(words).replace(" ,", ",").replace(" .", ".")
    text = text.replace("' ", "'") if french else text.replace(" ;", ";").replace(" !", "!")
    return text[0].upper() + text[1:]
