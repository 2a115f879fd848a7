"""The search that is compiled as a whole, against the one in PyTorch."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import pytest
import torch

from dlcli.nmt.fast.decoding import (
    KINDS,
    CompiledDecoder,
    Kind,
    Panels,
    compile_decoder,
    decoding_library,
)
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.search import Hypothesis, search
from tests.nmt.toy import SENTENCES, padded, tiny_model

MODELS = [
    {"attention_query": "updated"},
    {"attention_query": "previous"},
    {"readout": "tanh", "tie_embeddings": False, "vocabulary": 150},
]


@pytest.fixture(params=MODELS, ids=lambda kind: "-".join(map(str, kind.values())))
def model(request: pytest.FixtureRequest) -> AttentionGru:
    return tiny_model(**request.param).float()


def compiled(model: AttentionGru, *, kind: Kind = "fp32") -> CompiledDecoder:
    with torch.no_grad():
        found = compile_decoder(model, kind=kind)
    if found is None:
        pytest.skip("this machine has no C++ compiler or not the instructions")
    return found


def found_by(
    model: AttentionGru, weights: CompiledDecoder | None, **options: Any
) -> list[list[Hypothesis]]:
    model.fused = weights is not None
    return search(model, *padded(*SENTENCES, width=8), fast=weights, **options)


@pytest.mark.parametrize("beam", [1, 3, 5])
@pytest.mark.parametrize("n_best", [1, 3])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_it_finds_what_the_plain_search_finds(
    model: AttentionGru, beam: int, n_best: int, penalty: float
) -> None:
    options = {"beam_size": beam, "n_best": min(beam, n_best), "length_penalty": penalty}
    for max_length in (1, 6, None):
        many = found_by(model, compiled(model), **options, max_length=max_length)
        wanted = found_by(model, None, **options, max_length=max_length)
        for one, other in zip(many, wanted, strict=True):
            assert [h.ids for h in one] == [h.ids for h in other]
            assert [h.finished for h in one] == [h.finished for h in other]
            for value in ("score", "log_prob"):
                values = [getattr(h, value) for h in other]
                assert [getattr(h, value) for h in one] == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_coarser_products_come_near(model: AttentionGru, kind: Kind) -> None:
    options: dict[str, Any] = {"beam_size": 1, "max_length": 1}
    many = found_by(model, compiled(model, kind=kind), **options)
    wanted = found_by(model, None, **options)
    for (one,), (other,) in zip(many, wanted, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_does_not_depend_on_its_batch_nor_on_what_came_before(
    model: AttentionGru, kind: Kind
) -> None:
    options: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 9}
    weights = compiled(model, kind=kind)
    whole = found_by(model, weights, **options)
    assert found_by(model, weights, **options) == whole
    source, mask = padded(*SENTENCES, width=8)
    for place in range(len(SENTENCES)):
        rows = torch.tensor([place] * 4)
        fresh = compiled(model, kind=kind)
        alone = search(model, source[rows], mask[rows], fast=fresh, **options)
        assert [one.ids for one in alone[0]] == [one.ids for one in whole[place]]
        scores = [one.score for one in whole[place]]
        assert [one.score for one in alone[0]] == pytest.approx(scores, rel=1e-6)


def test_a_beam_as_wide_as_the_vocabulary_holds_what_there_is() -> None:
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
def test_what_is_no_number_finds_nothing(beam: int, bad: float) -> None:
    model = tiny_model().float()
    with torch.no_grad():
        model.output_bias[4] = bad
    many = found_by(model, compiled(model), beam_size=beam, max_length=4)
    assert many == [[]] * len(SENTENCES)


def test_what_is_called_between_steps_can_end_a_search() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    model = tiny_model().float()
    with pytest.raises(KeyboardInterrupt):
        found_by(model, compiled(model), between=stop)


def test_without_attention_or_in_float64_there_is_no_compiled_form() -> None:
    assert compile_decoder(tiny_model(attention="none").float(), kind="fp32") is None
    assert compile_decoder(tiny_model(), kind="fp32") is None


# Products in panels against torch's, row by row

GENERATOR = torch.Generator().manual_seed(0)
NEAR = {"fp32": 1e-5, "bf16": 1e-2, "int8": 1e-2}


def multiply(panels: Panels, rows: torch.Tensor, *, kind: Kind) -> torch.Tensor:
    """Map rows (N, K) to (N, M)."""
    library = decoding_library(kind)
    if library is None:
        pytest.skip("this machine has no C++ compiler or not the instructions")
    out, rows = rows.new_empty(len(rows), panels.shape[0]), rows.contiguous()
    pointers = ctypes.byref(panels.pointers())
    library.call("dl_multiply", KINDS.index(kind), 1, pointers, len(rows), rows, out)
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 64, 131])
@pytest.mark.parametrize("inputs", [1, 6, 67])
@pytest.mark.parametrize("biased", [True, False])
def test_a_product_is_torch_s(kind: Kind, outputs: int, inputs: int, biased: bool) -> None:
    weight = torch.randn(outputs, inputs, generator=GENERATOR)
    bias = torch.randn(outputs, generator=GENERATOR) if biased else None
    rows = torch.randn(15, inputs, generator=GENERATOR)
    found = multiply(Panels(weight, bias, kind=kind), rows, kind=kind)
    wanted = torch.nn.functional.linear(rows, weight, bias)
    scale = rows.norm(dim=1)[:, None] * weight.norm(dim=1) + 1
    assert ((found - wanted).abs() / scale).max() < NEAR[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_neighbours(kind: Kind) -> None:
    panels = Panels(torch.randn(70, 41, generator=GENERATOR), None, kind=kind)
    rows = torch.randn(200, 41, generator=GENERATOR)
    whole = multiply(panels, rows, kind=kind)
    for first, count in ((0, 1), (3, 5), (95, 7), (100, 100)):
        part = multiply(panels, rows[first : first + count], kind=kind)
        assert torch.equal(part, whole[first : first + count])


def test_sums_of_the_largest_integers_are_exact() -> None:
    signs = torch.randint(2, (9 + 40, 640), generator=GENERATOR) * 2.0 - 1
    signs[0] = signs[9] = 1
    rows, weight = signs.split([9, 40])
    found = multiply(Panels(weight, None, kind="int8"), rows, kind="int8")
    torch.testing.assert_close(found, rows @ weight.t(), rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_stays_none(kind: Kind, bad: float) -> None:
    rows = torch.ones(2, 40)
    rows[1, 3] = bad
    found = multiply(Panels(torch.ones(5, 40), None, kind=kind), rows, kind=kind)
    assert found[0].isfinite().all()
    assert not found[1].isfinite().any()
