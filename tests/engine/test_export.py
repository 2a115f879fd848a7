"""An exported run is used like the run itself, carries no training state, and says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcli.data.catalogue import describe
from dlcli.engine.config import resolve
from dlcli.engine.export import card, export_run
from dlcli.engine.runs import RunFolder, find_run
from dlcli.engine.session import RunLocation
from dlcli.engine.trainer import train_once
from dlcli.errors import UsageFault
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.trained import load_trained
from dlcli.vae.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    settings = {
        "model": {"arch": "conv", "latent_dim": 3, "channels": [3, 5, 5, 7]},
        "data": {"name": "glyphs:96:0"},
        "loop": {"epochs": 1},
        "snapshots": [],
    }
    location = RunLocation(out=tmp_path_factory.mktemp("runs") / "small")
    result = train_once(resolve(VaeTrainConfig, [settings]), train=train, location=location)
    assert result is not None
    return RunFolder(Path(result.run))


def test_it_decodes_as_the_run_does(run: RunFolder, tmp_path: Path) -> None:
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    original = load_trained(run).model.decode(z)
    for half, tolerance in ((True, 1e-2), (False, 0.0)):
        out = tmp_path / f"half-{half}"
        export_run(run, out=out, describe_data=describe, half=half)
        found = load_trained(find_run(str(out), kind="vae"))
        assert found.checkpoint == "exported"
        torch.testing.assert_close(found.model.decode(z), original, rtol=0, atol=tolerance)


def test_it_holds_weights_settings_record_and_card_only(run: RunFolder, tmp_path: Path) -> None:
    done = export_run(run, out=tmp_path / "out", describe_data=describe)
    names = {path.name for path in (tmp_path / "out").rglob("*")} - {".lock"}
    assert names == {"README.md", "config.yaml", "model.safetensors", "run.json"}
    assert done.size < run.checkpoint().stat().st_size / 4
    assert str(run.path.parent) not in "".join(
        file.read_text() for file in done.files if file.suffix != ".safetensors"
    )


def test_the_command_is_as_anyone_would_type_it(run: RunFolder, tmp_path: Path) -> None:
    words = [
        "/home/me/bin/dl",
        "vae",
        "train",
        "--out",
        "/home/me/x",
        "--seed",
        "2",
        "--out=/home/y",
    ]
    run.update_record(command=words)
    done = export_run(run, out=tmp_path / "out", describe_data=describe)
    assert RunFolder(done.folder).record()["command"] == ["dl", "vae", "train", "--seed", "2"]
    assert "`dl vae train --seed 2`" in (done.folder / "README.md").read_text()


def test_the_card_names_data_licence_signature_and_metrics(run: RunFolder, tmp_path: Path) -> None:
    card = (
        export_run(run, out=tmp_path / "out", describe_data=describe).folder / "README.md"
    ).read_text()
    record = run.record()
    for part in ("glyphs:96: digits", "licence: ", record["signature"], "| elbo |"):
        assert part in card


def test_the_card_names_every_corpus_of_a_joined_one() -> None:
    text = card(
        record={"result": {"data": "europarl-dev500k+tatoeba"}}, half=True, describe_data=describe
    )
    line = next(line for line in text.splitlines() if line.startswith("- **Data:**"))
    assert "europarl-dev500k: " in line
    assert "; and tatoeba: " in line
    assert "CC BY 2.0 FR" in line


def test_an_existing_folder_is_refused(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UsageFault, match="exists already"):
        export_run(run, out=tmp_path, describe_data=describe)
    assert (tmp_path / "kept").read_text() == "mine"


def test_a_folder_that_is_no_known_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    with pytest.raises(UsageFault, match="what kind of run"):
        export_run(RunFolder(tmp_path), out=tmp_path / "out", describe_data=describe)


def test_the_card_names_the_commands_that_a_training_was_gone_on_with() -> None:
    again = {"command": ["/bin/dl", "vae", "train", "--resume", "/home/me/runs/a", "--epochs", "3"]}
    record = {"command": ["dl", "vae", "train"], "resumed": [again, again, "no mapping"]}
    said = card(record=record, half=True, describe_data=describe)
    assert said.count("`dl vae train --epochs 3 --resume RUN`") == 1
    assert "/home/me" not in said
    assert "Gone on with" not in card(record={"resumed": 7}, half=True, describe_data=describe)
