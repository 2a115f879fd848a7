"""`dl nmt train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from dlcli.cli.options import OutFlag, Show, add_command, configured
from dlcli.cli.training import (
    OPTIONAL_VALUES,
    ForceFlag,
    InitFlag,
    ResumeFlag,
    SeedsFlag,
    chosen_place,
    is_main_process,
    saved_config,
    training_listeners,
)
from dlcli.nmt.config import NmtTrainConfig

if TYPE_CHECKING:
    from dlcli.nmt.result import NmtResult


def register(app: typer.Typer) -> None:
    """Add `nmt train`."""
    add_command(app, "train", train, cls=NmtTrainConfig, optional=OPTIONAL_VALUES)


def advice(given: dict[str, Any]) -> Mapping[str, Any]:
    """Return what the chosen corpus recommends."""
    from dlcli.data import recommended

    return recommended(str(given.get("data", {}).get("name", "auto")), task="nmt")


@configured(NmtTrainConfig, advice=advice, base=saved_config)
def train(
    config: NmtTrainConfig,
    show: Show,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    init_from: InitFlag = None,
    seeds: SeedsFlag = 1,
) -> None:
    """Train a translator with attention and write a run folder."""
    with training_listeners(show) as listeners:
        from dlcli.nmt import training
        from dlcli.study.repeat import seeds_of, train_all, train_once

        place = chosen_place(show, out=out, resume=resume, force=force, several=seeds > 1)
        if seeds == 1:
            result = train_once(
                config,
                train=training.train,
                place=place,
                init_from=init_from,
                listeners=listeners,
            )
            results = {"": result} if result is not None else {}
        else:
            results = train_all(
                seeds_of(config, seeds),
                train=training.train,
                place=place,
                title=f"nmt-{config.data.direction}-seeds",
                tolerant=False,
                init_from=init_from,
                listeners=listeners,
            )
    if results and is_main_process():
        show_results(show, results)


def show_results(show: Show, results: Mapping[str, NmtResult]) -> None:
    """Show one run, or several seeds: every run, then mean and standard deviation."""
    if len(results) == 1:
        from dlcli.report import translator_facts

        (result,) = results.values()
        show.consoles.result(result, translator_facts(result))
        return
    from dlcli.report import translators_table, with_error
    from dlcli.study.nmt_seeds import summarise
    from dlcli.study.repeat import spread

    table = translators_table(results, what="seed")
    scores = [result.valid.bleu for result in results.values() if result.valid is not None]
    words = []
    if scores:
        bleu = spread(scores)
        mean = with_error(bleu.mean, bleu.std)
        words.append(f"validation BLEU over {len(results)} seeds: {mean} (mean ± std)")
    show.consoles.result(summarise(results), table, *words)
