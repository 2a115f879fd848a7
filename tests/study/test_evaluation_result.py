"""Frozen results whose names scripts rely on."""

from __future__ import annotations

import dataclasses

import pytest

from dlcli.vae.study import VaeEvaluation
from tests.report.test_evaluated import NLL, evaluation


def test_a_result_is_complete_when_all_is_done() -> None:
    assert evaluation(done=1.0).complete
    assert not evaluation(done=0.99).complete


def test_results_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NLL.value = 0.0  # type: ignore[misc]


def test_the_names_of_the_design_are_there() -> None:
    names = {field.name for field in dataclasses.fields(VaeEvaluation)}
    expected = {"run", "elbo", "nll", "gap", "active_units", "kl_per_dim", "signature"}
    assert expected | {"nll_binarized"} <= names
    assert {"value", "std_error", "estimator", "k"} <= {f.name for f in dataclasses.fields(NLL)}
