from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dlcli import pretrained
from dlcli.assignment import evidence
from dlcli.assignment import evidence as divergence
from dlcli.assignment import evidence as sampling
from dlcli.assignment import layernorm as norms
from dlcli.assignment import vae as bounds
from dlcli.assignment.lab import FULL, STAND_IN, Lab, packaged
from dlcli.assignment.question import Question
from dlcli.errors import ConfigError


def test_packaged_models_come_with_the_usual_one_first() -> None:
    assert packaged("vae")[0] == pretrained.DEFAULTS["vae"]
    assert set(packaged("vae") + packaged("nmt")) <= set(pretrained.names())


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
    bare, needy = lab.inputs(()), lab.inputs(("vae", "nmt", "images"))
    assert set(needy) - set(bare) == {"vae", "nmt", "images"}
    assert dataclasses.replace(lab, seed=5).inputs(()) != bare
    assert set(needy["vae"]) == set(packaged("vae"))  # type: ignore[call-overload]


def test_a_full_report_does_not_depend_on_packaged_models(lab: Lab) -> None:
    assert "vae" not in dataclasses.replace(lab, sizes=FULL).inputs(("vae", "nmt"))


def test_a_full_report_trains_on_what_there_is_by_its_true_name(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = dataclasses.replace(lab, sizes=FULL, data="auto")
    assert full.vae_config({}).data.name == "glyphs"
    assert full.inputs(())["trained-on"] == "glyphs"
    monkeypatch.setattr("dlcli.assignment.lab.true_name", lambda *_, **__: "mnist")
    later = dataclasses.replace(full)
    assert later.vae_config({}).data.name == "mnist"
    assert later.inputs(())["trained-on"] == "mnist"
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


@pytest.mark.parametrize(
    "question",
    [sampling.SAMPLING, divergence.DIVERGENCE, evidence.EVIDENCE, bounds.BOUNDS, norms.EQUATIONS],
)
def test_printed_commands_name_a_seed_that_is_not_the_usual_one(
    question: Question, lab: Lab
) -> None:
    commands = question.answer(dataclasses.replace(lab, seed=7)).commands
    assert commands
    assert all(command.endswith(" --seed 7") for command in commands)
    assert lab.and_seed == ""
