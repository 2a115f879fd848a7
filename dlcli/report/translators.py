"""The outcome of training translators, in words: one run, or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dlcli.report.numbers import count, duration
from dlcli.report.tables import ResultTable, facts

if TYPE_CHECKING:
    from dlcli.nmt.result import NmtResult

NONE = "–"


def translator_facts(result: NmtResult) -> ResultTable:
    """Show one finished training."""
    shown: dict[str, object] = {
        "run": result.run,
        "data": f"{result.data}, {result.direction}",
        "parameters": count(result.parameters),
        "vocabulary": count(result.vocabulary),
        "epochs": result.epochs,
        "updates": count(result.updates),
    }
    if (valid := result.valid) is not None:
        shown |= {
            "validation loss": f"{valid.nll_per_token:.4f} nats a token",
            "  free-running": f"{valid.free_nll_per_token:.4f} nats a token",
            "validation BLEU": f"{valid.bleu:.2f} (greedy)",
            "validation chrF": f"{valid.chrf:.2f}",
        }
    shown |= {
        "checkpoint": result.checkpoint,
        "speed": f"{count(result.tokens_per_s)} target tokens/s",
        "training": duration(result.train_s),
    }
    return facts(shown, signatures=result.signature)


def translators_table(results: Mapping[str, NmtResult], *, what: str) -> ResultTable:
    """Show several finished trainings, one a line.

    Args:
        results: label → result.
        what: what the labels are: `seed`, `setting`.
    """
    columns = [
        what,
        "valid BLEU",
        "chrF",
        "loss (nats/token)",
        "free-running loss",
        "updates",
        "tokens/s",
        "run",
    ]
    rows = [[label, *_measured(result), *_rest(result)] for label, result in results.items()]
    signatures = {label: result.signature for label, result in results.items()}
    return ResultTable(columns, rows, signatures=signatures)


def _measured(result: NmtResult) -> list[str]:
    valid = result.valid
    if valid is None:
        return [NONE] * 4
    losses = (valid.nll_per_token, valid.free_nll_per_token)
    return [f"{valid.bleu:.2f}", f"{valid.chrf:.2f}", *(f"{loss:.4f}" for loss in losses)]


def _rest(result: NmtResult) -> list[str]:
    return [count(result.updates), count(result.tokens_per_s), result.run]
