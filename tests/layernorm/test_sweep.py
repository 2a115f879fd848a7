from __future__ import annotations

import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.engine.device import Compute
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.measurement import Grid, draw, summarise, sweep_norms

CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)


def config(**sweep):
    small = {"depths": [1, 3], "widths": [6], "seeds": 2, "batch_size": 3, "tokens": 2}
    return resolve(LnGradientsConfig, [{"sweep": {**small, "classes": 5, **sweep}}])


def test_the_grid_is_sorted_and_without_duplicates():
    grid = Grid.of(config(depths=[8, 2, 8], placements=["pre", "post", "pre"]))
    assert grid.depths == (2, 8)
    assert grid.placements == ("pre", "post")


def test_widths_and_depths_of_unequal_number_make_a_full_grid():
    settings = config(depths=[1, 2, 4], widths=[6, 9])
    *_, norms = sweep_norms(settings, compute=CPU)
    assert {key: (len(rows), len(rows[0])) for key, rows in norms.items()} == {
        (p, w): (2, 3) for p in ("post", "pre") for w in (6, 9)
    }
    found = summarise(norms, grid=Grid.of(settings))["pre"]
    assert [w.width for w in found.widths] == [6, 9]
    assert found.slope == found.widths[0].slope
    assert found.width_slope is not None


def test_seeds_arrive_one_by_one_and_earlier_results_stay():
    counts = []
    for norms in sweep_norms(config(seeds=3), compute=CPU):
        counts.append((len(norms["post", 6]), norms["post", 6][0]))
    assert [count for count, _ in counts] == [1, 2, 3]
    assert len({tuple(first) for _, first in counts}) == 1


def test_the_seed_decides_everything():
    a, b = (list(sweep_norms(config(), compute=CPU))[-1] for _ in range(2))
    assert a == b


def test_depths_of_one_seed_share_probe_and_layers():
    settings = config()
    shallow, first = draw(
        "post", depth=1, width=6, index=0, config=settings, device=torch.device("cpu")
    )
    deep, second = draw(
        "pre", depth=3, width=6, index=0, config=settings, device=torch.device("cpu")
    )
    assert torch.equal(first.x, second.x)
    assert torch.equal(shallow.layer(0).w2, deep.layer(0).w2)
    third, other = draw(
        "pre", depth=3, width=6, index=1, config=settings, device=torch.device("cpu")
    )
    assert not torch.equal(first.x, other.x)
    assert not torch.equal(deep.layer(0).w2, third.layer(0).w2)


def test_one_seed_has_no_interval():
    *_, norms = sweep_norms(config(seeds=1), compute=CPU)
    found = summarise(norms, grid=Grid.of(config(seeds=1)))["post"]
    assert found.slope is not None
    assert found.slope_ci95 is None
    assert found.note == "one seed gives no interval"


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_bfloat16_autocast_is_close(placement):
    half = Compute(device=torch.device("cpu"), precision="bf16", threads=1)
    settings = config(seeds=1, placements=[placement])
    exact, rough = (next(sweep_norms(settings, compute=c))[placement, 6][0] for c in (CPU, half))
    assert rough == pytest.approx(exact, rel=0.2)
