"""Words: a shortlist of the most frequent ones of each language, as in the paper.

A word keeps the space before it (`▁agreement`, `.`), so that known words are put together again as
they stood. All others become one unknown token.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dlcli.data.wordsplit import split_words
from dlcli.engine.files import write_whole
from dlcli.errors import CheckpointError, DataError
from dlcli.nmt.tokenizer import BOS, EOS, PAD, SPECIALS, UNK, WORDS_FILE, Piece

SPACE = "▁"


class Words:
    """A shortlist of words, one id space for both languages.

    Args:
        words: by id, the four special tokens first.
        lowercase: whether to see and write lower case only.
    """

    def __init__(self, words: Sequence[str], *, lowercase: bool = False) -> None:
        self._words, self._lowercase = list(words), lowercase
        self._ids = {word: i for i, word in enumerate(self._words)}

    @classmethod
    def load(cls, path: Path) -> Words:
        """Read a shortlist.

        Raises:
            CheckpointError: the file is damaged or of something else.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            words, lowercase = found["words"], found["lowercase"]
            fits = tuple(words[:4]) == SPECIALS and all(isinstance(word, str) for word in words)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            fits = False
        if not fits:
            raise CheckpointError(
                f"{path} is not a vocabulary of this program.",
                hint="Choose another run, or train again.",
            )
        return cls(words, lowercase=bool(lowercase))

    @classmethod
    def learn(
        cls, source: Sequence[str], target: Sequence[str], *, size: int, lowercase: bool = False
    ) -> Words:
        """Take the most frequent words of each side, the same for the same sentences.

        Args:
            source, target: sentences of the two languages.
            size: words of each; a word of both has one id.
            lowercase: whether to see and write lower case only.

        Raises:
            DataError: there is no text.
        """
        chosen: dict[str, None] = {}
        for texts in (source, target):
            counts = Counter(word for text in texts for word in _spelt(text, lowercase=lowercase))
            ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            chosen |= dict.fromkeys(word for word, _ in ranked[:size])
        if not chosen:
            raise DataError(
                "The training pairs hold no text to learn a vocabulary from.",
                hint="Check the files given to --data.",
            )
        return cls([*SPECIALS, *chosen], lowercase=lowercase)

    @property
    def size(self) -> int:
        """Return the number of tokens, the special ones included."""
        return len(self._words)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without BOS and EOS."""
        return [self._id(word) for word in _spelt(text, lowercase=self._lowercase)]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; PAD, BOS and EOS are passed over, an unknown word is `<unk>`."""
        words = [self._words[i] for i in ids if i not in (PAD, BOS, EOS)]
        joined = "".join(SPACE + word if word == SPECIALS[UNK] else word for word in words)
        return joined.replace(SPACE, " ").strip()

    def pieces(self, text: str) -> list[Piece]:
        """Return the words of a text with the characters they stand for, as `encode` has them."""
        spelt = _spelt(text, lowercase=self._lowercase)
        return [
            Piece(id=self._id(word), text=word, start=place.start, end=place.end)
            for word, place in zip(spelt, split_words(text), strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write the shortlist into a run's folder."""
        content = {"words": self._words, "lowercase": self._lowercase}
        write_whole(folder / WORDS_FILE, json.dumps(content, ensure_ascii=False).encode())

    def _id(self, word: str) -> int:
        found = self._ids.get(word, UNK)
        return found if found >= len(SPECIALS) else UNK  # "<unk>" in a text is not a word of ours


def _spelt(text: str, *, lowercase: bool) -> list[str]:
    """Write each word of a text with the space before it."""
    found = split_words(text)
    behind = [0, *(word.end for word in found)]
    return [
        (SPACE if i == 0 or word.start > before else "")
        + (word.text.lower() if lowercase else word.text)
        for i, (word, before) in enumerate(zip(found, behind, strict=False))
    ]
