"""The search whose steps are compiled, and the one compiled as a whole, against PyTorch's."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcli.nmt.fast.compiling import load_library
from dlcli.nmt.fast.decoding import (
    KINDS,
    CompiledDecoder,
    Kind,
    Panels,
    compile_decoder,
    decoding_library,
)
from dlcli.nmt.fast.stepping import (
    CompiledSteps,
    Int8Product,
    Steps,
    compile_steps,
    int8_is_exact,
    low_product,
)
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.search import NEVER, Hypothesis, search
from tests.nmt.toy import SENTENCES, padded, tiny_model

OWNER = torch.tensor([0, 0, 0, 1, 2, 2, 3])
MODELS: list[dict[str, Any]] = [
    {"attention_query": "updated"},
    {"attention_query": "previous"},
    {"attention": "none"},
    {"readout": "tanh", "tie_embeddings": False, "vocabulary": 150},
]
WEIGHT, BIAS = torch.randn(21, 40), torch.randn(21)
GENERATOR = torch.Generator().manual_seed(0)
NEAR = {"fp32": 1e-5, "bf16": 1e-2, "int8": 1e-2}

forms = pytest.mark.parametrize("form", ["steps", "whole"])


@pytest.fixture(params=MODELS, ids=lambda kind: "-".join(map(str, kind.values())))
def model(request: pytest.FixtureRequest) -> AttentionGru:
    return tiny_model(**request.param).float()


def steps(model: AttentionGru, *, kind: Kind = "fp32") -> CompiledSteps:
    """Arrange a model's weights for steps that are compiled one by one."""
    low = torch.bfloat16 if kind == "bf16" else torch.float32
    with torch.no_grad():
        found = compile_steps(model, low=low, int8=kind == "int8")
    if found is None:
        pytest.skip("this machine has no C++ compiler, or no VNNI instructions")
    return found


def compiled(
    model: AttentionGru, *, form: str, kind: Kind = "fp32"
) -> CompiledSteps | CompiledDecoder:
    """Arrange a model's weights for either form of search."""
    if form == "steps":
        return steps(model, kind=kind)
    if not model.has_attention:
        pytest.skip("there is no such search without attention")
    with torch.no_grad():
        found = compile_decoder(model, kind=kind)
    if found is None:
        pytest.skip("this machine has no C++ compiler or not the instructions")
    return found


def found_by(model: AttentionGru, weights: Any, **options: Any) -> list[list[Hypothesis]]:
    """Search, with weights as they were arranged or in PyTorch (`None`)."""
    model.fused = weights is not None
    return search(model, *padded(*SENTENCES, width=8), fast=weights, **options)


@forms
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (3, 1), (3, 3), (10, 4)])
def test_it_finds_what_the_plain_search_finds(
    model: AttentionGru, beam: int, n_best: int, penalty: float, form: str
) -> None:
    """Also with a beam about as wide as the vocabulary."""
    options = {"beam_size": beam, "n_best": n_best, "length_penalty": penalty}
    for max_length in (1, 9, None):
        many = found_by(model, compiled(model, form=form), **options, max_length=max_length)
        wanted = found_by(model, None, **options, max_length=max_length)
        for one, other in zip(many, wanted, strict=True):
            assert [h.ids for h in one] == [h.ids for h in other]
            assert [h.finished for h in one] == [h.finished for h in other]
            for value in ("score", "log_prob"):
                values = [getattr(h, value) for h in other]
                assert [getattr(h, value) for h in one] == pytest.approx(values, rel=1e-4, abs=1e-6)


@forms
@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_does_not_depend_on_its_batch_nor_on_what_came_before(
    model: AttentionGru, kind: Kind, form: str
) -> None:
    options: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 9}
    weights = compiled(model, form=form, kind=kind)
    whole = found_by(model, weights, **options)
    assert found_by(model, weights, **options) == whole
    source, mask = padded(*SENTENCES, width=8)
    for place in range(len(SENTENCES)):
        rows = torch.tensor([place] * 4)
        fresh = compiled(model, form=form, kind=kind)
        alone = search(model, source[rows], mask[rows], fast=fresh, **options)
        assert [one.ids for one in alone[0]] == [one.ids for one in whole[place]]
        scores = [one.score for one in whole[place]]
        assert [one.score for one in alone[0]] == pytest.approx(scores, rel=1e-6)


# The search that is compiled as a whole


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_coarser_products_come_near(model: AttentionGru, kind: Kind) -> None:
    options: dict[str, Any] = {"beam_size": 1, "max_length": 1}
    many = found_by(model, compiled(model, form="whole", kind=kind), **options)
    wanted = found_by(model, None, **options)
    for (one,), (other,) in zip(many, wanted, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=0.2)


def test_a_beam_as_wide_as_the_vocabulary_holds_what_there_is() -> None:
    model = tiny_model(vocabulary=6).float()
    options: dict[str, Any] = {"beam_size": 60, "n_best": 60, "max_length": 3}
    weights = compiled(model, form="whole")
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
    many = found_by(model, compiled(model, form="whole"), beam_size=beam, max_length=4)
    assert many == [[]] * len(SENTENCES)


def test_what_is_called_between_steps_can_end_a_search() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    model = tiny_model().float()
    with pytest.raises(KeyboardInterrupt):
        found_by(model, compiled(model, form="whole"), between=stop)


def test_without_attention_or_in_float64_there_is_no_compiled_form() -> None:
    assert compile_decoder(tiny_model(attention="none").float(), kind="fp32") is None
    assert compile_decoder(tiny_model(), kind="fp32") is None


# Its products in panels against torch's, row by row


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


# Steps that are compiled one by one


@pytest.mark.parametrize(("kind", "near"), [("fp32", 1e-5), ("bf16", 0.05), ("int8", 0.1)])
def test_compiled_steps_are_the_plain_ones(model: AttentionGru, kind: Kind, near: float) -> None:
    weights, bf16 = steps(model, kind=kind), kind == "bf16"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        memory = model.encode(*padded(*SENTENCES))
        step = Steps(weights, memory)
        plain = state = model.start(memory).select(OWNER)
        previous = torch.tensor([4, 5, 6, 7, 8, 9, 10])
        for _ in range(4):
            with torch.autocast("cpu", enabled=False):
                features, state = step(previous, state, owner=OWNER)
                logits = weights.output(features).float()
            wanted = model.step(previous, plain, memory, owner=OWNER)
            plain = wanted.state
            assert (logits - wanted.logits).abs().max() <= near * wanted.logits.abs().max()
    assert state.hidden.dtype == torch.float32
    for name in ("hidden", "attention"):
        ours, theirs = getattr(state, name), getattr(plain, name)
        torch.testing.assert_close(ours, theirs, rtol=10 * near, atol=near)


class Given:
    """The best tokens of logits that are given, found by the compiled code."""

    def __init__(self, *, low: torch.dtype = torch.float32) -> None:
        self.weights = steps(tiny_model(vocabulary=11).float())
        self.weights.low = low
        self.weights.output = lambda rows: rows

    def __call__(self, logits: Tensor, *, most: int) -> tuple[Tensor, Tensor]:
        self.weights.table = logits.new_empty(logits.shape[1], 1)
        return self.weights.best(logits, most=most)


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [9, 64, 601, 64 * 40 + 7])
@pytest.mark.parametrize("most", [1, 2, 7])
def test_the_best_tokens_are_those_of_a_sorted_row(
    low: torch.dtype, vocabulary: int, most: int
) -> None:
    draws = torch.Generator().manual_seed(most)
    logits = (5 * torch.randn(6, vocabulary, generator=draws)).to(low)
    logits[0, -1] = logits[1, 0] = logits[2, 2] = 30.0
    values, tokens = Given(low=low)(logits, most=most)
    log_probs = logits.float().log_softmax(1)
    log_probs[:, NEVER] = -math.inf
    torch.testing.assert_close(values, log_probs.topk(most, dim=1).values)
    torch.testing.assert_close(log_probs.gather(1, tokens), values)
    assert all(len(set(row)) == most for row in tokens.tolist())


def test_of_equals_the_first_is_taken() -> None:
    values, tokens = Given()(torch.zeros(1, 300), most=4)
    assert tokens.tolist() == [[1, 3, 4, 5]]
    torch.testing.assert_close(values.exp(), torch.full((1, 4), 1 / 300))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_best_of_what_is_no_number_are_none(bad: float) -> None:
    logits = torch.zeros(2, 200)
    logits[1, 77] = bad
    values, tokens = Given()(logits, most=3)
    assert values[0].isfinite().all()
    assert values[1].isnan().all()
    assert ((tokens >= 0) & (tokens < 200)).all()


# Products in a lower precision


@pytest.mark.parametrize("bias", [BIAS, None])
def test_a_low_product_is_torch_s(bias: Tensor | None) -> None:
    rows = torch.randn(5, 40)
    wanted = torch.nn.functional.linear(rows, WEIGHT, bias)
    torch.testing.assert_close(low_product(WEIGHT, bias, low=torch.float32)(rows), wanted)
    low = low_product(WEIGHT, bias, low=torch.bfloat16)(rows.bfloat16())
    torch.testing.assert_close(low, wanted.bfloat16(), rtol=0.1, atol=0.1)


def int8_product(weight: Tensor, bias: Tensor | None = None) -> Int8Product:
    library = load_library("searching")
    if library is None:
        pytest.skip("this machine has no C++ compiler")
    return Int8Product(weight, bias, library=library)


@pytest.mark.parametrize("bias", [BIAS, None])
def test_eight_bits_are_right_to_a_percent(bias: Tensor | None) -> None:
    if not int8_is_exact():
        pytest.skip("this processor has no VNNI instructions")
    rows = torch.randn(50, 40) * torch.logspace(-3, 3, 50)[:, None]
    weight = WEIGHT * torch.logspace(-2, 2, 21)[:, None]
    product = int8_product(weight, bias)
    found = product(rows) - (0 if bias is None else bias)
    scale = rows.norm(dim=1)[:, None] * weight.norm(dim=1)
    assert ((found - rows @ weight.t()).abs() / scale).max() < 0.01
    for count in (1, 2, 5):
        assert torch.equal(product(rows[:count]), product(rows)[:count])


def test_the_best_of_eight_bits_are_those_of_what_they_stand_for() -> None:
    product, rows = int8_product(WEIGHT, BIAS), torch.randn(6, 40)
    values, tokens = product.best(rows, most=2)
    log_probs = product(rows).log_softmax(dim=1)
    log_probs[:, NEVER] = -math.inf
    expected, places = log_probs.topk(2, dim=1)
    assert torch.equal(tokens, places)
    torch.testing.assert_close(values, expected)


def test_weights_and_rows_of_zeros_and_of_what_is_no_number() -> None:
    weight = torch.zeros(2, 40)
    weight[1, 3] = torch.nan
    found = int8_product(weight)(torch.ones(1, 40))
    assert found[0, 0] == 0
    assert found[0, 1].isnan()
    rows = torch.ones(5, 40)
    rows[1:4, 3] = torch.tensor([math.nan, math.inf, -math.inf])
    rows[4] = 0
    found = int8_product(WEIGHT)(rows)
    assert found[0].isfinite().all()
    assert found[1:4].isnan().all()
    assert not found[4].any()


ASKED = """
import torch
from dlcli.nmt.fast.stepping import int8_is_exact

signs = torch.randint(2, (9 + 40, 512), generator=torch.Generator().manual_seed(0)) * 2 - 1
signs[0] = signs[9] = 1  # the largest sum that there can be
rows, weight = (127 * signs).to(torch.int8).split([9, 40])
found = torch._int_mm(rows, weight.t().contiguous())
print(int8_is_exact(), torch.equal(found.long(), rows.long() @ weight.t().long()))
"""


@pytest.mark.parametrize("newest", ["DEFAULT", "AVX2"])
def test_a_processor_that_cuts_sums_off_is_found_out(newest: str) -> None:
    """Without VNNI, as up to AVX2, pairs of products are added in 16 bits, which are too few."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": newest},
        capture_output=True,
        text=True,
        check=True,
    )
    claimed, exact = done.stdout.split()
    assert claimed == exact
