"""Which weights are a training's result: the best, the last, or an average of the last few.

Averaging the weights of the last epochs often generalises better than any of them; whether it does
is decided on the validation pairs.
"""

from __future__ import annotations

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.learner import Criterion
from dlcli.engine.runs import RunFolder
from dlcli.engine.weights import AVERAGE, load_model, snapshot_epochs, snapshot_name
from dlcli.nmt.config import NmtLoopConfig
from dlcli.nmt.learner import NmtLearner
from dlcli.nmt.trained import KIND, load_weights_into
from dlcli.nmt.validation import ValidResult

CRITERIA = {
    "bleu": Criterion(metric="valid_bleu", higher_is_better=True),
    "loss": Criterion(metric="valid_loss"),
}


def epochs_to_average(loop: NmtLoopConfig) -> tuple[int, ...]:
    """Return the epochs whose checkpoints are kept to be averaged."""
    return tuple(range(max(1, loop.epochs - loop.average + 1), loop.epochs + 1))


def choose(
    loop: NmtLoopConfig, folder: RunFolder, learner: NmtLearner
) -> tuple[str, ValidResult | None]:
    """Choose a finished training's result and leave its weights in the network.

    Without validation pairs it is the average, where one was asked for, else the last. The
    checkpoints that were kept for the average are removed.

    Returns:
        The checkpoint's name, and what it reaches on the validation pairs.
    """
    best = "best" if folder.checkpoint("best").is_file() else "last"
    valid = _measure(learner, folder, name=best)
    folder.checkpoint(AVERAGE).unlink(missing_ok=True)  # of a shorter training that went on
    if not loop.average or not _average(folder, loop):
        return best, valid
    averaged = _measure(learner, folder, name=AVERAGE)
    criterion = CRITERIA[loop.select_by]
    chosen = AVERAGE
    if valid is not None and averaged is not None:
        value, other = (float(found.metrics()[criterion.metric]) for found in (averaged, valid))
        chosen = AVERAGE if criterion.improves(value, best=other) else best
    if chosen == best:
        folder.checkpoint(AVERAGE).unlink()
        _load(learner, folder, name=best)
    for epoch in snapshot_epochs(folder):
        folder.checkpoint(snapshot_name(epoch)).unlink()
    return (AVERAGE, averaged) if chosen == AVERAGE else (best, valid)


def _average(folder: RunFolder, loop: NmtLoopConfig) -> bool:
    """Write the mean of the weights of the newest epochs kept; say whether there were several."""
    epochs = snapshot_epochs(folder)[-loop.average :]
    if len(epochs) < 2:
        return False
    state = load_checkpoint(folder.checkpoint(snapshot_name(epochs[-1])), kind=KIND)
    sums = {name: tensor.double() for name, tensor in state["model"].items()}
    for epoch in epochs[:-1]:
        weights = load_model(folder, kind=KIND, checkpoint=snapshot_name(epoch)).weights
        sums = {name: total + weights[name].double() for name, total in sums.items()}
    mean = {
        name: (total / len(epochs)).to(state["model"][name].dtype) for name, total in sums.items()
    }
    content = {"config": state["config"], "model": mean, "epochs": epochs}
    save_checkpoint(folder.checkpoint(AVERAGE), content, kind=KIND)
    return True


def _measure(learner: NmtLearner, folder: RunFolder, *, name: str) -> ValidResult | None:
    _load(learner, folder, name=name)
    return None if learner.validation is None else learner.validation.measure(learner.model)


def _load(learner: NmtLearner, folder: RunFolder, *, name: str) -> None:
    saved = load_model(folder, kind=KIND, checkpoint=name)
    load_weights_into(learner.network, saved.weights, source=str(saved.path))
