"""The outcome of training VAEs, in words: one run, several seeds, or the cells of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dlcli.report.numbers import count, duration, out_of, with_error
from dlcli.report.tables import ResultTable, facts

if TYPE_CHECKING:
    from dlcli.vae.result import TrainResult


def trained_facts(result: TrainResult) -> ResultTable:
    """Show one finished training."""
    test = result.test
    shown: dict[str, object] = {
        "run": result.run,
        "data": result.data,
        "epochs": result.epochs,
        "test ELBO": f"{with_error(test.elbo, test.std_error)} nats",
        "  reconstruction": f"{test.reconstruction:.3f} nats",
        "  KL": f"{test.kl:.3f} nats",
        "active units": out_of(
            result.active_units, whole=result.latent_dim or len(result.kl_per_dim)
        ),
        "speed": f"{count(result.images_per_s)} images/s",
        "training": duration(result.train_s),
        "pictures": f"{result.run}/figures",
    }
    return facts(shown, signatures=result.signature)


def trained_table(results: Mapping[str, TrainResult], *, what: str) -> ResultTable:
    """Show several finished trainings, one a line.

    Args:
        results: label → result.
        what: what the labels are: `seed`, `setting`.
    """
    columns = [what, "test ELBO (nats)", "reconstruction", "KL", "active units", "images/s", "run"]
    rows = [
        [
            label,
            with_error(result.test.elbo, result.test.std_error),
            f"{result.test.reconstruction:.3f}",
            f"{result.test.kl:.3f}",
            result.active_units,
            count(result.images_per_s),
            result.run,
        ]
        for label, result in results.items()
    ]
    signatures = {label: result.signature for label, result in results.items()}
    return ResultTable(columns, rows, signatures=signatures)
