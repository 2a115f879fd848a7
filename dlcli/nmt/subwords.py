"""Subwords: one SentencePiece vocabulary for both languages, learnt from the training pairs.

Byte-pair merges with byte fallback and no normalisation: whatever the text, decoding its ids gives
it back, unless the vocabulary was asked to lower-case. A space before the text is written by us, so
that a sentence's first word is spelt like any other.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dlcli.engine.files import write_whole
from dlcli.errors import CheckpointError, ConfigError, DataError
from dlcli.nmt.tokenizer import BOS, EOS, PAD, SPECIALS, SUBWORDS_FILE, UNK, Piece

SPACE = "▁"
"""How a space is written inside a piece."""
LEARNT_FROM = 400_000
"""Most sentences to learn from: evenly spaced ones of a larger corpus."""
COVERAGE = 0.9999
"""Share of all characters that get a token of their own; the rarer ones are spelt in bytes."""


class Subwords:
    """A SentencePiece vocabulary.

    Args:
        model: the serialised SentencePiece model.

    Raises:
        CheckpointError: it is none.
    """

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self._model = model
        self._spm: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._spm.LoadFromSerializedProto(model)
            self._written = [str(self._spm.IdToPiece(i)) for i in range(self._spm.GetPieceSize())]
        except (RuntimeError, TypeError, UnicodeDecodeError):
            self._written = []
        if tuple(self._written[:4]) != SPECIALS:
            raise CheckpointError(
                f"{SUBWORDS_FILE} is not a vocabulary of this program.",
                hint="Choose another run, or train again.",
            )
        spelt = SPACE.encode()
        self._spelt_space = [self._spm.PieceToId(f"<0x{byte:02X}>") for byte in spelt]

    @classmethod
    def load(cls, path: Path) -> Subwords:
        """Read a vocabulary.

        Raises:
            CheckpointError: the file is damaged or of something else.
        """
        return cls(path.read_bytes())

    @classmethod
    def learn(
        cls,
        texts: Sequence[str],
        *,
        size: int,
        lowercase: bool = False,
        notice: Callable[[str], object] = lambda _: None,
    ) -> Subwords:
        """Learn a vocabulary from sentences, the same for the same sentences.

        Args:
            texts: of both languages.
            size: tokens wanted, the four special ones and 256 bytes included.
            lowercase: whether to see and write lower case only.
            notice: told where so few sentences have no such number of subwords.

        Raises:
            ConfigError: `size` is too small even for the single characters.
            DataError: there is no text.
        """
        if not any(text.strip() for text in texts):
            raise DataError(
                "The training pairs hold no text to learn a vocabulary from.",
                hint="Check the files given to --data.",
            )
        try:
            return cls(_learn(texts, size=size, lowercase=lowercase))
        except RuntimeError as error:
            most = re.search(r"too high .* <= (\d+)", str(error))
            least = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
            if least:
                raise ConfigError(
                    f"--vocabulary {size} is too small for the characters of these sentences.",
                    hint=f"Use --vocabulary {max(300, int(least[1]) + 1)} or more.",
                ) from None
            if not most:
                raise
        notice(
            f"These sentences have no more than {most[1]} subwords: the vocabulary has "
            f"{most[1]} tokens instead of {size}."
        )
        return cls(_learn(texts, size=int(most[1]), lowercase=lowercase))

    @property
    def size(self) -> int:
        """Return the number of tokens, the special ones included."""
        return len(self._written)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without BOS and EOS."""
        if not text:
            return []
        ids: list[int] = []
        for i, part in enumerate(f" {text}".split(SPACE)):  # a real ▁ would be read as a space
            ids += [*(self._spelt_space if i else []), *self._spm.EncodeAsIds(part)]
        return ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of each text, faster."""
        found = self._spm.EncodeAsIds([f" {text}" for text in texts])
        return [
            ids if text and SPACE not in text else self.encode(text)
            for text, ids in zip(texts, found, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; PAD, BOS and EOS are passed over."""
        words = [int(i) for i in ids if i not in (PAD, BOS, EOS)]
        return str(self._spm.DecodeIds(words)).removeprefix(" ")

    def pieces(self, text: str) -> list[Piece]:
        """Return the tokens of a text with the characters they stand for, as `encode` has them.

        Their ranges cover the text without gaps, spaces included; all bytes of a character have
        the range of that character.
        """
        found: list[Piece] = []
        at = -1  # the space before the text
        ids, i = self.encode(text), 0
        while i < len(ids):
            word = self._written[ids[i]]
            count, length = 1, len(word)
            if self._spm.IsByte(ids[i]):
                count, length = _bytes_of_character(int(word[3:5], 16)), 1
            for token in ids[i : i + count]:
                start, end = max(0, at), max(0, at + length)
                found.append(Piece(id=token, text=self._written[token], start=start, end=end))
            i, at = i + count, at + length
        return found

    def save(self, folder: Path) -> None:
        """Write the vocabulary into a run's folder."""
        write_whole(folder / SUBWORDS_FILE, self._model)


def _learn(texts: Sequence[str], *, size: int, lowercase: bool) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="ascii") as rules:
        rules.writelines(_lowering() if lowercase else ())
        rules.flush()
        how: dict[str, Any] = {"normalization_rule_name": "identity"}
        if lowercase:
            how = {"normalization_rule_tsv": rules.name}
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=_sample(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=COVERAGE,
            byte_fallback=True,
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            num_threads=1,
            minloglevel=2,
            **how,
        )
    return model.getvalue()


def _sample(texts: Sequence[str]) -> Iterator[str]:
    step = max(1, -(-len(texts) // LEARNT_FROM))
    return (f" {text}" for text in texts[::step] if text)


def _lowering() -> Iterator[str]:
    """Yield SentencePiece's rules that lower each character to one character, and no other."""
    for code in range(sys.maxunicode + 1):
        lower = "" if 0xD800 <= code < 0xE000 else chr(code).lower()
        if len(lower) == 1 and lower != chr(code):
            yield f"{code:X}\t{ord(lower):X}\n"


def _bytes_of_character(first: int) -> int:
    """Return how many bytes a character has in UTF-8, from the first of them."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
