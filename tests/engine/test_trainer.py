"""The same training several times: seeds, grids, and what becomes of failures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.distributed import PeerLost
from dlcli.engine.events import Event, Notice, RunStarted
from dlcli.engine.session import RunLocation
from dlcli.engine.settings import seeds_of
from dlcli.engine.trainer import folder_name, is_out_of_memory, spread, train_all, train_once
from dlcli.errors import Interrupted, RunFailed
from dlcli.vae import training
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.trained import TestResult, TrainResult, summarise

CONFIG = VaeTrainConfig()
Script = Callable[[VaeTrainConfig, RunLocation], None]


def _result(run: Path, *, seed: int = 0, elbo: float = -100.0) -> TrainResult:
    test = TestResult(
        elbo=elbo, reconstruction=-elbo - 25, kl=25.0, std_error=0.1, iwae=elbo + 1, images=10
    )
    return TrainResult(
        run=str(run),
        data="glyphs:40",
        arch="mlp",
        epochs=2,
        images_per_s=1000.0 + seed,
        train_s=1.0,
        test=test,
        active_units=3,
        kl_per_dim=(25.0,),
        reason="done",
        signature=f"data:glyphs:40|seed:{seed}|version:x",
    )


@pytest.fixture
def locations(monkeypatch: pytest.MonkeyPatch) -> list[RunLocation]:
    """Replace training by one that says where it went; see `_scripted`."""
    seen: list[RunLocation] = []
    _scripted(monkeypatch, lambda config, location: seen.append(location))
    return seen


def _scripted(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    def train(
        config: VaeTrainConfig, *, location: RunLocation, init_from: str | None
    ) -> Generator[Event, None, TrainResult]:
        run = location.out or location.resume
        assert run is not None
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text("x: 1\n")
        yield RunStarted(run=run, title="t", epochs=1, steps_per_epoch=1, step=0, unit="images")
        script(config, location)
        seed = config.compute.seed
        return _result(run, seed=seed, elbo=-100.0 - seed)

    monkeypatch.setattr(training, "train", train)


def test_spread_is_mean_and_sample_deviation() -> None:
    values = [1.0, 2.0, 4.0]
    found = spread(values)
    assert (found.mean, found.std) == (
        pytest.approx(7 / 3),
        pytest.approx(statistics.stdev(values)),
    )
    assert found.values == (1.0, 2.0, 4.0)
    assert spread([3.0]).std is None
    assert math.isnan(spread([]).mean)


def test_seeds_are_counted_on_and_nothing_else_changes() -> None:
    found = seeds_of(VaeTrainConfig(), 3)
    assert list(found) == ["seed-0", "seed-1", "seed-2"]
    assert [config.compute.seed for config in found.values()] == [0, 1, 2]
    assert {(c.model, c.optim, c.loop) for c in found.values()} == {
        (CONFIG.model, CONFIG.optim, CONFIG.loop)
    }


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("seed-3", "seed-3"),
        ("optim.lr=1.0e-3 loop.epochs=2", "optim.lr=1.0e-3_loop.epochs=2"),
        ("data.name=a/b", "data.name=a_b"),
        ("", "cell"),
    ],
)
def test_labels_become_names_of_folders(label: str, name: str) -> None:
    assert folder_name(label) == name


def test_listeners_hear_everything_and_the_result_comes_back(
    locations: list[RunLocation], tmp_path: Path
) -> None:
    heard: list[Event] = []
    result = train_once(
        CONFIG,
        train=training.train,
        location=RunLocation(out=tmp_path / "a"),
        listeners=[heard.append],
    )
    assert result == _result(tmp_path / "a")
    assert [type(event) for event in heard] == [RunStarted]


def test_an_interrupt_anywhere_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    _scripted(monkeypatch, interrupt)
    with pytest.raises(Interrupted) as stopped:
        train_once(CONFIG, train=training.train, location=RunLocation(out=tmp_path / "a"))
    assert str(tmp_path / "a") in stopped.value.hint
    with pytest.raises(Interrupted, match="Interrupted"):
        train_once(
            CONFIG,
            train=training.train,
            location=RunLocation(out=tmp_path / "a"),
            listeners=[interrupt],
        )

    def early(*_args: object, **_given: object) -> Generator[Event, None, None]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(training, "train", early)
    with pytest.raises(Interrupted, match="before the training began"):
        train_once(CONFIG, train=training.train, location=RunLocation(out=tmp_path / "a"))


def test_a_listener_that_fails_closes_the_run_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed: list[bool] = []

    def train(*_args: object, **_given: object) -> Generator[Event, None, None]:
        try:
            yield Notice(message="x")
        finally:
            closed.append(True)

    def fail(_event: Event) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(BrokenPipeError):
        train_once(
            CONFIG, train=training.train, location=RunLocation(out=tmp_path), listeners=[fail]
        )
    assert closed == [True]


def test_each_cell_gets_a_folder_and_goes_on_where_it_has_begun(
    locations: list[RunLocation], tmp_path: Path
) -> None:
    cells = seeds_of(CONFIG, 2)
    options: dict[str, Any] = {"title": "seeds", "tolerant": False}
    train_all(
        cells, train=training.train, location=RunLocation(out=tmp_path / "s", force=True), **options
    )
    train_all(
        seeds_of(CONFIG, 3),
        train=training.train,
        location=RunLocation(resume=tmp_path / "s"),
        **options,
    )
    first, second, third = (tmp_path / "s" / f"seed-{seed}" for seed in range(3))
    assert locations == [
        RunLocation(out=first, force=True),
        RunLocation(out=second, force=True),
        RunLocation(resume=first),
        RunLocation(resume=second),
        RunLocation(out=third),
    ]


def test_without_a_name_a_new_folder_under_runs_holds_them(
    locations: list[RunLocation], tmp_path: Path
) -> None:
    for _ in range(2):
        train_all(
            seeds_of(CONFIG, 1),
            train=training.train,
            location=RunLocation(),
            title="seeds",
            tolerant=False,
        )
    assert locations[0].out != locations[1].out
    assert all(str(location.out).startswith(str(tmp_path / "runs")) for location in locations)


def _failing(monkeypatch: pytest.MonkeyPatch, failure: Callable[[int], Exception | None]) -> None:
    def script(config: VaeTrainConfig, location: RunLocation) -> None:
        error = failure(config.compute.seed)
        if error is not None:
            raise error

    _scripted(monkeypatch, script)


def test_a_failed_seed_fails_all_and_a_failed_cell_of_a_grid_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _failing(monkeypatch, lambda seed: RunFailed("No.", hint="h") if seed == 1 else None)
    cells, heard = seeds_of(CONFIG, 3), []
    with pytest.raises(RunFailed, match=r"seed-1: No\."):
        train_all(
            cells,
            train=training.train,
            location=RunLocation(out=tmp_path / "a"),
            title="t",
            tolerant=False,
        )
    found = train_all(
        cells,
        train=training.train,
        location=RunLocation(out=tmp_path / "b"),
        title="t",
        tolerant=True,
        listeners=[heard.append],
    )
    assert list(found) == ["seed-0", "seed-2"]
    warnings = [event for event in heard if isinstance(event, Notice)]
    assert [(event.message, event.level) for event in warnings] == [("seed-1: No.", "warning")]


def test_where_every_cell_fails_or_another_process_is_lost_so_does_the_grid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried: list[int] = []
    _failing(monkeypatch, lambda seed: RunFailed("No."))
    with pytest.raises(RunFailed, match=r"seed-1: No\."):
        train_all(
            seeds_of(CONFIG, 2),
            train=training.train,
            location=RunLocation(out=tmp_path / "a"),
            title="t",
            tolerant=True,
        )
    _failing(monkeypatch, lambda seed: tried.append(seed) or PeerLost("Gone."))  # type: ignore[func-returns-value]
    with pytest.raises(RunFailed, match=r"seed-0: Gone\."):
        train_all(
            seeds_of(CONFIG, 2),
            train=training.train,
            location=RunLocation(out=tmp_path / "b"),
            title="t",
            tolerant=True,
        )
    assert tried == [0]


def test_stopped_in_the_middle_it_says_how_to_go_on_with_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _failing(monkeypatch, lambda seed: Interrupted("Stopped.") if seed == 1 else None)
    with pytest.raises(Interrupted, match=r"seed-1: Stopped\.") as stopped:
        train_all(
            seeds_of(CONFIG, 2),
            train=training.train,
            location=RunLocation(out=tmp_path / "s"),
            title="t",
            tolerant=False,
        )
    assert f"--resume {tmp_path / 's'}" in stopped.value.hint


def test_a_summary_has_means_deviations_and_every_run(tmp_path: Path) -> None:
    results = {f"seed-{n}": _result(tmp_path / f"seed-{n}", seed=n, elbo=-100 - n) for n in (0, 2)}
    found = summarise(results)
    assert (found["run"], found["seeds"], found["data"]) == (str(tmp_path), 2, "glyphs:40")
    test, std = found["test"], found["test_std"]
    assert isinstance(test, dict)
    assert isinstance(std, dict)
    assert test["elbo"] == -101.0
    assert test["elbo"] == -(test["reconstruction"] + test["kl"])
    assert std["elbo"] == pytest.approx(math.sqrt(2))
    assert found["signature"] == "data:glyphs:40|seed:0,2|version:x"
    assert isinstance(found["runs"], list)
    assert len(found["runs"]) == 2


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_knows_an_exhausted_memory(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory
