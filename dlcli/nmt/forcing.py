"""Question 14 measured: the same translator trained with, with half, and without a teacher.

Every cell has the same data, seed and number of updates; only how often the decoder is fed the true
last word differs. Both validation losses show what it costs to go on from one's own words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcli.engine.events import NoticeCallback
from dlcli.engine.session import RunLocation
from dlcli.engine.trainer import Listener, train_all
from dlcli.errors import UsageFault
from dlcli.nmt.config import NmtEvalConfig, NmtTrainConfig, SearchConfig
from dlcli.nmt.evaluation import NmtEvaluation, evaluate, run_split
from dlcli.nmt.trained import NmtResult
from dlcli.nmt.training import train
from dlcli.nmt.translator import Translator


@dataclass(frozen=True, kw_only=True)
class ForcingRow:
    """One ratio: what the training came to, and the test set translated once."""

    teacher_forcing: float
    trained: NmtResult
    tested: NmtEvaluation

    @property
    def exposure_gap(self) -> float | None:
        """Free-running minus teacher-forced validation loss, nats a token."""
        valid = self.trained.valid
        return None if valid is None else valid.free_nll_per_token - valid.nll_per_token


def forcing_cells(config: NmtTrainConfig, ratios: Sequence[float]) -> dict[str, NmtTrainConfig]:
    """Return label → settings, one for each ratio, else the same.

    Raises:
        UsageFault: a ratio is no share, there are fewer than two, or the settings have their own.
    """
    if len(set(ratios)) < 2 or not all(0 <= ratio <= 1 for ratio in ratios):
        raise UsageFault(
            f"--ratios {' '.join(f'{ratio:g}' for ratio in ratios)} compare nothing.",
            hint="Write at least two numbers from 0 to 1, such as --ratios 1 0.5 0.",
        )
    objective = config.objective
    if objective.teacher_forcing != 1 or objective.teacher_forcing_end is not None:
        raise UsageFault(
            "`nmt compare-forcing` sets the teacher-forcing ratio itself.",
            hint="Leave out --teacher-forcing and --teacher-forcing-end; see --ratios.",
        )
    if config.loop.patience or config.loop.max_minutes:
        raise UsageFault(
            "With --patience or --max-minutes the trainings would differ in their updates.",
            hint="Leave them out; --epochs says how long each training is.",
        )
    return {
        f"forcing-{ratio:g}": dataclasses.replace(
            config, objective=dataclasses.replace(objective, teacher_forcing=ratio)
        )
        for ratio in dict.fromkeys(ratios)
    }


def compare_forcing(
    cells: Mapping[str, NmtTrainConfig],
    *,
    location: RunLocation,
    bins: Sequence[int],
    beam_size: int = 1,
    listeners: Sequence[Listener] = (),
    notice: NoticeCallback = lambda _: None,
) -> list[ForcingRow]:
    """Train every cell and translate the test set with each result.

    Args:
        cells: see `forcing_cells`.
        location: the base folder.
        bins: edges of the bins of sentence length, in words of the source.
        beam_size: of the search on the test set.
        listeners: told every event.
        notice: takes one sentence at a time.

    Returns:
        a row a cell; none on processes other than the main one.
    """
    results = train_all(
        cells,
        train=train,
        location=location,
        title="nmt-forcing",
        tolerant=False,
        listeners=listeners,
    )
    return [
        ForcingRow(
            teacher_forcing=cells[label].objective.teacher_forcing,
            trained=result,
            tested=_tested(result, cells[label], bins=bins, beam_size=beam_size, notice=notice),
        )
        for label, result in results.items()
    ]


def _tested(
    result: NmtResult,
    config: NmtTrainConfig,
    *,
    bins: Sequence[int],
    beam_size: int,
    notice: NoticeCallback,
) -> NmtEvaluation:
    how = NmtEvalConfig(
        bins=tuple(bins),
        offline=config.data.offline,
        search=SearchConfig(
            beam_size=beam_size, device=config.compute.device, threads=config.compute.threads
        ),
    )
    translator = Translator.load(Path(result.run), config=how.search)
    sentences = run_split(translator.trained, how, notice=notice)
    return evaluate(translator, sentences, how)
