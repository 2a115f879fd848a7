"""Translators that the tests share and none changes."""

from __future__ import annotations

import pytest

from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from tests.nmt.toy import tiny_trained


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of random weights, from English into French."""
    return tiny_trained(tmp_path_factory.mktemp("en-fr") / "run")


@pytest.fixture(scope="session")
def backward(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of the other direction."""
    return tiny_trained(tmp_path_factory.mktemp("fr-en") / "run", direction="fr-en", seed=1)


@pytest.fixture(scope="session")
def translator(trained: Trained) -> Translator:
    """The first one at work."""
    return Translator(trained)
