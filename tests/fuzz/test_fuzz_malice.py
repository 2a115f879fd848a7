"""Runs that someone prepared on purpose: they run nothing, write nothing and fill no memory."""

from __future__ import annotations

import io
import os
import pickle
import resource
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from tests.cli.tiny import TRAIN, dl, dl_json, error_of
from tests.engine.toy import payload_of, seal
from tests.fuzz.guard import run, snapshot

pytestmark = pytest.mark.timeout(120)
CANARY = "owned"
USES = {
    "generate": ["vae", "generate", "--run", "prey", "--n", "1", "--out", "out/a.png"],
    "sample": ["sample", "--run", "prey", "--n", "1", "--out", "out/a.png"],
    "resume": ["vae", "train", "--resume", "prey", "--epochs", "3"],
    "start from": ["vae", "train", "--init-from", "prey", *TRAIN[2:], "--out", "out/b"],
    "export": ["runs", "export", "prey", "--out", "out/c"],
}
"""What people do with a run that they were given."""


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("malice") / "run"
    dl_json(*TRAIN, "--out", str(folder))
    return folder


@pytest.fixture
def prey(trained_once: Path, tmp_path: Path) -> Path:
    """A run that its finder opens, in the working folder."""
    shutil.copytree(trained_once, tmp_path / "prey")
    (tmp_path / "out").mkdir()
    return tmp_path / "prey" / "checkpoints" / "last.pt"


class Attack:
    """Unpickled by Python's own pickle, this makes a folder."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], tuple(self.call[1:])


ATTACKS = {
    "a shell": Attack(os.system, f"mkdir {CANARY}"),
    "a folder": Attack(os.mkdir, CANARY),
    "a program": Attack(exec, f"open({CANARY!r}, 'w')"),
    "an import": Attack(eval, f"__import__('os').mkdir({CANARY!r})"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_with_code_in_it_runs_nothing(attack: str, use: str, prey: Path) -> None:
    state = load_checkpoint(prey, kind="vae")
    buffer = io.BytesIO()
    torch.save({**state, "model": ATTACKS[attack]}, buffer)
    prey.write_bytes(seal(buffer.getvalue()))
    before = _kept(prey, of=use)
    done = dl(*USES[use], "--json")
    assert error_of(done)["kind"] == "checkpoint"
    assert not list(prey.parents[2].rglob(CANARY))
    assert _kept(prey, of=use) == before
    assert not list((prey.parents[2] / "out").iterdir())


def _kept(prey: Path, *, of: str) -> dict[str, tuple[int, int]]:
    """Return what a use must leave as it is: all but the notes of a run that is resumed."""
    found = snapshot(prey.parents[2])
    own = ("prey/config.yaml", "prey/run.json", "prey/.lock", "prey")
    return {name: state for name, state in found.items() if of != "resume" or name not in own}


def test_a_bare_pickle_runs_nothing(prey: Path) -> None:
    for sealed in (False, True):
        pickled = pickle.dumps(ATTACKS["a folder"])
        prey.write_bytes(seal(pickled) if sealed else pickled)
        assert error_of(dl(*USES["generate"], "--json"))["kind"] == "checkpoint"
    assert not Path(CANARY).exists()


@pytest.mark.parametrize(
    "name", ["../../slipped", "{outside}/slipped", "archive/../../slipped", "x\\..\\y"]
)
def test_an_archive_whose_names_lead_elsewhere_writes_nothing(
    name: str, prey: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = name.format(outside=tmp_path_factory.mktemp("outside"))
    buffer = io.BytesIO(payload_of(prey))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, b"slipped")
        link = zipfile.ZipInfo("archive/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    prey.write_bytes(seal(buffer.getvalue()))
    before = snapshot(prey.parents[2])
    for use in ("generate", "export"):
        run([*USES[use], "--json"])
    assert snapshot(prey.parents[2]) == before
    for start in (Path.cwd(), prey.parent, prey.parents[1]):
        assert not os.path.lexists(os.path.normpath(start / name))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leave this process a gigabyte more than it has."""
    had = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, had[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, had)


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


@needs_proc
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("use", ["generate", "sample"])
@pytest.mark.parametrize("giant", ["settings", "tensor"])
def test_a_giant_is_refused_before_memory_is_taken(giant: str, use: str, prey: Path) -> None:
    state = load_checkpoint(prey, kind="vae")
    if giant == "settings":
        state["config"]["model"]["hidden"] = [60_000, 60_000]
    else:
        state["model"][next(iter(state["model"]))] = torch.zeros(1).expand(2**20, 2**20)
    save_checkpoint(prey, state, kind="vae")
    error = error_of(dl(*USES[use], "--json"))
    assert error["kind"] == "checkpoint"
    assert "not those of this network" in error["message"]


@needs_proc
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**62),
        struct.pack("<Q", 2**32) + b"{}",
        struct.pack("<Q", 76)
        + b'{"w":{"dtype":"F32","shape":[4294967295,4294967295],"data_offsets":[0,4]}}',
    ],
)
def test_an_export_that_declares_giants_is_refused(header: bytes, prey: Path) -> None:
    shutil.rmtree(prey.parent)
    (prey.parents[1] / "model.safetensors").write_bytes(header)
    assert error_of(dl(*USES["generate"], "--json"))["kind"] == "checkpoint"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a file without an end")
def test_links_to_what_never_ends_are_not_followed(prey: Path) -> None:
    for snapshot_left in prey.parent.glob("epoch-*.pt"):
        snapshot_left.unlink()
    prey.unlink()
    prey.symlink_to("/dev/zero")
    for words in USES.values():
        assert error_of(dl(*words, "--json"))["kind"] == "checkpoint"


def test_links_out_of_the_run_are_read_and_never_written_through(prey: Path) -> None:
    """A run may lie on another disk; what its links point to stays as it is."""
    elsewhere = prey.parents[2] / "elsewhere.pt"
    shutil.move(prey, elsewhere)
    prey.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    dl_json(*USES["resume"])
    assert elsewhere.read_bytes() == before
    assert not prey.is_symlink()
    assert load_checkpoint(prey, kind="vae")["position"]["epoch"] == 3
