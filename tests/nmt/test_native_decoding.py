from __future__ import annotations

import pytest
import torch

from dlcli.nmt.fast.decoding import KINDS, Kind, native_decoding


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_for_float32_on_the_cpu_only(kind: Kind) -> None:
    assert native_decoding(torch.zeros(1, dtype=torch.float64), kind=kind) is None
    assert native_decoding(torch.zeros(1, device="meta"), kind=kind) is None


def test_without_a_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcli.nmt.fast.decoding.load_library", lambda *_: None)
    assert native_decoding(torch.zeros(1), kind="fp32") is None
