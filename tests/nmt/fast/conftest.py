"""The compiled code in each form that this processor can run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dlcli.nmt.fast.compiling import Library, available_forms, find_library

FORMS = available_forms()
PRODUCTS = [(form, torch.float32) for form in FORMS]
PRODUCTS += [(form, torch.bfloat16) for form in FORMS if form.endswith("bf16")]


@pytest.fixture(params=FORMS)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Use one form of the compiled code."""
    yield from _use(request.param, monkeypatch)


@pytest.fixture(params=PRODUCTS, ids=str)
def products(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Library, torch.dtype]]:
    """Use one form, and products in a precision that it has."""
    form, low = request.param
    for library in _use(form, monkeypatch):
        yield library, low


def _use(form: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setenv("DL_SIMD", form)
    find_library.cache_clear()
    found, problem = find_library()
    if found is None:
        pytest.skip(problem)
    yield found
    find_library.cache_clear()
