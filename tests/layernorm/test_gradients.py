"""Gradient norms: against autograd of PyTorch's own encoder, and averaged layer by layer."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.errors import RunFailed
from dlcli.layernorm.config import SOURCES
from dlcli.layernorm.gradients import (
    GradientNorms,
    average,
    draw,
    initial_profile,
    last_layer_norm,
    layer_norms,
    model_norms,
    trained_profiles,
)
from tests.layernorm.tiny import CPU, probe, small, stack, torch_twin


def test_the_probes_loss_is_the_mean_over_tokens():
    p = probe(dtype=torch.float64)
    assert 0 <= p.targets.min() <= p.targets.max() < 11
    assert p.loss(torch.zeros_like(p.x)).item() == pytest.approx(math.log(11))
    logits = p.x @ p.readout.T
    by_hand = -torch.log_softmax(logits, -1).gather(-1, p.targets[..., None]).mean()
    torch.testing.assert_close(p.loss(p.x), by_hand)
    half = probe(dtype=torch.float16)
    assert half.loss(half.x).dtype == torch.float32


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_every_gradient_equals_autograds_of_torchs_encoder(placement):
    """To 1e-6, with `norm_first` both ways and the same weights."""
    ours, p = stack(placement, depth=4, regime="transformer"), probe()
    norms = layer_norms(ours, p.x, loss=p.loss)
    twin, x = torch_twin(ours), p.x.clone().requires_grad_()
    states = [x]
    for layer in twin:
        states.append(layer(states[-1]))
        states[-1].retain_grad()
    p.loss(states[-1]).backward()
    for index in range(4):
        layer = twin[index]
        total = sum(w.grad.double().square().sum() for w in layer.parameters()).sqrt().item()
        assert norms.weights[index] == pytest.approx(total, rel=1e-6)
        assert norms.w2[index] == pytest.approx(layer.linear2.weight.grad.norm().item(), rel=1e-6)
        assert norms.hidden[index] == pytest.approx(states[index].grad.norm().item(), rel=1e-6)
    assert last_layer_norm(ours, p) == pytest.approx(
        twin[3].linear2.weight.grad.norm().item(), rel=1e-6
    )


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_the_stacks_of_a_model_are_measured_as_our_own(placement):
    ours, p = stack(placement, depth=3, regime="transformer"), probe()
    layers = [ours.layer(index) for index in range(3)]
    x = p.x.clone().requires_grad_()
    found = model_norms({"whole": layers, "last": layers[1:]}, loss=lambda: p.loss(ours(x)))
    expected = layer_norms(ours, p.x, loss=p.loss)
    assert found["whole"] == expected
    assert found["last"].hidden == expected.hidden[1:]
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in layers)


@pytest.mark.parametrize("placement", list(SOURCES))
def test_the_short_way_to_the_last_layer_equals_the_long_one(placement):
    ours, p = stack(placement, depth=2, dtype=torch.float64), probe(dtype=torch.float64)
    short = last_layer_norm(ours, p)
    assert short == pytest.approx(layer_norms(ours, p.x, loss=p.loss).w2[-1], rel=1e-12, abs=1e-15)
    assert all(parameter.requires_grad for parameter in ours.parameters())


def test_rezero_has_no_gradient_in_its_layers_and_one_in_its_scales():
    ours, p = stack("rezero"), probe()
    assert last_layer_norm(ours, p) == 0.0
    norms = layer_norms(ours, p.x, loss=p.loss)
    assert norms.w2 == (0.0, 0.0, 0.0)
    assert min(norms.weights) > 0
    assert max(norms.hidden) == pytest.approx(min(norms.hidden))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close_to_single(dtype):
    exact = last_layer_norm(stack("post"), probe())
    assert last_layer_norm(stack("post", dtype=dtype), probe(dtype=dtype)) == pytest.approx(
        exact, rel=0.1
    )


def test_float16_overflow_is_an_error_and_float32_is_not():
    with pytest.raises(RunFailed, match="overflowed in float16"):
        last_layer_norm(stack("pre", dtype=torch.float16, gamma=1e5), probe(dtype=torch.float16))
    p, ours = probe(dtype=torch.float16), stack("pre", dtype=torch.float16, gamma=1e5)
    with pytest.raises(RunFailed, match="overflowed in float16"):
        layer_norms(ours, p.x, loss=p.loss)
    assert last_layer_norm(stack("pre", gamma=1e5), probe()) > 0


def saved_bytes(depth, placement="post"):
    """Bytes that autograd keeps for the backward pass, each storage once, weights left out."""
    ours, p = stack(placement, depth=depth, width=16), probe(width=16)
    weights = {w.untyped_storage().data_ptr() for w in ours.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = p.loss(ours(p.x.requires_grad_()))
        total = sum(kept.values())
    del loss
    return total


@pytest.mark.parametrize("placement", ["post", "pre", "dlcl"])
def test_memory_is_linear_in_depth(placement):
    small, middle, large = (saved_bytes(depth, placement) for depth in (4, 8, 16))
    assert large - middle == pytest.approx(2 * (middle - small), rel=0.05)


def test_the_initial_profile_is_the_mean_over_the_sweeps_draws():
    config = small(sweep={"seeds": 2})
    found = initial_profile("post", config=config, compute=CPU)
    assert (found.condition, found.step) == ("initialisation", 0)
    assert (found.problem, found.seeds) == ("gaussian", 2)
    assert [row.layer for row in found.rows] == [1, 2, 3]
    norms = []
    for index in range(2):
        drawn, one = draw("post", depth=3, width=8, index=index, config=config, device=CPU.device)
        norms.append(layer_norms(drawn, one.x, loss=one.loss))
    for i, row in enumerate(found.rows):
        assert row.w2 == pytest.approx((norms[0].w2[i] + norms[1].w2[i]) / 2)
        assert row.hidden == pytest.approx((norms[0].hidden[i] + norms[1].hidden[i]) / 2)
    assert found.first_to_last == pytest.approx(found.rows[0].hidden / found.output_hidden)


def test_training_changes_the_profile_and_warm_up_changes_the_training():
    profiles = list(trained_profiles("pre", config=small(layers={"steps": 5}), compute=CPU))
    assert [p.condition for p in profiles] == ["initialisation", "no warm-up", "warm-up"]
    assert [p.step for p in profiles] == [0, 5, 5]
    before, bare, warm = profiles
    assert before.loss != bare.loss != warm.loss
    assert before.rows != bare.rows != warm.rows


def test_a_training_that_diverges_leaves_a_note():
    config = small(layers={"steps": 30}, training={"lr": 1e3})
    found = list(trained_profiles("rezero", config=config, compute=CPU))
    assert found[0].rows
    assert found[0].note == ""
    for profile in found[1:]:
        assert profile.note or profile.rows


def test_averages_of_nothing_are_empty_and_a_zero_gradient_has_no_ratio():
    empty = average([], condition="c", step=1, problem="p", note="seed 0: lost")
    assert (empty.rows, empty.loss, empty.note) == ((), None, "seed 0: lost")
    dead = GradientNorms(weights=(0.0,), w2=(0.0,), hidden=(0.0, 0.0), loss=1.0)
    assert average([dead], condition="c", step=0, problem="p").first_to_last is None
