"""A learned prior: a bijection with the determinant it says, and a density that sums to one."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.vae.networks import MOST_LOG_SCALE, Flow


def make_flow(dims: int, *, layers: int = 4) -> Flow:
    """A flow far from the identity, in double precision."""
    torch.manual_seed(0)
    flow = Flow(dims, layers=layers, hidden=8).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return flow


def draws(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(0, "v"), dtype=torch.float64)


@pytest.mark.parametrize("dims", [2, 3, 5, 32])
def test_the_inverse_undoes_it(dims: int) -> None:
    flow, v = make_flow(dims), draws(7, 3, dims)
    z, _ = flow(v)
    assert not torch.allclose(z, v, atol=0.1)
    assert torch.allclose(flow.inverse(z)[1], flow(v)[1], atol=1e-10)
    assert torch.allclose(flow.inverse(z)[0], v, atol=1e-10)
    assert torch.allclose(flow(flow.inverse(v)[0])[0], v, atol=1e-10)


@pytest.mark.parametrize("dims", [2, 3, 6])
def test_the_determinant_is_that_of_its_jacobian(dims: int) -> None:
    flow = make_flow(dims)
    for v in draws(4, dims):
        jacobian = torch.autograd.functional.jacobian(lambda point: flow(point)[0], v)
        _, expected = torch.linalg.slogdet(jacobian)
        assert flow(v)[1].item() == pytest.approx(expected.item(), abs=1e-10)


def test_the_density_of_v_sums_to_one() -> None:
    flow = make_flow(2, layers=3)
    axis = torch.linspace(-30, 30, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        z, log_det = flow(grid)
    log_density = -0.5 * z.square().sum(-1) - math.log(2 * math.pi) + log_det
    assert log_density.exp().sum().item() * 0.05**2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dims", [2, 5, 6])
@pytest.mark.parametrize("layers", [1, 4, 5])
def test_it_starts_as_the_identity(dims: int, layers: int) -> None:
    v, flow = draws(5, dims), Flow(dims, layers=layers, hidden=4).double()
    z, log_det = flow(v)
    assert torch.equal(z, v)
    assert torch.equal(flow.inverse(v)[0], v)
    assert not log_det.any()


@pytest.mark.parametrize("dims", [2, 4, 7, 32])
def test_every_coordinate_is_moved(dims: int) -> None:
    flow = make_flow(dims, layers=2)
    v = draws(dims)
    jacobian = torch.autograd.functional.jacobian(lambda point: flow(point)[0], v)
    # A coordinate that no coupling moves is copied: one 1 in its row, and zeros.
    assert ((jacobian != 0).sum(1) > 1).all()


def test_no_coupling_stretches_without_bound() -> None:
    flow = make_flow(4, layers=1)
    _, log_det = flow(1e6 * draws(9, 4))
    assert log_det.abs().max().item() <= 2 * MOST_LOG_SCALE
    assert log_det.isfinite().all()


def test_it_computes_in_full_precision_under_autocast() -> None:
    flow = make_flow(4).float()
    v = draws(9, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        z, log_det = flow(v.bfloat16())
        back, _ = flow.inverse(z)
    assert z.dtype == log_det.dtype == back.dtype == torch.float32
    assert torch.allclose(back, v.bfloat16().float(), atol=1e-4)
