"""Layer normalisation in deep residual stacks: gradients measured, Theorem 1 passed or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.layernorm.config import LnGradientsConfig as LnGradientsConfig
    from dlcli.layernorm.equations import check_equation as check_equation
    from dlcli.layernorm.gradients import last_layer_norm as last_layer_norm
    from dlcli.layernorm.gradients import layer_norms as layer_norms
    from dlcli.layernorm.jacobian import layernorm_jacobian as layernorm_jacobian
    from dlcli.layernorm.jacobian import power_iteration as power_iteration
    from dlcli.layernorm.lemmas import check_lemmas as check_lemmas
    from dlcli.layernorm.measurement import measure as measure
    from dlcli.layernorm.measurement import run as run
    from dlcli.layernorm.results import LnGradients as LnGradients
    from dlcli.layernorm.stack import Stack as Stack
    from dlcli.layernorm.stack import build_stack as build_stack

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "LnGradients": "dlcli.layernorm.results",
        "LnGradientsConfig": "dlcli.layernorm.config",
        "Stack": "dlcli.layernorm.stack",
        "build_stack": "dlcli.layernorm.stack",
        "check_equation": "dlcli.layernorm.equations",
        "check_lemmas": "dlcli.layernorm.lemmas",
        "last_layer_norm": "dlcli.layernorm.gradients",
        "layer_norms": "dlcli.layernorm.gradients",
        "layernorm_jacobian": "dlcli.layernorm.jacobian",
        "measure": "dlcli.layernorm.measurement",
        "power_iteration": "dlcli.layernorm.jacobian",
        "run": "dlcli.layernorm.measurement",
    },
)
