"""Text cut into tokens as Moses's tokenizer does, to compare with older papers' BLEU.

The tokenizer comes from sacremoses, which is no dependency of this package: without it there is no
tokenised BLEU. Scores of tokenised text depend on the tokenizer and are only comparable among
themselves: in French "l' homme" counts as two tokens here and as one in sacreBLEU's 13a.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata, util


def moses_available() -> bool:
    """Say whether sacremoses is installed."""
    return util.find_spec("sacremoses") is not None


def moses_tokenized(lines: Sequence[str], *, language: str, lowercase: bool = False) -> list[str]:
    """Cut lines into tokens, a space between each two.

    Args:
        lines: running text.
        language: `en` or `fr`.
        lowercase: before it is cut, as usual.

    Raises:
        ModuleNotFoundError: sacremoses is not installed.
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer, tokenizer = MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)
    found = []
    for line in lines:
        text = normalizer.normalize(line.lower() if lowercase else line)
        found.append(str(tokenizer.tokenize(text, escape=False, return_str=True)))
    return found


def moses_version() -> str:
    """Return the version of sacremoses, for signatures."""
    return metadata.version("sacremoses")
