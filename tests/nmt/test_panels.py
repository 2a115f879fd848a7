"""Products in panels against torch's, row by row."""

from __future__ import annotations

import pytest
import torch

from dlcli.nmt.fast.decoding import KINDS, Kind, NativeDecoding, Panels, native_decoding
from dlcli.nmt.fast.products import quantise_weight

GENERATOR = torch.Generator().manual_seed(0)
NEAR = {"fp32": 1e-5, "bf16": 1e-2, "int8": 1e-2}


def functions(kind: Kind) -> NativeDecoding:
    found = native_decoding(torch.zeros(1), kind=kind)
    if found is None:
        pytest.skip("this machine has no C++ compiler or not the instructions")
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 64, 131])
@pytest.mark.parametrize("inputs", [1, 6, 67])
@pytest.mark.parametrize("biased", [True, False])
def test_a_product_is_torch_s(kind: Kind, outputs: int, inputs: int, biased: bool) -> None:
    weight = torch.randn(outputs, inputs, generator=GENERATOR)
    bias = torch.randn(outputs, generator=GENERATOR) if biased else None
    rows = torch.randn(15, inputs, generator=GENERATOR)
    found = functions(kind).multiply(Panels(weight, bias, kind=kind), rows)
    wanted = torch.nn.functional.linear(rows, weight, bias)
    scale = rows.norm(dim=1)[:, None] * weight.norm(dim=1) + 1
    assert ((found - wanted).abs() / scale).max() < NEAR[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_neighbours(kind: Kind) -> None:
    panels = Panels(torch.randn(70, 41, generator=GENERATOR), None, kind=kind)
    rows = torch.randn(200, 41, generator=GENERATOR)
    whole = functions(kind).multiply(panels, rows)
    for first, count in ((0, 1), (3, 5), (95, 7), (100, 100)):
        part = functions(kind).multiply(panels, rows[first : first + count])
        assert torch.equal(part, whole[first : first + count])


def test_sums_of_the_largest_integers_are_exact() -> None:
    signs = torch.randint(2, (9 + 40, 640), generator=GENERATOR) * 2.0 - 1
    signs[0] = signs[9] = 1
    rows, weight = signs.split([9, 40])
    found = functions("int8").multiply(Panels(weight, None, kind="int8"), rows)
    torch.testing.assert_close(found, rows @ weight.t(), rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_stays_none(kind: Kind, bad: float) -> None:
    rows = torch.ones(2, 40)
    rows[1, 3] = bad
    found = functions(kind).multiply(Panels(torch.ones(5, 40), None, kind=kind), rows)
    assert found[0].isfinite().all()
    assert not found[1].isfinite().any()


def test_integers_stand_for_their_weights() -> None:
    weight = torch.randn(5, 40, generator=GENERATOR)
    steps, columns = quantise_weight(weight)
    assert steps.abs().amax(1).tolist() == [127] * 5
    assert ((steps * columns[:, None] - weight).abs() <= 0.5001 * columns[:, None]).all()
