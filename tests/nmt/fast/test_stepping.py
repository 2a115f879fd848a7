"""Compiled steps against `Translation.step`."""

from __future__ import annotations

import pytest
import torch

from dlcli.nmt.decoder import State
from dlcli.nmt.fast.products import Scaled, int8_is_exact
from dlcli.nmt.fast.stepping import Logits, make_stepper, prepare_weights
from dlcli.nmt.model import Translation
from dlcli.nmt.search import search
from tests.nmt.tiny_model import padded, tiny_model

SENTENCES = [[4, 5, 6], [7], [8, 9, 4, 10, 5], [5, 5]]
OWNER = torch.tensor([0, 0, 0, 1, 2, 2, 3])
KINDS = [
    {"attention_query": "updated"},
    {"attention_query": "previous"},
    {"attention": "none"},
    {"readout": "tanh", "tie_embeddings": False},
]


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def model(request: pytest.FixtureRequest) -> Translation:
    made = tiny_model(**request.param).float()
    if prepare_weights(made, low=torch.float32) is None:
        pytest.skip("this machine has no C++ compiler")
    return made


@pytest.fixture
def exact() -> None:
    if not int8_is_exact():
        pytest.skip("this processor has no VNNI instructions")


def _walk(
    model: Translation, *, how: str, low: torch.dtype = torch.float32, steps: int = 4
) -> tuple[list[Logits], State]:
    """Take steps from the first state; return the logits of each, and the last state."""
    with torch.no_grad(), torch.autocast("cpu", low, enabled=low == torch.bfloat16):
        memory = model.encode(*padded(*SENTENCES))
        weights = prepare_weights(model, low=low, int8=how == "int8")
        model.use_kernels(how != "plain")
        stepper = make_stepper(model, memory, weights=None if how == "plain" else weights)
        model.use_kernels(True)
        state, seen = model.start(memory).select(OWNER), []
        previous = torch.tensor([4, 5, 6, 7, 8, 9, 10])
        for _ in range(steps):
            logits, state = stepper(previous, state, owner=OWNER)
            seen.append(logits)
    return seen, state


def test_compiled_steps_are_the_plain_ones(model: Translation) -> None:
    plain, plain_state = _walk(model, how="plain")
    compiled, state = _walk(model, how="compiled")
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.hidden, plain_state.hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.attention, plain_state.attention, rtol=1e-4, atol=1e-5)


def test_compiled_steps_in_bfloat16_are_the_plain_ones(model: Translation) -> None:
    plain, _ = _walk(model, how="plain", low=torch.bfloat16)
    compiled, state = _walk(model, how="compiled", low=torch.bfloat16)
    assert state.hidden.dtype == torch.float32
    for one, other in zip(compiled, plain, strict=True):
        assert isinstance(one, torch.Tensor)
        assert isinstance(other, torch.Tensor)
        assert one.dtype == torch.bfloat16
        assert (one - other).abs().max() < 0.05 * other.abs().max()


@pytest.mark.usefixtures("exact")
def test_eight_bits_are_near(model: Translation) -> None:
    plain, _ = _walk(model, how="plain")
    compiled, _ = _walk(model, how="int8")
    for one, other in zip(compiled, plain, strict=True):
        assert isinstance(one, Scaled)
        assert isinstance(other, torch.Tensor)
        assert (one.whole() - other).abs().max() < 0.1 * other.abs().max()


@pytest.mark.parametrize("how", ["fp32", "bf16", "int8"])
def test_a_sentence_does_not_depend_on_its_batch(model: Translation, how: str) -> None:
    if how == "int8" and not int8_is_exact():
        pytest.skip("this processor has no VNNI instructions")
    low = torch.bfloat16 if how == "bf16" else torch.float32
    with torch.no_grad():
        weights = prepare_weights(model, low=low, int8=how == "int8")
    source, mask = padded(*SENTENCES, width=8)
    options = {"beam_size": 3, "n_best": 3, "max_length": 9, "weights": weights}
    whole = search(model, source, mask, **options)  # type: ignore[arg-type]
    for place in range(len(SENTENCES)):
        rows = torch.tensor([place] * 4)
        alone = search(model, source[rows], mask[rows], **options)  # type: ignore[arg-type]
        assert [one.ids for one in alone[0]] == [one.ids for one in whole[place]]
        scores = [one.score for one in whole[place]]
        assert [one.score for one in alone[0]] == pytest.approx(scores, rel=1e-6)


def test_searching_finds_what_plain_steps_find(model: Translation) -> None:
    found = search(model, *padded(*SENTENCES), beam_size=4, n_best=4, max_length=9)
    model.use_kernels(False)
    wanted = search(model, *padded(*SENTENCES), beam_size=4, n_best=4, max_length=9)
    for many, others in zip(found, wanted, strict=True):
        assert [one.ids for one in many] == [one.ids for one in others]
        assert [one.score for one in many] == pytest.approx([one.score for one in others], rel=1e-4)


def test_where_gradients_flow_steps_are_plain(model: Translation) -> None:
    memory = model.encode(*padded(*SENTENCES))
    stepper = make_stepper(model, memory)
    logits, _ = stepper(torch.full_like(OWNER, 4), model.start(memory).select(OWNER), owner=OWNER)
    assert isinstance(logits, torch.Tensor)
    assert logits.requires_grad


def test_float64_has_no_compiled_form() -> None:
    assert prepare_weights(tiny_model(), low=torch.float64) is None
