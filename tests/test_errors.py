"""The exceptions a user can cause."""

from __future__ import annotations

import copy
import pickle

import pytest

from dlcli.errors import DlError, nearest


@pytest.mark.parametrize("kind", DlError.__subclasses__())
def test_an_error_keeps_its_words_on_its_way_between_processes(kind: type[DlError]) -> None:
    error = kind("It is broken.", hint="Mend it.")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert (other.message, other.hint, str(other)) == (
            "It is broken.",
            "Mend it.",
            "It is broken.",
        )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("latent-dmi", "did you mean 'latent-dim'?"),
        ("latent-dim", "did you mean 'latent-dim'?"),
        ("epoch", "did you mean 'epochs'?"),
        ("zzzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_choice_is_suggested(word: str, expected: str) -> None:
    assert nearest(word, ["latent-dim", "epochs"]) == expected
