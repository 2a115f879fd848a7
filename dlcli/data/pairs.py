"""Parallel sentences in memory: what every corpus is once it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dlcli.errors import ConfigError

DIRECTIONS = ("en-fr", "fr-en")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Sentences and their translations, raw detokenised text, one line each, in NFC.

    Attributes:
        source: N sentences without line ends.
        target: their N translations.
        links: word alignments of each pair where they are known: Pharaoh format, such as
            "0-0 1-2", source word first, counted from 0 over `dlcli.data.wordsplit.split_words`.
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
    """

    name: str
    languages: tuple[str, str]
    train: Pairs
    valid: Pairs
    tests: Mapping[str, Pairs]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def swapped(self) -> Corpus:
        """Return the corpus of the other direction."""
        return Corpus(
            name=self.name,
            languages=(self.languages[1], self.languages[0]),
            train=self.train.swapped(),
            valid=self.valid.swapped(),
            tests={name: pairs.swapped() for name, pairs in self.tests.items()},
            dropped=self.dropped,
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
