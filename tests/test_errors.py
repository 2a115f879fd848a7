"""The exceptions a user can cause."""

from __future__ import annotations

import copy
import pickle

import pytest

from dlcli import errors
from dlcli.errors import DlError, nearest

KINDS = {
    errors.RunFailed: (1, "run"),
    errors.DataError: (1, "data"),
    errors.CheckpointError: (1, "checkpoint"),
    errors.UsageFault: (2, "usage"),
    errors.ConfigError: (2, "config"),
    errors.CheckFailed: (3, "check"),
    errors.Interrupted: (130, "interrupted"),
}


def test_every_error_has_its_documented_exit_code_and_kind() -> None:
    assert set(DlError.__subclasses__()) == set(KINDS)
    for kind, expected in KINDS.items():
        assert (kind.exit_code, kind.kind) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_keeps_its_words_on_its_way_between_processes(kind: type[DlError]) -> None:
    error = kind("It is broken.", hint="Mend it.")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert (other.message, other.hint, str(other)) == (
            "It is broken.",
            "Mend it.",
            "It is broken.",
        )


def test_without_a_hint_there_is_none() -> None:
    assert DlError("It is broken.").hint == ""


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


def test_nothing_is_near_where_there_is_nothing() -> None:
    assert nearest("a", []) == ""
    assert nearest("a", iter(["a"])) == "did you mean 'a'?"
