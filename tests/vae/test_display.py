"""A training in words: every number, its error, and what to make of it."""

from __future__ import annotations

import dataclasses

from dlcli.vae.display import trained_facts, trained_table, winner_words
from dlcli.vae.trained import TestResult, TrainResult

RESULT = TrainResult(
    run="/tmp/runs/one",
    data="glyphs:40",
    arch="mlp",
    epochs=2,
    images_per_s=1234.5,
    train_s=3.0,
    test=TestResult(
        elbo=-101.2345, reconstruction=76.0, kl=25.2345, std_error=0.05, iwae=-98.0, images=40
    ),
    active_units=2,
    kl_per_dim=(1.0, 2.0, 0.0),
    reason="done",
    signature="data:glyphs:40|version:x",
)


def test_one_training_says_value_error_unit_and_signature() -> None:
    table = trained_facts(RESULT)
    text = "\n".join(table.lines())
    assert "-101.23 ± 0.05 nats" in text
    assert "2 of 3" in text
    assert "1,234 images/s" in text or "1,235 images/s" in text
    assert table.signatures == RESULT.signature


def test_several_trainings_are_a_line_each() -> None:
    other = dataclasses.replace(RESULT, run="/tmp/runs/two", active_units=3)
    table = trained_table({"seed-0": RESULT, "seed-1": other}, what="seed")
    lines = table.lines()
    assert lines[0].startswith("seed")
    assert len(lines) == 3
    assert lines[2].endswith("/tmp/runs/two")
    assert table.signatures == {"seed-0": RESULT.signature, "seed-1": RESULT.signature}


def test_a_winner_is_named_only_where_intervals_are_apart() -> None:
    def trained(elbo: float, error: float | None) -> TrainResult:
        test = dataclasses.replace(RESULT.test, elbo=elbo, std_error=error)
        return dataclasses.replace(RESULT, test=test)

    results = {"a": trained(-211.0, 3.0), "b": trained(-207.0, 3.0), "c": trained(-300.0, 3.0)}
    words, close = winner_words(results)
    assert close == ["a"]
    assert words.startswith("no clear winner: the intervals of b and a overlap")
    apart = {"a": trained(-230.0, 3.0), "b": trained(-207.0, 3.0)}
    assert winner_words(apart) == ("highest test ELBO: b", [])
    assert winner_words({"a": trained(-9.0, None), "b": trained(-8.0, None)})[1] == []
