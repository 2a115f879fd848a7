"""The report: answers kept and found again, questions that fail, models and trainings at hand."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dlcli.assignment.lab import (
    FULL,
    QUICK,
    STAND_IN,
    Lab,
    package_stamp,
    stored_result,
    stored_signature,
    stored_test,
)
from dlcli.assignment.question import Answer, Figure, Number, Question, drawn, read_answer
from dlcli.assignment.report import QUESTIONS, UNUSED_S, Cache, answered, select
from dlcli.assignment.vae import stored_loss
from dlcli.display.console import to_json
from dlcli.display.plots import Line, lines
from dlcli.engine.config import merge
from dlcli.engine.runs import RunFolder
from dlcli.errors import ConfigError, DataError, Interrupted, UsageFault
from dlcli.nmt.config import NmtTrainConfig
from tests.assignment.conftest import TINY
from tests.assignment.test_questions import numbers

KEY = {"question": 1, "seed": 0}


def _answer(value: float = 1.0) -> Answer:
    number = Number("n", value, "", "s")
    return Answer(words=("w",), numbers=(number,), figures=(), commands=("dl env",))


def _keep(cache: Cache, answer: Answer) -> None:
    cache.keep(KEY, to_json(answer))


def test_an_answer_is_found_under_what_it_was_made_from(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.find(KEY) is None
    _keep(cache, _answer())
    assert cache.find(KEY) == _answer()
    assert cache.find({**KEY, "seed": 1}) is None
    assert Cache(tmp_path, fresh=True).find(KEY) is None


def test_a_damaged_answer_counts_for_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    _keep(cache, _answer())
    (file,) = cache.folder.glob("answers/*")
    whole = file.read_text()
    file.write_text(whole[:-20])
    assert cache.find(KEY) is None
    assert '"words": ["w"]' in whole
    file.write_text(whole.replace('"w"', '"v"'))  # of the right shape, and not what was kept
    assert cache.find(KEY) is None
    file.write_text(whole)
    assert cache.find(KEY) == _answer()


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file")
    _keep(cache, _answer())
    assert cache.find(KEY) is None


def test_what_another_version_left_and_no_longer_uses_is_swept_away(tmp_path: Path) -> None:
    old, used = tmp_path / "0.0.1-1-abc", tmp_path / "0.0.2-1-abc"
    for folder in (old, used):
        (folder / "runs").mkdir(parents=True)
    long_ago = time.time() - 2 * UNUSED_S
    os.utime(old / "runs", (long_ago, long_ago))
    os.utime(old, (long_ago, long_ago))
    os.utime(used, (long_ago, long_ago))
    cache = Cache(tmp_path)
    _keep(cache, _answer())
    cache.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {package_stamp(), used.name}
    assert cache.find(KEY) is not None


def test_a_new_answer_reads_like_a_kept_one(lab: Lab, tmp_path: Path) -> None:
    infinite = dataclasses.replace(_question(1, []), answer=lambda _: _answer(math.inf))
    new, kept = (next(answered([infinite], lab, cache=Cache(tmp_path))).answer for _ in range(2))
    assert new == kept
    assert kept is not None
    assert kept.numbers[0].value is None


def test_a_model_away_from_home_says_so(lab: Lab) -> None:
    away = dataclasses.replace(lab, data="auto").subjects[0]
    assert away.trained.config.data.name == STAND_IN
    assert away.own == "mnist"
    assert "dl data fetch mnist" in away.note
    signature = "data:glyphs|version:dlcli-0"
    assert away.signed(signature) == "data:glyphs|trained-on:mnist|version:dlcli-0"


def test_a_training_is_done_once(lab: Lab) -> None:
    first = lab.published("mlp")
    config = Path(first.run, "config.yaml")
    before = config.stat().st_mtime_ns
    again = lab.published("mlp")
    assert (again.test, again.run) == (first.test, first.run)
    assert config.stat().st_mtime_ns == before
    assert first.data == "glyphs:70"
    subject = lab.subjects[0]
    assert subject.signed("a|version:b") != subject.signed("a|version:c")


def test_what_an_answer_depends_on(lab: Lab) -> None:
    for change in ({"seed": 5}, {"data": "auto"}, {"sizes": QUICK}, {"threads": 2}):
        assert dataclasses.replace(lab, **change).inputs != lab.inputs, change  # type: ignore[arg-type]


def test_the_usual_model_comes_first(lab: Lab) -> None:
    names = [subject.name for subject in lab.subjects]
    assert names[0] == "pretrained:vae-conv"
    assert set(names) == {f"pretrained:{name}" for name in ("vae-best", "vae-conv", "vae-mlp")}


def test_a_full_report_trains_on_what_there_is_by_its_true_name(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = dataclasses.replace(lab, sizes=FULL, data="auto")
    assert full.vae_config({}).data.name == "glyphs"
    assert full.inputs["trained-on"] == "glyphs"
    monkeypatch.setattr("dlcli.assignment.lab.true_name", lambda *_, **__: "mnist")
    later = dataclasses.replace(full)
    assert later.vae_config({}).data.name == "mnist"
    assert later.inputs["trained-on"] == "mnist"
    places = {one.folder("vae", one.vae_config({})) for one in (full, later)}
    assert len(places) == 2


def test_trainings_of_other_code_are_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lab.folder("vae", lab.vae_config({}))
    monkeypatch.setattr("dlcli.assignment.lab.package_stamp", lambda: "later")
    assert lab.folder("vae", lab.vae_config({})) != before


def test_an_unknown_data_set_is_refused(lab: Lab) -> None:
    assert lab.has("glyphs:20")
    assert not lab.has("mnist")
    with pytest.raises(ConfigError):
        lab.has("mnits")


def test_full_is_nowhere_smaller_than_quick() -> None:
    for name in ("epochs", "eval_images", "eval_k", "grid_epochs", "gradient_samples"):
        assert getattr(FULL, name) > getattr(QUICK, name), name


def test_only_full_trains_the_published_models() -> None:
    assert (QUICK.trained_here, FULL.trained_here) == (False, True)
    assert QUICK.train_data.startswith("glyphs")


def _run(folder: Path, **fields: object) -> RunFolder:
    (folder / "run.json").write_text(json.dumps(fields))
    return RunFolder(folder)


def test_reads_what_a_training_left(tmp_path: Path) -> None:
    test = {"elbo": -90.0, "reconstruction": 70.0, "kl": 20.0, "std_error": 0.2}
    run = _run(tmp_path, result={"test": test, "signature": "s"})
    assert stored_test(run) == test
    (loss,) = stored_loss(run, name="n", reference="r")
    assert (loss.value, loss.error, loss.signature) == (90.0, 0.2, "s")


def test_says_nothing_where_nothing_was_stored(tmp_path: Path) -> None:
    run = _run(tmp_path, signature="only")
    assert stored_result(run) == {}
    assert stored_signature(run) == "only"
    assert list(stored_loss(run, name="n")) == []
    assert stored_test(_run(tmp_path, result={"test": {"elbo": 1}})) is None


def _question(number: int, calls: list[int], *, error: BaseException | None = None) -> Question:
    def answer(_: Lab) -> Answer:
        calls.append(number)
        if error is not None:
            raise error
        return Answer(words=("w",), numbers=(), figures=(), commands=("dl env",))

    return Question(number=number, chapter="c", title="t", asks="a?", answer=answer)


def test_a_second_walk_only_redoes_what_changed(lab: Lab, tmp_path: Path) -> None:
    calls: list[int] = []
    questions, cache = [_question(1, calls), _question(2, calls)], Cache(tmp_path)
    first = list(answered(questions, lab, cache=cache))
    second = list(answered(questions, lab, cache=cache))
    assert calls == [1, 2]
    assert [section.kept for section in (*first, *second)] == [False, False, True, True]
    assert [one.answer for one in first] == [one.answer for one in second]
    list(answered(questions, dataclasses.replace(lab, seed=1), cache=cache))
    assert calls == [1, 2, 1, 2]


@pytest.mark.parametrize(
    "error", [DataError("MNIST is not here.", hint="Fetch it."), ValueError("odd"), OSError("disk")]
)
def test_a_section_that_fails_says_so_and_the_rest_stands(
    lab: Lab, tmp_path: Path, error: Exception
) -> None:
    calls: list[int] = []
    questions = [_question(1, calls, error=error), _question(2, calls)]
    failed, done = answered(questions, lab, cache=Cache(tmp_path))
    assert failed.answer is None
    assert str(error) in failed.failure
    assert failed.hint
    assert done.answer is not None
    list(answered(questions, lab, cache=Cache(tmp_path)))
    assert calls == [1, 2, 1], "a failure is no answer to keep"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Interrupted("Interrupted.", hint="")])
def test_an_interruption_keeps_what_was_answered(
    lab: Lab, tmp_path: Path, stop: BaseException
) -> None:
    calls: list[int] = []
    questions = [_question(1, calls), _question(2, calls, error=stop)]
    with pytest.raises(Interrupted, match="1 of 2 sections"):
        list(answered(questions, lab, cache=Cache(tmp_path)))
    assert next(answered(questions[:1], lab, cache=Cache(tmp_path))).kept


def test_an_answer_comes_back_from_json_as_it_was() -> None:
    answer = Answer(
        words=("One.", "Two."),
        formula="a = b",
        numbers=(
            Number("a", 1.5, "", "s", error=0.1),
            Number("b", None, "", "s", ci95=(0.0, None), reference="r"),
        ),
        figures=(Figure(svg="<svg/>", alt="a", caption="c", is_picture=True),),
        commands=("dl env",),
        notes=("n",),
    )
    assert read_answer(to_json(answer)) == answer


def test_the_same_figure_has_the_same_text() -> None:
    def text() -> str:
        line = Line(name="a", x=[1, 2], y=[1, 3])
        return drawn(lambda path: lines(path, [line], x_label="x", y_label="y"))

    assert "<svg" in text()
    assert text() == text()


def test_all_questions_where_none_is_named() -> None:
    assert select(QUESTIONS, []) == list(QUESTIONS)


def test_those_named_in_the_order_of_the_catalogue() -> None:
    assert [question.number for question in select(QUESTIONS, [12, 2, 2])] == [2, 12]


def test_an_unknown_section_names_those_there_are() -> None:
    with pytest.raises(UsageFault, match="no section 17") as caught:
        select(QUESTIONS, [17])
    assert "1, 2, 3" in caught.value.hint


def test_the_sixteen_questions_stand_in_order() -> None:
    assert [question.number for question in QUESTIONS] == list(range(1, 17))


def test_a_chapter_is_in_one_piece() -> None:
    chapters = [name for name, _ in itertools.groupby(QUESTIONS, lambda question: question.chapter)]
    assert len(chapters) == len(set(chapters)) == 3


def test_every_question_asks_something() -> None:
    assert all(question.asks.endswith("?") and question.title for question in QUESTIONS)


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
        TINY, trained_here=True, grid_images=40, beam_size=2, judge_images=20
    )
    return Lab(sizes=sizes, runs=tmp_path / "runs", data="glyphs:120", offline=True, threads=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
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
