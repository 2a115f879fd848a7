"""`dl vae train`."""

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
from dlcli.vae.config import VaeTrainConfig

if TYPE_CHECKING:
    from dlcli.vae.result import TrainResult


def register(app: typer.Typer) -> None:
    """Add `vae train`."""
    add_command(app, "train", train, cls=VaeTrainConfig, optional=OPTIONAL_VALUES)


def advice(given: dict[str, Any]) -> Mapping[str, Any]:
    """Return what the chosen data set recommends."""
    from dlcli.data import recommended

    return recommended(str(given.get("data", {}).get("name", "auto")), task="vae")


@configured(VaeTrainConfig, advice=advice, base=saved_config)
def train(
    config: VaeTrainConfig,
    show: Show,
    *,
    out: OutFlag = None,
    resume: ResumeFlag = None,
    force: ForceFlag = False,
    init_from: InitFlag = None,
    seeds: SeedsFlag = 1,
) -> None:
    """Train a variational auto-encoder and write a run folder with checkpoints and pictures."""
    with training_listeners(show) as listeners:
        from dlcli.study.repeat import seeds_of, train_all, train_once
        from dlcli.vae import training

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
                title=f"vae-{config.model.arch}-seeds",
                tolerant=False,
                init_from=init_from,
                listeners=listeners,
            )
    if results and is_main_process():
        show_results(show, results)


def show_results(show: Show, results: Mapping[str, TrainResult]) -> None:
    """Show one run, or several seeds: every run, then mean and standard deviation."""
    if len(results) == 1:
        from dlcli.report import trained_facts

        (result,) = results.values()
        show.consoles.result(result, trained_facts(result))
        return
    from dlcli.report import trained_table, with_error
    from dlcli.study.repeat import spread, summarise

    elbo = spread([result.test.elbo for result in results.values()])
    mean = (
        f"test ELBO over {len(results)} seeds: {with_error(elbo.mean, elbo.std)} nats (mean ± std)"
    )
    show.consoles.result(summarise(results), trained_table(results, what="seed"), mean)
