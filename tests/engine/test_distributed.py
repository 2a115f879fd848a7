"""Several processes: alone nothing changes, and two really take the steps of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlcli.engine import distributed
from dlcli.engine.distributed import World, join_processes, launched_world
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from tests.engine.toy import differences, outcome
from tests.engine.two_processes import CONFIGS, run, train
from tests.processes import FORKED, PATIENCE_S, two_ranks

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)

CPU = torch.device("cpu")
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def test_alone_a_process_agrees_with_itself() -> None:
    world = World()
    assert world.is_main
    assert world.agree([True, False], device=CPU) == [True, False]
    assert world.share("x") == "x"
    values = torch.tensor([1.0, 2.0])
    rows = world.gather(values)
    rows += 1
    assert values.tolist() == [1.0, 2.0], "the rows are a copy"
    network = nn.Linear(2, 3)
    assert world.wrap(network, device=CPU) is network
    join_processes(world, device=CPU)
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, World()),
        ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, World()),
        ({"WORLD_SIZE": "4"}, World()),
        ({"WORLD_SIZE": "", "RANK": ""}, World()),
        ({"WORLD_SIZE": "2", "RANK": "1"}, World()),
        ({**MEETING, "WORLD_SIZE": "2", "RANK": ""}, World()),
        ({**MEETING, "WORLD_SIZE": "2", "RANK": "1"}, World(rank=1, size=2)),
        (
            {**MEETING, "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"},
            World(rank=3, size=4, local_rank=1),
        ),
    ],
)
def test_a_process_learns_its_place_from_the_launcher(
    environment: dict[str, str], expected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", *MEETING):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched_world() == expected
    assert launched_world().is_main is (expected.rank == 0)


@pytest.mark.parametrize(("backend", "left"), [("nccl", []), ("gloo", ["_leave"])])
def test_one_that_has_failed_does_not_wait_for_the_others_with_nccl(
    backend: str, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = [distributed._leave]
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_backend", lambda: backend)
    monkeypatch.setattr(distributed.atexit, "unregister", registered.remove)
    distributed.abandon_processes()
    assert [each.__name__ for each in registered] == left


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Run `two_processes.py` in two processes, once for all tests here."""
    folder = tmp_path_factory.mktemp("two processes")
    processes = [FORKED.Process(target=run, args=(folder, rank)) for rank in two_ranks()]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
        process.kill()
        assert process.exitcode == 0
    return folder, [json.loads((folder / f"rank {r}.json").read_text()) for r in range(2)]


@pytest.mark.parametrize("name", CONFIGS)
def test_two_parts_of_a_batch_take_the_steps_of_the_whole(
    name: str, together: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, found = together
    alone = train(RunLocation(out=tmp_path / name), config=CONFIGS[name])
    for rank in range(2):
        assert found[rank][name]["weights"] == pytest.approx(alone["weights"], rel=1e-5, abs=1e-6)
        assert (found[rank][name]["reason"], found[rank][name]["step"]) == ("done", alone["step"])
    rows, ours = (RunFolder(p / name).metrics() for p in (folder, tmp_path))
    assert [row["step"] for row in rows] == [row["step"] for row in ours]
    for row, reference in zip(rows, ours, strict=True):
        for key in ("train_loss", "train_half", "valid_loss"):
            assert row[key] == pytest.approx(reference[key], rel=1e-5)


def test_one_process_evaluates_and_records(
    together: tuple[Path, list[dict[str, Any]]],
) -> None:
    main, other = (found["plain"] for found in together[1])
    assert main["evaluations"] == [1, 2, 3]
    assert other["evaluations"] == []
    assert {"RunStarted", "Saved"} <= set(main["heard"])
    assert not {"RunStarted", "Saved", "CheckpointDue"} & set(other["heard"])


@pytest.mark.parametrize("name", CONFIGS)
def test_stopped_by_one_process_both_stop_and_go_on_to_the_same_bits(
    name: str, together: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, found = together
    for rank in range(2):
        assert found[rank][f"{name} halted"]["reason"] == "interrupted"
        assert found[rank][f"{name} resumed"]["weights"] == found[rank][name]["weights"]
    halted, whole = RunFolder(folder / f"{name} halted"), RunFolder(folder / name)
    assert not differences(outcome(halted), outcome(whole))


def test_what_cannot_go_on_in_one_process_ends_in_both_with_the_same_sentence(
    together: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, found = together
    exists, missing, poisoned = found[0]["refusals"]
    assert found[1]["refusals"] == found[0]["refusals"]
    assert exists == f"{folder / 'plain'} exists already."
    assert missing == f"There is no run at {folder / 'none'}."
    assert "stopped being a finite number at update 5" in poisoned
    assert RunFolder(folder / "poisoned").metrics()[-1]["epoch"] == 1
