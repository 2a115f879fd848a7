""""""

from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.layernorm import DEPTH, EQUATIONS
from tests.assignment.answers import number, numbers


def test_both_equations_agree_with_autograd(lab: Lab) -> None:
    found = numbers(EQUATIONS.answer(lab))
    assert len(found) == 2
    assert all(one.value is not None and one.value < 1e-10 for one in found.values())


def test_pre_norm_falls_with_depth_and_post_norm_does_not(lab: Lab) -> None:
    answer = DEPTH.answer(lab)
    post, pre = (number(answer, f"slope against depth, {name}").value for name in ("post", "pre"))
    assert post is not None
    assert pre is not None
    assert pre < post
    assert "Xiong" in number(answer, "slope against depth, pre").reference
    assert len(answer.figures) == 2
