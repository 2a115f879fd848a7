"""The words of finished trainings of translators."""

from __future__ import annotations

import dataclasses

from dlcli.nmt.display import translator_facts, translators_table
from tests.nmt.test_result import RESULT


def test_one_training_says_values_units_and_signature() -> None:
    table = translator_facts(RESULT)
    text = "\n".join(table.lines())
    for words in ("1.5000 nats a token", "2.5000 nats a token", "30.00 (greedy)", "tokens/s"):
        assert words in text
    assert table.signatures == RESULT.signature


def test_several_trainings_are_a_line_each() -> None:
    other = dataclasses.replace(RESULT, run="/runs/y", valid=None)
    lines = translators_table({"seed-0": RESULT, "seed-1": other}, what="seed").lines()
    assert lines[0].startswith("seed")
    assert "30.00" in lines[1]
    assert "–" in lines[2]


def test_without_validation_there_are_no_scores() -> None:
    text = "\n".join(translator_facts(dataclasses.replace(RESULT, valid=None)).lines())
    assert "BLEU" not in text
