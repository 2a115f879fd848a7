"""Lines as people type them, made like those that a model was trained on; and back."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]+")


def tidy(line: str) -> str:
    """Return a line in NFC, without control characters and with single spaces between words."""
    return " ".join(unicodedata.normalize("NFC", _CONTROL.sub(" ", line)).split())


def one_line(text: str) -> str:
    """Return what a model wrote on one line: spelt in bytes, it may hold line ends."""
    return _CONTROL.sub(" ", text).strip()
