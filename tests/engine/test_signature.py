"""Signatures: one line that says everything that changes a number."""

from __future__ import annotations

from dlcli import __version__
from dlcli.engine.config import signature


def test_parts_come_in_the_order_given_and_the_version_last() -> None:
    found = signature(data="mnist", noise_samples=16, estimator="elbo")
    assert found == f"data:mnist|noise-samples:16|estimator:elbo|version:dlcli-{__version__}"


def test_values_are_written_so_that_equal_ones_read_equal() -> None:
    found = signature(a=None, b=True, c=False, d=0.1 + 0.2, e=[1, 2.50], f=(), g=1e-3, h="a|b")
    assert found.split("|")[:-1] == ["b:yes", "c:no", "d:0.3", "e:1,2.5", "f:", "g:0.001", "h:a/b"]
