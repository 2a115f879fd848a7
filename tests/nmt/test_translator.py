"""Translating: order, batches, threads, and lines of every kind."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dlcli.engine.device import prepare
from dlcli.engine.settings import ComputeConfig, Precision
from dlcli.errors import RunFailed
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.search import Hypothesis, search
from dlcli.nmt.text import one_line
from dlcli.nmt.tokenizer import EOS
from dlcli.nmt.translator import WIDTH, Translator, batches_of, run_in_threads, width_of
from tests.engine.toy import needs_bf16
from tests.nmt.toy import pairs, tiny_trained

Between = Callable[[], None]


@pytest.mark.parametrize("threads", [1, 2, 9])
@pytest.mark.parametrize("tasks", [0, 1, 7])
def test_answers_come_in_order(threads: int, tasks: int) -> None:
    def work(task: int, between: Between) -> int:
        between()
        time.sleep(0.001 * (task % 3))
        return 10 * task

    assert run_in_threads(work, range(tasks), threads=threads) == [
        10 * task for task in range(tasks)
    ]


def test_each_worker_has_one_thread_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    seen = run_in_threads(lambda *_: torch.get_num_threads(), range(4), threads=2)
    assert seen == [1] * 4
    assert torch.get_num_threads() == before


def test_a_failure_ends_the_others() -> None:
    begun: list[int] = []

    def work(task: int, between: Between) -> None:
        begun.append(task)
        if task == 1:
            raise ValueError("one has failed")
        while True:
            between()
            time.sleep(0.001)

    with pytest.raises(ValueError, match="one has failed"):
        run_in_threads(work, range(9), threads=2)
    assert len(begun) <= 3  # one more may begin before the failure is seen


def test_ctrl_c_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def work(task: int, between: Between) -> None:
        while True:
            between()
            time.sleep(0.001)

    monkeypatch.setattr("dlcli.nmt.translator.wait", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_in_threads(work, range(9), threads=2)
    assert threading.active_count() == before


LINES = [*pairs(0, 9).source, "", "The cat sees the dog here. The king hears the bird.", "The"]
SHORT = SearchConfig(beam_size=3, max_length=6, batch_size=4)


def test_answers_come_in_order_whatever_the_batch(translator: Translator) -> None:
    together = translator.translate(LINES, config=SHORT)
    assert [one.source for one in together] == LINES
    alone = [translator.translate([line], config=SHORT)[0] for line in LINES]
    turned = translator.translate(LINES[::-1], config=replace(SHORT, batch_size=100))[::-1]
    for others in (alone, turned):
        for one, other in zip(together, others, strict=True):
            assert (one.source, one.translation) == (other.source, other.translation)
            assert one.score == pytest.approx(other.score, abs=1e-5)


def test_says_what_search_found_each_text_once(translator: Translator) -> None:
    config = replace(SHORT, beam_size=8)
    (one,) = translator.translate(["The cat"], config=config, n_best=7)
    ids = [*translator.trained.tokenizer.encode("The cat"), EOS]
    (wanted,) = search(
        translator.model, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool),
        beam_size=8, n_best=8, max_length=6,
    )  # fmt: skip
    best: dict[str, Hypothesis] = {}
    for hypothesis in wanted:
        best.setdefault(one_line(translator.tokenizer.decode(hypothesis.ids)), hypothesis)
    assert 1 < len(best) < 8
    assert [found.translation for found in one.candidates] == list(best)
    for found, hypothesis in zip(one.candidates, best.values(), strict=True):
        assert found.score == pytest.approx(hypothesis.score, abs=1e-5)
        assert found.log_prob == pytest.approx(hypothesis.log_prob, abs=1e-5)
        assert found.finished == hypothesis.finished
    assert one.translation == one.candidates[0].translation
    assert one.score == one.candidates[0].score


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_bf16)])
def test_answers_do_not_depend_on_threads(tmp_path: Path, precision: Precision) -> None:
    trained, lines = tiny_trained(tmp_path / "run"), LINES * 3
    found = []
    for threads in (1, 2, 3):
        place = prepare(ComputeConfig(device="cpu", precision=precision))
        translator = Translator(trained, compute=replace(place, threads=threads))
        found.append(translator.translate(lines, config=SHORT, n_best=2))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert one.translation == other.translation
            assert one.score == pytest.approx(other.score, abs=1e-5)


@pytest.mark.parametrize("line", ["", "  ", "\t", "\x00", "\ufeff"])
def test_blank_lines_stay_blank(translator: Translator, line: str) -> None:
    (one,) = translator.translate([line])
    assert (one.source, one.translation, one.score, one.parts) == (line, "", 0.0, 0)


@pytest.mark.parametrize(
    "line",
    ["🙂", "שלום עולם", "\x00The\x00cat", "汉字", "e\u0301", "The\ncat", "a" * 3000, "▁", "..."],
)
def test_any_line_has_a_translation_of_one_line(translator: Translator, line: str) -> None:
    (one,) = translator.translate([line], config=replace(SHORT, beam_size=1, max_length=20))
    assert one.source == line
    assert len(one.translation.splitlines()) <= 1
    assert math.isfinite(one.score)


def test_long_lines_are_translated_in_parts(translator: Translator) -> None:
    line = "The cat sees the dog here. " * 90
    (one,) = translator.translate([line], config=replace(SHORT, beam_size=1))
    (part,) = translator.translate(
        ["The cat sees the dog here."], config=replace(SHORT, beam_size=1)
    )
    assert one.parts == 90
    assert one.translation == " ".join([part.translation] * 90)
    assert one.score == pytest.approx(part.score, abs=1e-4)


def test_sentences_of_one_width_stand_together_and_fewer_of_long_ones() -> None:
    lengths = [3, 40, 7, 0, 6, 8, 5, 1000]
    batches = list(batches_of(lengths, size=3))
    assert sorted(place for batch in batches for place in batch) == list(range(8))
    assert batches == [[3, 0, 6], [4, 2], [5], [1], [7]]
    assert all(len({width_of(lengths[place]) for place in batch}) == 1 for batch in batches)
    assert [width_of(tokens) for tokens in (0, WIDTH - 1, WIDTH)] == [WIDTH, WIDTH, 2 * WIDTH]
    assert [len(batch) for batch in batches_of([1000] * 3, size=16)] == [2, 1]
    assert [len(batch) for batch in batches_of([5000] * 2, size=16)] == [1, 1]


def test_a_single_string_is_a_mistake(translator: Translator) -> None:
    with pytest.raises(TypeError, match=r"translate\(\[text\]\)"):
        translator.translate("The cat")


@pytest.mark.parametrize("beam", [1, 3])
def test_a_model_that_diverged_is_refused(tmp_path: Path, beam: int) -> None:
    trained = tiny_trained(tmp_path / "run")
    with torch.no_grad():
        trained.model.output_bias.fill_(math.nan)
    translator = Translator(trained)
    with pytest.raises(RunFailed, match="are no numbers"):
        translator.translate(["The cat"], config=replace(SHORT, beam_size=beam))
