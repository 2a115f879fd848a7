"""Compiled steps against `AttentionGru.step`, and their products against torch's."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcli.nmt.fast.compiling import load_library
from dlcli.nmt.fast.stepping import (
    CompiledSteps,
    Int8Product,
    Steps,
    compile_steps,
    int8_is_exact,
    low_product,
    quantise_weight,
)
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.search import NEVER, search
from tests.nmt.toy import SENTENCES, padded, tiny_model

OWNER = torch.tensor([0, 0, 0, 1, 2, 2, 3])
KINDS = [
    {"attention_query": "updated"},
    {"attention_query": "previous"},
    {"attention": "none"},
    {"readout": "tanh", "tie_embeddings": False},
]
WEIGHT, BIAS = torch.randn(21, 40), torch.randn(21)


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def model(request: pytest.FixtureRequest) -> AttentionGru:
    return tiny_model(**request.param).float()


def compiled(model: AttentionGru, *, how: str) -> CompiledSteps:
    """Arrange a model's weights for `fp32`, `bf16` or `int8`."""
    low = torch.bfloat16 if how == "bf16" else torch.float32
    with torch.no_grad():
        found = compile_steps(model, low=low, int8=how == "int8")
    if found is None:
        pytest.skip("this machine has no C++ compiler, or no VNNI instructions")
    return found


@pytest.mark.parametrize(("how", "near"), [("fp32", 1e-5), ("bf16", 0.05), ("int8", 0.1)])
def test_compiled_steps_are_the_plain_ones(model: AttentionGru, how: str, near: float) -> None:
    weights, bf16 = compiled(model, how=how), how == "bf16"
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


@pytest.mark.parametrize("how", ["fp32", "bf16", "int8"])
def test_a_sentence_does_not_depend_on_its_batch(model: AttentionGru, how: str) -> None:
    fast = compiled(model, how=how)
    source, mask = padded(*SENTENCES, width=8)
    options: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 9, "fast": fast}
    whole = search(model, source, mask, **options)
    for place in range(len(SENTENCES)):
        rows = torch.tensor([place] * 4)
        alone = search(model, source[rows], mask[rows], **options)
        assert [one.ids for one in alone[0]] == [one.ids for one in whole[place]]
        scores = [one.score for one in whole[place]]
        assert [one.score for one in alone[0]] == pytest.approx(scores, rel=1e-6)


@pytest.mark.parametrize("beam", [1, 4, 10])
def test_searching_finds_what_plain_steps_find(model: AttentionGru, beam: int) -> None:
    """Also with a beam as wide as the vocabulary."""
    options: dict[str, Any] = {"beam_size": beam, "n_best": min(beam, 4), "max_length": 9}
    found = search(model, *padded(*SENTENCES), fast=compiled(model, how="fp32"), **options)
    model.fused = False
    wanted = search(model, *padded(*SENTENCES), **options)
    for many, others in zip(found, wanted, strict=True):
        assert [one.ids for one in many] == [one.ids for one in others]
        assert [one.score for one in many] == pytest.approx([one.score for one in others], rel=1e-4)


class Given:
    """The best tokens of logits that are given, found by the compiled code."""

    def __init__(self, *, low: torch.dtype = torch.float32) -> None:
        self.weights = compiled(tiny_model(vocabulary=11).float(), how="fp32")
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
def test_what_is_no_number_stays_none(bad: float) -> None:
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


def test_integers_stand_for_their_weights() -> None:
    weight = torch.randn(5, 40)
    steps, columns = quantise_weight(weight)
    assert steps.abs().amax(1).tolist() == [127] * 5
    assert ((steps * columns[:, None] - weight).abs() <= 0.5001 * columns[:, None]).all()


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
