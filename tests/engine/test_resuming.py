"""What must be as it was when a run is gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlcli.engine.config import dump_yaml
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import MAY_CHANGE, check_precision, check_unchanged
from dlcli.errors import ConfigError
from tests.engine.toy import CPU, ToyConfig, make_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    found = make_run(tmp_path / "run")
    found.config_file.write_text(dump_yaml(ToyConfig()))
    return found


def _changed(group: str, **values: Any) -> ToyConfig:
    config = ToyConfig()
    return replace(config, **{group: replace(getattr(config, group), **values)})


def test_the_same_settings_may_go_on(run: RunFolder) -> None:
    check_unchanged(ToyConfig(), run)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("loop", "epochs", 99),
        ("loop", "max_minutes", 1.5),
        ("loop", "checkpoint_minutes", 1.5),
        ("loop", "patience", 7),
        ("compute", "device", "auto"),
        ("compute", "threads", 2),
    ],
)
def test_what_changes_no_step_may_change(
    run: RunFolder, group: str, key: str, value: object
) -> None:
    assert f"{group}.{key}" in MAY_CHANGE
    check_unchanged(_changed(group, **{key: value}), run)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("optim", "lr", 0.5),
        ("optim", "accumulate", 2),
        ("loop", "batch_size", 3),
        ("loop", "evaluate_every", 2),
        ("compute", "seed", 4),
        ("compute", "precision", "bf16"),
    ],
)
def test_what_changes_the_steps_is_refused_by_name(
    run: RunFolder, group: str, key: str, value: object
) -> None:
    with pytest.raises(ConfigError, match=rf"was trained with {group}\.{key} = .*, not {value}\."):
        check_unchanged(_changed(group, **{key: value}), run)


def test_a_setting_at_the_top_is_held_too(run: RunFolder) -> None:
    with pytest.raises(ConfigError, match="trained with size = 3, not 4"):
        check_unchanged(replace(ToyConfig(), size=4), run)


def test_a_setting_that_an_older_version_did_not_have_takes_its_default(run: RunFolder) -> None:
    text = run.config_file.read_text()
    run.config_file.write_text("".join(t for t in text.splitlines(True) if "weight_decay" not in t))
    check_unchanged(ToyConfig(), run)


def test_auto_may_be_spelt_out_as_what_it_was(run: RunFolder) -> None:
    run.config_file.write_text(dump_yaml(_changed("compute", precision="auto")))
    run.update_record(precision="bf16")
    check_unchanged(_changed("compute", precision="bf16"), run)
    with pytest.raises(ConfigError, match=r"compute\.precision = auto, not fp32"):
        check_unchanged(_changed("compute", precision="fp32"), run)


def test_auto_that_means_another_precision_here_is_refused(run: RunFolder) -> None:
    check_precision(CPU, run)
    run.update_record(precision="bf16")
    check_precision(replace(CPU, precision="bf16"), run)
    with pytest.raises(ConfigError, match="was trained in bf16") as failure:
        check_precision(CPU, run)
    assert "--precision bf16" in failure.value.hint
