"""A full report as small as it can be: every question answered by models trained for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dlcli.assignment.catalogue import QUESTIONS
from dlcli.assignment.lab import Cache, Lab, answered
from dlcli.engine.config import merge
from dlcli.nmt.config import NmtTrainConfig
from tests.assignment.answers import numbers
from tests.assignment.conftest import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SMALL = {
    "data": {"train_pairs": 60, "vocabulary": 300, "validation": 12},
    "model": {"embedding": 8, "encoder_hidden": 4, "hidden": 8, "attention_size": 4},
    "loop": {"epochs": 1, "batch_size": 30},
}


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab that trains all it needs, in miniature."""
    whole = Lab.translator_config

    def small(self: Lab, changes: Mapping[str, Any]) -> NmtTrainConfig:
        return whole(self, merge(SMALL, changes))

    monkeypatch.setattr(Lab, "translator_config", small)
    sizes = dataclasses.replace(
        TINY, mode="full", trained_here=True, grid_images=40, beam_size=2, judge_images=20
    )
    return Lab(sizes=sizes, runs=tmp_path / "runs", data="glyphs:120", offline=True, threads=1)


def test_every_question_is_answered_by_what_was_trained_for_it(full: Lab, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    sections = list(answered(QUESTIONS, full, cache=cache))
    assert [(section.question.number, section.failure) for section in sections] == [
        (question.number, "") for question in QUESTIONS
    ]
    for section in sections:
        answer = section.answer
        assert answer is not None
        assert numbers(answer), section.question.number
        assert "pretrained:" not in " ".join(answer.commands), section.question.number
    trained = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "runs").iterdir()}
    assert {"vae-mlp", "vae-conv", "nmt", "nmt-none"} <= trained
    again = answered(QUESTIONS, full, cache=cache)
    assert all(section.kept for section in again)
