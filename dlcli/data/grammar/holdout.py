"""Which combinations of words are kept out of training, and so which sentences test what.

A combination is a noun with an adjective or a subject with a verb. A hash of it says where it may
occur: nearly all anywhere, some in the validation set only, some in the test set only. So the test
asks for combinations that were never seen, while each of their words was, in others.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from typing import Literal

from dlcli.data.grammar.meaning import Combination

Split = Literal["train", "valid", "test"]

VALID_PERCENT, TEST_PERCENT = 4, 8
ALWAYS_TEST: frozenset[Combination] = frozenset({("agreement", "sign")})
"""Combinations of the sentence that the attention's inventors showed: see `FAMOUS`."""


@functools.cache
def split_of(combination: Combination) -> Split:
    """Return where a combination may occur: "train" means everywhere."""
    if combination in ALWAYS_TEST:
        return "test"
    place = zlib.crc32("|".join(combination).encode()) % 100
    if place < TEST_PERCENT:
        return "test"
    return "valid" if place < TEST_PERCENT + VALID_PERCENT else "train"


def split_of_all(combinations: Iterable[Combination]) -> Split | None:
    """Return the one split that a sentence with these combinations belongs to.

    That is training where none is held out, nowhere (None) where both other splits claim it.
    """
    claims = {split_of(combination) for combination in combinations} - {"train"}
    if len(claims) > 1:
        return None
    return claims.pop() if claims else "train"
