""""""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.errors import RunFailed
from dlcli.layernorm.config import SOURCES, LnGradientsConfig
from dlcli.layernorm.gradients import (
    _holds,
    block_diagonal,
    check_equation,
    check_lemmas,
    closed_form_lambda,
    full_jacobian,
    last_layer_norm,
    layer_norms,
    layernorm_jacobian,
    power_iteration,
    spectral_norm,
)
from dlcli.layernorm.results import loglog_slope
from dlcli.layernorm.stack import LayerNorm, Xavier, draw_probe
from tests.layernorm.test_stack import stack, torch_twin


def check(placement, *, regime="theorem", **exact):
    sizes = {"depth": 3, "width": 8, "tokens": 3, **exact}
    config = resolve(LnGradientsConfig, [{"exact": sizes, "stack": {"regime": regime}}])
    return check_equation(placement, config=config)


@pytest.mark.parametrize("regime", ["theorem", "transformer"])
@pytest.mark.parametrize(("placement", "equation"), [("post", "21'"), ("pre", "22'")])
def test_the_seeds_equations_hold_to_1e_10(placement, equation, regime):
    found = check(placement, regime=regime)
    assert found.equation == equation
    assert found.holds
    assert found.largest_difference < 1e-10
    assert len(found.steps) == 6


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_the_full_bound_bounds_the_true_gradient_at_every_step(placement):
    for step in check(placement, depth=6).steps:
        assert step.gradient <= step.full_bound * (1 + 1e-12)
        assert step.lambda_measured == pytest.approx(step.lambda_closed, rel=1e-9)


def test_what_question_16_drops_is_above_one_and_its_bound_fails():
    """Π λ alone falls below the true gradient: σ_max(I + J_A) cannot be left out."""
    found = check("post", depth=12, width=32, tokens=4)
    assert all(step.dropped_factor > 1 for step in found.steps)
    assert found.steps[0].lambda_product < found.steps[0].gradient
    assert found.largest_lambda > 1


def test_the_exponents_are_the_seeds():
    found = check("post")
    last = found.steps[-1]
    assert last.seed_bound == pytest.approx(found.final_gradient)
    assert last.lambda_product == pytest.approx(found.final_gradient * last.lambda_measured)
    assert found.steps[-2].seed_bound == pytest.approx(found.final_gradient * found.largest_lambda)


def test_a_tolerance_that_is_too_small_fails():
    assert not check("post", tolerance=1e-300).holds


def probe(*, width=8, dtype=torch.float32, tokens=5, batch_size=3):
    return draw_probe(
        batch_size=batch_size,
        tokens=tokens,
        width=width,
        classes=11,
        generator=torch.Generator().manual_seed(1),
        dtype=dtype,
    )


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_every_gradient_equals_autograds_of_torchs_encoder(placement):
    """The issue's figure: 1e-6, with norm_first both ways and the same weights."""
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


@pytest.mark.parametrize("placement", list(SOURCES))
def test_the_short_way_to_the_last_layer_equals_the_long_one(placement):
    ours, p = stack(placement, depth=2, dtype=torch.float64), probe(dtype=torch.float64)
    short = last_layer_norm(ours, p)
    assert short == pytest.approx(layer_norms(ours, p.x, loss=p.loss).w2[-1], rel=1e-12, abs=1e-15)
    assert all(parameter.requires_grad for parameter in ours.parameters())


def test_gradients_agree_with_finite_differences():
    ours, p = stack("pre", depth=2, dtype=torch.float64), probe(dtype=torch.float64)
    direction = torch.randn(p.x.shape, generator=torch.Generator().manual_seed(3)).double()
    x = p.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(p.loss(ours(x)), x)
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (p.loss(ours(p.x + s * direction)) for s in (step, -step))
    slope = (ahead - behind).item() / (2 * step)
    assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-6)
    norms = layer_norms(ours, p.x, loss=p.loss)
    assert norms.hidden[0] == pytest.approx(gradient.norm().item())
    assert len(norms.hidden) == len(norms.weights) + 1 == 3


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


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["theorem", "transformer"])
def test_128_layers_of_width_256_fit_in_2_gigabytes(regime):
    code = f"""
import resource, torch
from tests.layernorm.test_gradients import probe, stack
from dlcli.layernorm.gradients import layer_norms
torch.set_num_threads(1)
p = probe(width=256, tokens=16, batch_size=16)
layer_norms(stack("post", depth=128, width=256, regime="{regime}"), p.x, loss=p.loss)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    root = str(__import__("pathlib").Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    unit = 1024 if sys.platform == "linux" else 1
    assert int(done.stdout) * unit < 2e9, done.stdout
    assert resource.getpagesize() > 0


@pytest.mark.slow
def test_time_is_linear_in_depth():
    depths = (8, 16, 32, 64)
    p = probe(width=128, tokens=16, batch_size=16)
    best = []
    for depth in depths:
        ours = stack("pre", depth=depth, width=128)
        spent = []
        for _ in range(5):
            start = time.process_time()
            layer_norms(ours, p.x, loss=p.loss)
            spent.append(time.process_time() - start)
        best.append(min(spent))
    assert loglog_slope(depths, best) <= 1.1, best


def norm(width, gamma=1.0):
    init = Xavier(law="gaussian", generator=torch.Generator(), dtype=torch.float64)
    return LayerNorm(width, init=init, gamma=gamma).requires_grad_(False)


def tokens(count, width, scale=1.0):
    stream = torch.Generator().manual_seed(2)
    return scale * torch.randn(count, width, generator=stream, dtype=torch.float64) + 0.3


@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_the_analytic_jacobian_equals_autograds(width, gamma):
    y, layer = tokens(4, width), norm(width, gamma)
    layer.gamma.mul_(torch.linspace(0.5, 1.5, width, dtype=torch.float64))
    whole = full_jacobian(layer, y[None])
    blocks = block_diagonal(layernorm_jacobian(y, gamma=layer.gamma))
    torch.testing.assert_close(whole, blocks, rtol=0, atol=1e-12)


def test_one_feature_has_no_derivative_and_two_almost_none():
    assert layernorm_jacobian(tokens(3, 1)).abs().max() == 0
    assert layernorm_jacobian(tokens(3, 2)).abs().max() < 1e-3


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_power_iteration_finds_one_over_sigma(scale):
    y = tokens(5, 9, scale)
    found = power_iteration(norm(9), y, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, closed_form_lambda(y), rtol=1e-10, atol=0)
    exact = torch.stack([torch.linalg.matrix_norm(j, 2) for j in layernorm_jacobian(y)])
    torch.testing.assert_close(closed_form_lambda(y), exact, rtol=1e-10, atol=0)


def test_lambda_exceeds_one_where_the_deviation_is_below_one():
    assert (closed_form_lambda(tokens(3, 50, 0.5)) > 1).all()
    assert (closed_form_lambda(tokens(3, 50, 2.0)) < 1).all()


def test_power_iteration_on_a_plain_matrix():
    stream = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, generator=stream, dtype=torch.float64)
    found = power_iteration(lambda x: x @ matrix.T, tokens(2, 6), generator=stream, iterations=5000)
    assert found.tolist() == pytest.approx([spectral_norm(matrix)] * 2, rel=1e-6)


def test_power_iteration_of_a_constant_is_zero():
    found = power_iteration(norm(1), tokens(2, 1), generator=torch.Generator())
    assert found.tolist() == [0.0, 0.0]


def test_full_jacobian_rows_are_outputs():
    matrix = torch.arange(9, dtype=torch.float64).view(3, 3)
    jacobian = full_jacobian(lambda x: x @ matrix.T, torch.zeros(1, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(jacobian, torch.block_diag(matrix, matrix))


@pytest.fixture(scope="module")
def lemmas():
    layers = {"sweep": {"widths": [64], "seeds": 8}, "layers": {"depth": 5}}
    return check_lemmas(resolve(LnGradientsConfig, [layers]))


def test_lemma_2_holds(lemmas):
    assert lemmas.lemma2_holds
    assert len(lemmas.rows) == 6
    assert lemmas.rows[0].post is None
    assert lemmas.rows[0].pre == pytest.approx(1, abs=0.02)
    for row in lemmas.rows[1:]:
        assert row.post == pytest.approx(1.5, abs=0.2)
        assert row.pre_low * 0.95 <= row.pre <= row.pre_high


def test_lemma_3_is_almost_an_equality_for_centred_input(lemmas):
    low, high = lemmas.lemma3_ratio
    assert 0.999 < low <= high < 1.2


def test_a_norm_outside_the_lemma_fails(lemmas):
    row = lemmas.rows[2]
    assert not _holds(replace(row, post=2.0), slack=0.1)
    assert not _holds(replace(row, pre=1.0), slack=0.1)
    assert not _holds(replace(row, pre=9.0), slack=0.1)
