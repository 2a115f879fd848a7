"""Checkpoints: what is not exactly what was written is refused in one sentence and runs nothing."""

from __future__ import annotations

import io
import os
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.data.catalogue import describe
from dlcli.engine.checkpoint import (
    EXPORTED,
    FORMAT_VERSION,
    MAGIC,
    card,
    export_run,
    load_checkpoint,
    load_model,
    result_name,
    save_checkpoint,
    save_exported,
)
from dlcli.engine.config import resolve
from dlcli.engine.runs import RunFolder, find_run
from dlcli.engine.session import RunLocation
from dlcli.engine.trainer import train_once
from dlcli.errors import CheckpointError, RunFailed, UsageFault
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.trained import load_trained
from dlcli.vae.training import train
from tests.engine.toy import differences, payload_of, seal

STATE: dict[str, Any] = {
    "model": OrderedDict(weight=torch.arange(15.0).reshape(3, 5), steps=torch.tensor(7)),
    "optimizer": {"state": {0: {"exp_avg": torch.randn(3, 5)}}, "param_groups": [{"lr": 1e-3}]},
    "position": {"epoch": 2, "best": None, "names": ["loss"], "half": 0.5, "ok": True},
    "half": torch.randn(3).to(torch.bfloat16),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE, kind="vae")
    return path


def _entries(payload: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def _zipped(entries: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def _with_pickle(payload: bytes, pickled: bytes) -> bytes:
    entries = _entries(payload)
    name = next(name for name in entries if name.endswith("data.pkl"))
    return _zipped(entries | {name: pickled})


def _refused(path: Path, data: bytes) -> CheckpointError:
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as failure:
        load_checkpoint(path, kind="vae")
    assert str(path) in failure.value.message
    assert failure.value.hint
    return failure.value


def test_what_is_saved_comes_back(saved: Path) -> None:
    assert not differences(load_checkpoint(saved, kind="vae"), STATE)


def test_torch_reads_the_file_directly(saved: Path) -> None:
    assert not differences(torch.load(saved, weights_only=True), STATE)


def test_cut_anywhere_it_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    for length in [0, 1, 7, 11, len(data) // 2, len(data) - 1, *range(50, len(data), 97)]:
        _refused(saved, data[:length])


def test_with_a_flipped_byte_it_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    tail = range(len(data) - 160, len(data))
    for place in [*range(0, len(data), 50), *tail]:
        flipped = bytearray(data)
        flipped[place] ^= 0x11
        _refused(saved, bytes(flipped))


def test_with_something_added_it_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    for changed in (data + b"\0", b"\0" + data, data + data, data + data[-200:]):
        _refused(saved, changed)


def test_of_another_kind_it_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="is of a run of kind vae, not nmt"):
        load_checkpoint(saved, kind="nmt")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, None, "1", {}])
def test_of_another_format_it_is_refused(saved: Path, version: object) -> None:
    failure = _refused(saved, seal(payload_of(saved), format=version))
    assert f"has format {version}, and this dl reads format {FORMAT_VERSION}" in failure.message


@pytest.mark.parametrize("trailer", [b"[]", b"12", b"{", b"\xff\xfe", b"NaN", b'{"format": 1}'])
def test_a_trailer_that_is_none_is_refused(saved: Path, trailer: bytes) -> None:
    ending = trailer + len(trailer).to_bytes(4, "little") + MAGIC
    _refused(saved, payload_of(saved) + ending)


def test_missing_it_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pt cannot be read: No such file"):
        load_checkpoint(tmp_path / "last.pt", kind="vae")
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        load_checkpoint(tmp_path, kind="vae")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a file without an end")
@pytest.mark.timeout(60)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "endless.pt").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "silent.pt")
    for name in ("endless.pt", "silent.pt"):
        with pytest.raises(CheckpointError, match="is not a regular file"):
            load_checkpoint(tmp_path / name, kind="vae")


def test_an_archive_that_unpacks_to_far_more_is_refused(saved: Path) -> None:
    entries = _entries(payload_of(saved))
    name = next(name for name in entries if name.endswith("/data/0"))
    bomb = _zipped(entries | {name: bytes(20_000_000)}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "declares more data than it holds" in _refused(saved, seal(bomb)).message


def test_a_tensor_larger_than_its_storage_is_refused(saved: Path) -> None:
    payload = payload_of(saved)
    entries = _entries(payload)
    pickled = next(data for name, data in entries.items() if name.endswith("data.pkl"))
    small, large = (
        b"K\x03K\x05\x86",
        b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86",
    )  # (3, 5), (2³¹, 2³¹)
    assert small in pickled
    _refused(saved, seal(_with_pickle(payload, pickled.replace(small, large, 1))))


def test_whatever_a_pickle_says_only_one_kind_of_error_comes_out(saved: Path) -> None:
    """The checksum is an attacker's to write; three random bytes of the pickle are changed."""
    payload, noise = payload_of(saved), random.Random(1)
    pickled = next(data for name, data in _entries(payload).items() if name.endswith("data.pkl"))
    refused = 0
    for _ in range(300):
        changed = bytearray(pickled)
        for _ in range(3):
            changed[noise.randrange(len(changed))] = noise.randrange(256)
        saved.write_bytes(seal(_with_pickle(payload, bytes(changed))))
        try:
            load_checkpoint(saved, kind="vae")
        except CheckpointError:
            refused += 1
    assert refused > 200


def test_a_full_disk_leaves_the_previous_checkpoint_good(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed, match="No space left"):
        save_checkpoint(saved, {"model": {"weight": torch.zeros(500)}}, kind="vae")
    assert not differences(load_checkpoint(saved, kind="vae"), STATE)
    assert os.listdir(saved.parent) == [saved.name]


WEIGHTS = {
    "matrix": torch.linspace(-1, 1, 15).reshape(3, 5),
    "bias": torch.tensor([1e-9, 70_000.0]),
    "count": torch.tensor(3),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("size: 3\n")
    return RunFolder(tmp_path)


def test_a_checkpoint_without_a_model_is_refused(run: RunFolder) -> None:
    save_checkpoint(run.checkpoint(), {"config": {}}, kind="toy")
    with pytest.raises(CheckpointError, match="holds no model"):
        load_model(run, kind="toy")


def test_half_precision_is_for_matrices_only(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=True)
    assert result_name(run) == EXPORTED
    found = load_model(run, kind="toy")
    assert found.config == {"size": 3}
    assert torch.equal(found.weights["bias"], WEIGHTS["bias"])
    assert torch.equal(found.weights["count"], WEIGHTS["count"])
    assert found.weights["matrix"].dtype == torch.float32
    assert torch.equal(found.weights["matrix"], WEIGHTS["matrix"].half().float())


def test_tied_weights_are_written(run: RunFolder) -> None:
    shared = torch.ones(3, 5)
    save_exported(run, {"a": shared, "b": shared, "part": shared[:, :2]}, kind="toy", half=False)
    assert torch.equal(load_model(run, kind="toy").weights["b"], shared)


def test_an_export_of_another_kind_or_format_is_refused(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=True)
    with pytest.raises(CheckpointError, match="of kind 'toy'"):
        load_model(run, kind="vae")


@pytest.mark.parametrize("damage", [b"", b"\xff" * 100, b"\x08\0\0\0\0\0\0\x7f{}"])
def test_a_damaged_export_is_refused(run: RunFolder, damage: bytes) -> None:
    run.exported_file.write_bytes(damage)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(run, kind="toy")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
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


def test_it_decodes_as_the_run_does(trained: RunFolder, tmp_path: Path) -> None:
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    original = load_trained(trained).model.decode(z)
    for half, tolerance in ((True, 1e-2), (False, 0.0)):
        out = tmp_path / f"half-{half}"
        export_run(trained, out=out, describe_data=describe, half=half)
        found = load_trained(find_run(str(out), kind="vae"))
        assert found.checkpoint == "exported"
        torch.testing.assert_close(found.model.decode(z), original, rtol=0, atol=tolerance)


def test_it_holds_weights_settings_record_and_card_only(trained: RunFolder, tmp_path: Path) -> None:
    done = export_run(trained, out=tmp_path / "out", describe_data=describe)
    names = {path.name for path in (tmp_path / "out").rglob("*")} - {".lock"}
    assert names == {"README.md", "config.yaml", "model.safetensors", "run.json"}
    assert done.size < trained.checkpoint().stat().st_size / 4
    with pytest.raises(UsageFault, match="exists already") as caught:
        export_run(trained, out=tmp_path / "out", describe_data=describe)
    assert caught.value.hint == "Choose another --out."
    assert str(trained.path.parent) not in "".join(
        file.read_text() for file in done.files if file.suffix != ".safetensors"
    )


def test_the_command_is_as_anyone_would_type_it(trained: RunFolder, tmp_path: Path) -> None:
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
    trained.update_record(command=words)
    done = export_run(trained, out=tmp_path / "out", describe_data=describe)
    assert RunFolder(done.folder).record()["command"] == ["dl", "vae", "train", "--seed", "2"]
    assert "`dl vae train --seed 2`" in (done.folder / "README.md").read_text()


def test_the_card_names_data_licence_signature_and_metrics(
    trained: RunFolder, tmp_path: Path
) -> None:
    card = (
        export_run(trained, out=tmp_path / "out", describe_data=describe).folder / "README.md"
    ).read_text()
    record = trained.record()
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


def test_a_folder_that_is_no_known_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    with pytest.raises(UsageFault, match="what kind of run"):
        export_run(RunFolder(tmp_path), out=tmp_path / "out", describe_data=describe)


def test_the_card_names_the_commands_that_a_training_was_resumed_with() -> None:
    again = {"command": ["/bin/dl", "vae", "train", "--resume", "/home/me/runs/a", "--epochs", "3"]}
    record = {"command": ["dl", "vae", "train"], "resumed": [again, again, "no mapping"]}
    said = card(record=record, half=True, describe_data=describe)
    assert said.count("`dl vae train --epochs 3 --resume RUN`") == 1
    assert "/home/me" not in said
    assert "Resumed with" not in card(record={"resumed": 7}, half=True, describe_data=describe)


def test_a_checkpoint_that_a_run_does_not_have_names_those_it_has(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    for name in ("last", "epoch-0010"):
        save_checkpoint(run.checkpoint(name), {"model": {}}, kind="toy")
    with pytest.raises(UsageFault, match="no checkpoint '7'") as caught:
        load_model(run, kind="toy", checkpoint="7")
    assert caught.value.hint == "Choose from epoch-0010, last."
