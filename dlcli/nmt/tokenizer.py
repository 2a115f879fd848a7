"""What a tokenizer is: text into token ids of one joint vocabulary, and back.

The four special tokens come first in every vocabulary. Two tokenizers fit: `dlcli.nmt.subwords`
and `dlcli.nmt.words`; each lives in one file of its run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Padding, an unknown word, the beginning and the end of a sentence."""
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
"""How the special tokens are written, by id."""

SUBWORDS_FILE, WORDS_FILE = "tokenizer.model", "tokenizer.json"
"""Files in a run's folder; an export copies what is called `tokenizer*`."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One token of a text."""

    id: int
    text: str
    """As figures show it."""
    start: int
    end: int
    """Which characters of the text it stands for: `text[start:end]`; some stand for none."""


class Tokenizer(Protocol):
    """Cuts text into tokens and puts them together again."""

    @property
    def size(self) -> int:
        """Return the number of tokens, the special ones included."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without BOS and EOS."""
        ...

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of each text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; PAD, BOS and EOS are passed over."""
        ...

    def pieces(self, text: str) -> list[Piece]:
        """Return the tokens of a text with the characters they stand for, as `encode` has them."""
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a run's folder."""
        ...


def load_tokenizer(run: RunFolder) -> Tokenizer:
    """Read back the tokenizer of a run.

    Raises:
        CheckpointError: the run has none, or it is damaged.
    """
    from dlcli.nmt.subwords import Subwords
    from dlcli.nmt.words import Words

    if (run.path / SUBWORDS_FILE).is_file():
        return Subwords.load(run.path / SUBWORDS_FILE)
    if (run.path / WORDS_FILE).is_file():
        return Words.load(run.path / WORDS_FILE)
    raise CheckpointError(
        f"The run {run.path} has lost its vocabulary.",
        hint=f"Put {SUBWORDS_FILE} or {WORDS_FILE} back, or choose another run.",
    )
