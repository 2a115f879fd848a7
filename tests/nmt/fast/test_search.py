"""The compiled search against PyTorch's."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcli.nmt.fast.compiling import Library
from dlcli.nmt.fast.decoding import CompiledDecoder, Panels, compile_decoder, panel_width
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.search import Hypothesis, search
from tests.nmt.toy import SENTENCES, padded, tiny_model

MODELS: list[dict[str, Any]] = [
    {"attention_query": "updated"},
    {"attention_query": "previous"},
    {"attention": "none"},
    {"readout": "tanh", "tie_embeddings": False, "vocabulary": 150},
]
Products = tuple[Library, torch.dtype]
GENERATOR = torch.Generator().manual_seed(0)
NEAR = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


@pytest.fixture(params=MODELS, ids=lambda kind: "-".join(map(str, kind.values())))
def model(request: pytest.FixtureRequest) -> AttentionGru:
    return tiny_model(**request.param).float()


def compiled(model: AttentionGru, *, low: torch.dtype = torch.float32) -> CompiledDecoder:
    with torch.no_grad():
        found = compile_decoder(model, low=low)
    assert found is not None
    return found


def found_by(model: AttentionGru, weights: Any, **options: Any) -> list[list[Hypothesis]]:
    """Search, with weights as they were arranged or in PyTorch (`None`)."""
    model.fused = weights is not None
    return search(model, *padded(*SENTENCES, width=8), fast=weights, **options)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (3, 1), (3, 3), (10, 4)])
def test_it_finds_what_the_plain_search_finds(
    model: AttentionGru, library: Library, beam: int, n_best: int, penalty: float
) -> None:
    """Also with a beam about as wide as the vocabulary."""
    options = {"beam_size": beam, "n_best": n_best, "length_penalty": penalty}
    for max_length in (1, 9, None):
        many = found_by(model, compiled(model), **options, max_length=max_length)
        wanted = found_by(model, None, **options, max_length=max_length)
        for one, other in zip(many, wanted, strict=True):
            assert [h.ids for h in one] == [h.ids for h in other]
            assert [h.finished for h in one] == [h.finished for h in other]
            for value in ("score", "log_prob"):
                values = [getattr(h, value) for h in other]
                assert [getattr(h, value) for h in one] == pytest.approx(values, rel=1e-4, abs=1e-6)


def test_a_sentence_does_not_depend_on_its_batch_nor_on_what_came_before(
    model: AttentionGru, products: Products
) -> None:
    options: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 9}
    weights = compiled(model, low=products[1])
    whole = found_by(model, weights, **options)
    assert found_by(model, weights, **options) == whole
    source, mask = padded(*SENTENCES, width=8)
    for place in range(len(SENTENCES)):
        rows = torch.tensor([place] * 4)
        fresh = compiled(model, low=products[1])
        alone = search(model, source[rows], mask[rows], fast=fresh, **options)
        assert [one.ids for one in alone[0]] == [one.ids for one in whole[place]]
        scores = [one.score for one in whole[place]]
        assert [one.score for one in alone[0]] == pytest.approx(scores, rel=1e-6)


def test_coarser_products_come_near(model: AttentionGru, products: Products) -> None:
    options: dict[str, Any] = {"beam_size": 1, "max_length": 1}
    many = found_by(model, compiled(model, low=products[1]), **options)
    wanted = found_by(model, None, **options)
    for (one,), (other,) in zip(many, wanted, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=20 * NEAR[products[1]])


def test_a_beam_as_wide_as_the_vocabulary_holds_what_there_is(library: Library) -> None:
    model = tiny_model(vocabulary=6).float()
    options: dict[str, Any] = {"beam_size": 60, "n_best": 60, "max_length": 3}
    weights = compiled(model)
    many = search(model, *padded([4, 5], [5]), fast=weights, **options)
    model.fused = False
    wanted = search(model, *padded([4, 5], [5]), **options)
    for one, other in zip(many, wanted, strict=True):
        assert {h.ids for h in one} == {h.ids for h in other}


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_finds_nothing(library: Library, beam: int, bad: float) -> None:
    model = tiny_model().float()
    with torch.no_grad():
        model.output_bias[4] = bad
    many = found_by(model, compiled(model), beam_size=beam, max_length=4)
    assert many == [[]] * len(SENTENCES)


def test_what_is_called_between_steps_can_end_a_search(library: Library) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    model = tiny_model().float()
    with pytest.raises(KeyboardInterrupt):
        found_by(model, compiled(model), between=stop)


def test_in_float64_there_is_no_compiled_form() -> None:
    assert compile_decoder(tiny_model(), low=torch.float64) is None


# Its products in panels against torch's, row by row


def multiply(products: Products, weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    """Map rows (N, K) to (N, M)."""
    library, low = products
    panels = Panels(weight, bias, low=low, width=panel_width(library, low=low))
    out, rows = rows.new_empty(len(rows), len(weight)), rows.contiguous()
    pointer, bfloats = ctypes.byref(panels.pointers()), int(low == torch.bfloat16)
    library.call("dl_multiply", bfloats, 1, pointer, len(rows), rows, out)
    return out


@pytest.mark.parametrize("outputs", [1, 64, 131])
@pytest.mark.parametrize("inputs", [1, 6, 67])
@pytest.mark.parametrize("biased", [True, False])
def test_a_product_is_torch_s(products: Products, outputs: int, inputs: int, biased: bool) -> None:
    weight = torch.randn(outputs, inputs, generator=GENERATOR)
    bias = torch.randn(outputs, generator=GENERATOR) if biased else None
    rows = torch.randn(15, inputs, generator=GENERATOR)
    found = multiply(products, weight, bias, rows)
    wanted = torch.nn.functional.linear(rows, weight, bias)
    scale = rows.norm(dim=1)[:, None] * weight.norm(dim=1) + 1
    assert ((found - wanted).abs() / scale).max() < NEAR[products[1]]


def test_a_row_does_not_depend_on_its_neighbours(products: Products) -> None:
    weight = torch.randn(70, 41, generator=GENERATOR)
    rows = torch.randn(200, 41, generator=GENERATOR)
    whole = multiply(products, weight, None, rows)
    for first, count in ((0, 1), (3, 5), (95, 7), (100, 100)):
        part = multiply(products, weight, None, rows[first : first + count])
        assert torch.equal(part, whole[first : first + count])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_stays_none(products: Products, bad: float) -> None:
    rows = torch.ones(2, 40)
    rows[1, 3] = bad
    found = multiply(products, torch.ones(5, 40), None, rows)
    assert found[0].isfinite().all()
    assert not found[1].isfinite().any()
