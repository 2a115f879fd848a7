"""Metrics that were stored with a model at the end of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlcli.engine.runs import RunFolder
from dlcli.study.questions.answer import Number


def stored_result(run: RunFolder) -> Mapping[str, Any]:
    """Return the `result` of run.json; nothing where there is none."""
    found = run.record().get("result")
    return found if isinstance(found, Mapping) else {}


def stored_signature(run: RunFolder) -> str:
    """Return the signature of the stored metrics."""
    return str(stored_result(run).get("signature") or run.record().get("signature") or "")


def stored_test(run: RunFolder) -> Mapping[str, float] | None:
    """Return what a VAE came to on its test images, or None where that was not stored."""
    found = stored_result(run).get("test")
    if not isinstance(found, Mapping) or not {"elbo", "reconstruction", "kl"} <= set(found):
        return None
    return found


def stored_loss(run: RunFolder, *, name: str, reference: str = "") -> list[Number]:
    """Return a VAE's stored test loss as a number, in a list that is empty where there is none."""
    test = stored_test(run)
    if test is None:
        return []
    return [
        Number(
            name=name,
            value=-test["elbo"],
            error=test.get("std_error"),
            spread="standard error over test images",
            unit="nats",
            reference=reference,
            signature=stored_signature(run),
        )
    ]
