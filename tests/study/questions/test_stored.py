from __future__ import annotations

import json
from pathlib import Path

from dlcli.assignment.lab import stored_loss, stored_result, stored_signature, stored_test
from dlcli.engine.runs import RunFolder


def _run(folder: Path, **fields: object) -> RunFolder:
    (folder / "run.json").write_text(json.dumps(fields))
    return RunFolder(folder)


def test_reads_what_a_training_left(tmp_path: Path) -> None:
    test = {"elbo": -90.0, "reconstruction": 70.0, "kl": 20.0, "std_error": 0.2}
    run = _run(tmp_path, result={"test": test, "signature": "s"})
    assert stored_test(run) == test
    (loss,) = stored_loss(run, name="n", reference="r")
    assert (loss.value, loss.error, loss.signature) == (90.0, 0.2, "s")


def test_says_nothing_where_nothing_was_stored(tmp_path: Path) -> None:
    run = _run(tmp_path, signature="only")
    assert stored_result(run) == {}
    assert stored_signature(run) == "only"
    assert stored_loss(run, name="n") == []
    assert stored_test(_run(tmp_path, result={"test": {"elbo": 1}})) is None
