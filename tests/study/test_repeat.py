"""Several trainings: seeds, grids, and what is said of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dlcli.engine.config import resolve
from dlcli.engine.events import Event, Notice
from dlcli.engine.session import Place
from dlcli.errors import RunFailed
from dlcli.study.repeat import folder_name, seeds_of, spread, summarise, train_all
from dlcli.vae.config import VaeTrainConfig

TINY = {
    "data": {"name": "glyphs:40"},
    "model": {"hidden": [7], "latent_dim": 3},
    "loop": {"epochs": 2, "batch_size": 16},
    "snapshots": [],
}


def tiny(**optim: object) -> VaeTrainConfig:
    return resolve(VaeTrainConfig, [TINY, {"optim": optim}])


def test_spread_is_the_sample_standard_deviation() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert found.mean == pytest.approx(3.0)
    assert found.std == pytest.approx(math.sqrt(7.0))
    assert spread([5.0]).std is None


def test_seeds_count_on_from_the_config() -> None:
    config = resolve(VaeTrainConfig, [TINY, {"compute": {"seed": 5}}])
    found = seeds_of(config, 3)
    assert [cell.compute.seed for cell in found.values()] == [5, 6, 7]
    assert list(found) == ["seed-5", "seed-6", "seed-7"]


def test_labels_become_folder_names() -> None:
    assert folder_name("optim.lr=1.0e-3 model.hidden=[7,7]") == "optim.lr=1.0e-3_model.hidden=_7_7_"
    assert folder_name("a/../b") == "a_.._b"


def test_seeds_are_trained_resumed_and_averaged(tmp_path: Path) -> None:
    cells = seeds_of(tiny(), 2)
    base = tmp_path / "seeds"
    first = train_all(cells, place=Place(out=base), title="x", tolerant=False)
    again = train_all(cells, place=Place(resume=base), title="x", tolerant=False)
    assert first == again
    said = summarise(first)
    values = [result.test.elbo for result in first.values()]
    assert values[0] != values[1]
    assert said["test"]["elbo"] == pytest.approx(sum(values) / 2)  # type: ignore[index]
    assert said["test_std"]["elbo"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))  # type: ignore[index]
    assert "|seed:0,1|" in str(said["signature"])


def test_a_grid_outlives_a_cell_that_diverges_and_seeds_do_not(tmp_path: Path) -> None:
    cells = {"good": tiny(lr=1e-3), "bad": tiny(lr=1e6, optimizer="sgd")}
    told: list[Event] = []
    found = train_all(
        cells, place=Place(out=tmp_path / "grid"), title="x", tolerant=True, listeners=[told.append]
    )
    assert list(found) == ["good"]
    assert any(isinstance(event, Notice) and event.level == "warning" for event in told)
    with pytest.raises(RunFailed):
        train_all(cells, place=Place(out=tmp_path / "seeds"), title="x", tolerant=False)
