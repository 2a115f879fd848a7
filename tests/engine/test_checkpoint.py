"""Checkpoints: what is not exactly what was written is refused in one sentence and runs nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.checkpoint import (
    EXPORTED,
    FORMAT_VERSION,
    MAGIC,
    load_checkpoint,
    load_model,
    result_name,
    save_checkpoint,
    save_exported,
)
from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, RunFailed
from tests.engine.toy import differences

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


def _payload(path: Path) -> bytes:
    data = path.read_bytes()
    length = int.from_bytes(data[-len(MAGIC) - 4 : -len(MAGIC)], "little")
    return data[: -len(MAGIC) - 4 - length]


def _seal(payload: bytes, **changed: object) -> bytes:
    """Write a trailer whose checksum agrees, as an attacker would."""
    fields = {
        "format": FORMAT_VERSION,
        "kind": "vae",
        "size": len(payload),
        "sha256": hashlib.sha256(payload).hexdigest(),
    }
    trailer = json.dumps(fields | changed).encode()
    return payload + trailer + len(trailer).to_bytes(4, "little") + MAGIC


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


def test_tensors_go_to_the_device_asked_for(saved: Path) -> None:
    found = load_checkpoint(saved, kind="vae", device="meta")
    assert found["model"]["weight"].device.type == "meta"


def test_the_same_state_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "again.pt", STATE, kind="vae")
    assert (tmp_path / "again.pt").read_bytes() == saved.read_bytes()


def test_a_view_is_saved_without_what_it_is_a_view_of(tmp_path: Path) -> None:
    """torch.save keeps whole storages; an optimiser or network never has such views for long."""
    save_checkpoint(tmp_path / "a.pt", {"w": torch.zeros(1000)[:3].clone()}, kind="vae")
    assert (tmp_path / "a.pt").stat().st_size < 3000


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
    with pytest.raises(CheckpointError, match="is of a vae run, not of a nmt run"):
        load_checkpoint(saved, kind="nmt")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, None, "1", {}])
def test_of_another_format_it_is_refused(saved: Path, version: object) -> None:
    failure = _refused(saved, _seal(_payload(saved), format=version))
    assert f"has format {version}, and this dl reads format {FORMAT_VERSION}" in failure.message


@pytest.mark.parametrize("size", [-1, 0, 10**18, 1.5, True, None, "12"])
def test_a_size_that_does_not_agree_is_refused(saved: Path, size: object) -> None:
    _refused(saved, _seal(_payload(saved), size=size))


@pytest.mark.parametrize("trailer", [b"[]", b"12", b"{", b"\xff\xfe", b"NaN", b'{"format": 1}'])
def test_a_trailer_that_is_none_is_refused(saved: Path, trailer: bytes) -> None:
    ending = trailer + len(trailer).to_bytes(4, "little") + MAGIC
    _refused(saved, _payload(saved) + ending)


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


class Attack:
    """Unpickled by Python's own pickle, this makes a folder named `owned`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("mkdir owned",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_runs_nothing(saved: Path, protocol: int) -> None:
    pickled = pickle.dumps({"model": Attack()}, protocol=protocol)
    failure = _refused(saved, _seal(_with_pickle(_payload(saved), pickled)))
    assert "something other than tensors and plain values" in failure.message
    _refused(saved, _seal(pickled))
    assert not Path("owned").exists()
    pickle.loads(pickled)
    assert Path("owned").exists(), "the attack is a real one"


def test_a_sealed_file_without_a_run_in_it_is_refused(saved: Path) -> None:
    file = io.BytesIO()
    torch.save([1, 2], file)
    assert "holds no run" in _refused(saved, _seal(file.getvalue())).message


def test_an_archive_that_unpacks_to_far_more_is_refused(saved: Path) -> None:
    entries = _entries(_payload(saved))
    name = next(name for name in entries if name.endswith("/data/0"))
    bomb = _zipped(entries | {name: bytes(20_000_000)}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "declares more data than it holds" in _refused(saved, _seal(bomb)).message


def test_a_tensor_larger_than_its_storage_is_refused(saved: Path) -> None:
    payload = _payload(saved)
    entries = _entries(payload)
    pickled = next(data for name, data in entries.items() if name.endswith("data.pkl"))
    small, large = (
        b"K\x03K\x05\x86",
        b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86",
    )  # (3, 5), (2³¹, 2³¹)
    assert small in pickled
    _refused(saved, _seal(_with_pickle(payload, pickled.replace(small, large, 1))))


def test_whatever_a_pickle_says_only_one_kind_of_error_comes_out(saved: Path) -> None:
    """The checksum is an attacker's to write; three random bytes of the pickle are changed."""
    payload, noise = _payload(saved), random.Random(1)
    pickled = next(data for name, data in _entries(payload).items() if name.endswith("data.pkl"))
    refused = 0
    for _ in range(300):
        changed = bytearray(pickled)
        for _ in range(3):
            changed[noise.randrange(len(changed))] = noise.randrange(256)
        saved.write_bytes(_seal(_with_pickle(payload, bytes(changed))))
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


# -- Weights come back from checkpoints and from exported files, or are refused in one sentence

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


def test_a_checkpoint_gives_its_settings_and_weights(run: RunFolder) -> None:
    save_checkpoint(run.checkpoint("best"), {"config": {"a": 1}, "model": WEIGHTS}, kind="toy")
    found = load_model(run, kind="toy")
    assert (found.name, found.config) == ("best", {"a": 1})
    assert torch.equal(found.weights["matrix"], WEIGHTS["matrix"])


def test_a_checkpoint_without_a_model_is_refused(run: RunFolder) -> None:
    save_checkpoint(run.checkpoint(), {"config": {}}, kind="toy")
    with pytest.raises(CheckpointError, match="holds no model"):
        load_model(run, kind="toy")


def test_of_another_kind_is_refused(run: RunFolder) -> None:
    save_checkpoint(run.checkpoint(), {"config": {}, "model": {}}, kind="toy")
    with pytest.raises(CheckpointError, match="is of a toy run, not of a vae run"):
        load_model(run, kind="vae")


def test_half_precision_is_for_matrices_only(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=True)
    assert result_name(run) == EXPORTED
    found = load_model(run, kind="toy")
    assert found.config == {"size": 3}
    assert torch.equal(found.weights["bias"], WEIGHTS["bias"])
    assert torch.equal(found.weights["count"], WEIGHTS["count"])
    assert found.weights["matrix"].dtype == torch.float32
    assert torch.equal(found.weights["matrix"], WEIGHTS["matrix"].half().float())


def test_whole_precision_keeps_every_bit(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=False)
    found = load_model(run, kind="toy").weights
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


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


def test_a_cut_export_is_refused(run: RunFolder) -> None:
    save_exported(run, WEIGHTS, kind="toy", half=True)
    whole = run.exported_file.read_bytes()
    run.exported_file.write_bytes(whole[: len(whole) - 4])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(run, kind="toy")
