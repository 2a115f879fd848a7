"""Text into token ids of one joint vocabulary, and back.

There are two tokenizers: `Subwords` (SentencePiece) and `Words` (a shortlist, as in the paper).
Each lives in one file of its run's folder. The four special tokens come first in every vocabulary.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dlcli.data.catalogue import EN_FR
from dlcli.data.sentences import split_words
from dlcli.engine.events import NoticeCallback
from dlcli.engine.files import write_whole
from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, ConfigError, DataError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Padding, an unknown word, the beginning and the end of a sentence."""
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
"""How the special tokens are written, by id."""

SPACE = "▁"
"""How a space is written inside a token."""
SUBWORDS_FILE, WORDS_FILE = "tokenizer.model", "tokenizer.json"
"""Files in a run's folder; an export copies what is called `tokenizer*`."""
LEARNT_FROM = 400_000
"""Most sentences to learn subwords from: evenly spaced ones of a larger corpus."""
COVERAGE = 0.9999
"""Share of all characters that get a token of their own; the rarer ones are spelt in bytes."""


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
    if (run.path / SUBWORDS_FILE).is_file():
        return Subwords((run.path / SUBWORDS_FILE).read_bytes())
    if (run.path / WORDS_FILE).is_file():
        return Words.load(run.path / WORDS_FILE)
    raise CheckpointError(
        f"The run {run.path} has lost its vocabulary.",
        hint=f"Put {SUBWORDS_FILE} or {WORDS_FILE} back, or choose another run.",
    )


class Subwords:
    """A SentencePiece vocabulary for both languages, learnt from the training pairs.

    It has byte-pair merges with byte fallback and no normalisation: whatever the text, decoding its
    ids gives it back, unless the vocabulary was asked to lower-case. We write a space before the
    text, so that a sentence's first word is spelt like any other.

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
            raise _not_a_vocabulary(SUBWORDS_FILE)
        self._spelt_space = [self._spm.PieceToId(f"<0x{byte:02X}>") for byte in SPACE.encode()]

    @classmethod
    def learn(
        cls,
        texts: Sequence[str],
        *,
        size: int,
        lowercase: bool = False,
        notice: NoticeCallback = lambda _: None,
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
            raise _no_text()
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


class Words:
    """The most frequent words of each language, one id space for both.

    A word keeps the space before it (`▁agreement`, `.`), so that known words are put together again
    as they stood. All others become one unknown token.

    Args:
        words: by id, the four special tokens first.
        lowercase: whether to see and write lower case only.
        languages: of source and target, whose rules decide what is a word on either side.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        lowercase: bool = False,
        languages: Sequence[str] = EN_FR,
    ) -> None:
        self._words, self._lowercase, self._languages = list(words), lowercase, tuple(languages)
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
            languages = found.get("languages", EN_FR)
            texts = all(isinstance(word, str) for word in [*words, *languages])
            fits = tuple(words[:4]) == SPECIALS and texts
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            fits = False
        if not fits:
            raise _not_a_vocabulary(path)
        return cls(words, lowercase=bool(lowercase), languages=languages)

    @classmethod
    def learn(
        cls,
        source: Sequence[str],
        target: Sequence[str],
        *,
        size: int,
        lowercase: bool = False,
        languages: Sequence[str] = EN_FR,
    ) -> Words:
        """Take the most frequent words of each side, the same for the same sentences.

        Args:
            source, target: sentences of the two languages.
            size: words of each; a word of both has one id.
            lowercase: whether to see and write lower case only.
            languages: of the two sides.

        Raises:
            DataError: there is no text.
        """
        spelt = cls(SPECIALS, lowercase=lowercase, languages=languages)._spelt
        chosen: dict[str, None] = {}
        for texts in (source, target):
            counts = Counter(word for text in texts for word in spelt(text))
            ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            chosen |= dict.fromkeys(word for word, _ in ranked[:size])
        if not chosen:
            raise _no_text()
        return cls([*SPECIALS, *chosen], lowercase=lowercase, languages=languages)

    @property
    def size(self) -> int:
        """Return the number of tokens, the special ones included."""
        return len(self._words)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without BOS and EOS."""
        return [self._id(word) for word in self._spelt(text)]

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
        places = split_words(text, *self._languages)
        return [
            Piece(id=self._id(word), text=word, start=place.start, end=place.end)
            for word, place in zip(self._spelt(text), places, strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write the shortlist into a run's folder."""
        content = {"words": self._words, "lowercase": self._lowercase}
        if set(self._languages) != set(EN_FR):
            content["languages"] = list(self._languages)
        write_whole(folder / WORDS_FILE, json.dumps(content, ensure_ascii=False).encode())

    def _id(self, word: str) -> int:
        found = self._ids.get(word, UNK)
        return found if found >= len(SPECIALS) else UNK  # "<unk>" in a text is not a word of ours

    def _spelt(self, text: str) -> list[str]:
        """Write each word of a text with the space before it."""
        found = split_words(text, *self._languages)
        behind = [0, *(word.end for word in found)]
        return [
            (SPACE if i == 0 or word.start > before else "")
            + (word.text.lower() if self._lowercase else word.text)
            for i, (word, before) in enumerate(zip(found, behind, strict=False))
        ]


def _no_text() -> DataError:
    return DataError(
        "The training pairs hold no text to learn a vocabulary from.",
        hint="Check the files given to --data.",
    )


def _not_a_vocabulary(path: Path | str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a vocabulary of this program.", hint="Choose another run, or train again."
    )
