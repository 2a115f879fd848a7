"""The search that is compiled as a whole, against the one in PyTorch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dlcli.nmt.beam import Hypothesis
from dlcli.nmt.fast.decoding import KINDS, CompiledDecoder, Kind, compile_decoder
from dlcli.nmt.model import Translation
from dlcli.nmt.search import search
from tests.nmt.tiny_model import padded, tiny_model

SENTENCES = [[4, 5, 6], [7], [8, 9, 4, 10, 5], [5, 5], [6, 4, 9, 9]]
MODELS = [
    {"attention_query": "updated"},
    {"attention_query": "previous"},
    {"readout": "tanh", "tie_embeddings": False, "vocabulary": 150},
]


@pytest.fixture(params=MODELS, ids=lambda kind: "-".join(map(str, kind.values())))
def model(request: pytest.FixtureRequest) -> Translation:
    return tiny_model(**request.param).float()


def compiled(model: Translation, *, kind: Kind = "fp32") -> CompiledDecoder:
    with torch.no_grad():
        found = compile_decoder(model, kind=kind)
    if found is None:
        pytest.skip("this machine has no C++ compiler or not the instructions")
    return found


def found_by(
    model: Translation, weights: CompiledDecoder | None, **options: Any
) -> list[list[Hypothesis]]:
    model.use_kernels(weights is not None)
    found = search(model, *padded(*SENTENCES, width=8), weights=weights, **options)
    model.use_kernels(True)
    return found


@pytest.mark.parametrize("beam", [1, 3, 5])
@pytest.mark.parametrize("n_best", [1, 3])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_it_finds_what_the_plain_search_finds(
    model: Translation, beam: int, n_best: int, penalty: float
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
def test_coarser_products_come_near(model: Translation, kind: Kind) -> None:
    options: dict[str, Any] = {"beam_size": 1, "max_length": 1}
    many = found_by(model, compiled(model, kind=kind), **options)
    wanted = found_by(model, None, **options)
    for (one,), (other,) in zip(many, wanted, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_does_not_depend_on_its_batch_nor_on_what_came_before(
    model: Translation, kind: Kind
) -> None:
    options: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 9}
    weights = compiled(model, kind=kind)
    whole = found_by(model, weights, **options)
    assert found_by(model, weights, **options) == whole
    source, mask = padded(*SENTENCES, width=8)
    for place in range(len(SENTENCES)):
        rows = torch.tensor([place] * 4)
        fresh = compiled(model, kind=kind)
        alone = search(model, source[rows], mask[rows], weights=fresh, **options)
        assert [one.ids for one in alone[0]] == [one.ids for one in whole[place]]
        scores = [one.score for one in whole[place]]
        assert [one.score for one in alone[0]] == pytest.approx(scores, rel=1e-6)


def test_a_beam_as_wide_as_the_vocabulary_holds_what_there_is() -> None:
    model = tiny_model(vocabulary=6).float()
    options: dict[str, Any] = {"beam_size": 60, "n_best": 60, "max_length": 3}
    weights = compiled(model)
    many = search(model, *padded([4, 5], [5]), weights=weights, **options)
    model.use_kernels(False)
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
