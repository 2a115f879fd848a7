"""`dl vae eval`: its stages, fields and images, grey pixels, and stopping half-way."""

from __future__ import annotations

import dataclasses
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from dlcli.display.tables import with_error
from dlcli.vae import bounds as bounds_module
from dlcli.vae import judge as judge_module
from dlcli.vae.config import VaeEvalConfig
from dlcli.vae.display import evaluation_words
from dlcli.vae.evaluation import VaeEvaluation, evaluate_run
from dlcli.vae.trained import Trained
from tests.vae.conftest import with_pixels


def results(trained: Trained, **settings: Any) -> list[VaeEvaluation]:
    config = VaeEvalConfig(device="cpu", threads=1, **settings)
    return list(evaluate_run(trained, config, notice=lambda _: None))


def words(found: VaeEvaluation) -> str:
    """Return what a terminal shows of a result."""
    out = StringIO()
    console = Console(file=out, width=200)
    for item in evaluation_words(found):
        console.print(item, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue()


def test_binary_pixels_have_an_nll(trained: Trained) -> None:
    found = results(trained, k=60)[-1]
    assert found.complete
    assert found.images == 20
    assert found.nll_binarized is None
    assert found.nll is not None
    assert (found.nll.estimator, found.nll.k) == ("iwae", 60)
    assert found.gap == pytest.approx(-found.elbo - found.nll.value, abs=1e-9)
    assert found.gap > 0
    assert found.elbo == pytest.approx(-(found.reconstruction + found.kl), abs=1e-9)
    assert [bound.name for bound in found.nll.bounds] == ["ELBO", "IWAE-5", "IWAE-50", "IWAE-60"]
    assert found.nll.rises
    assert len(found.kl_per_dim) == 3
    assert sum(found.kl_per_dim) == pytest.approx(found.kl)
    for part in ("split:test", "images:20", "k:60", "pixels:binarized-dynamically"):
        assert part in found.signature.split("|")
    for part in (
        f"{with_error(found.elbo, found.elbo_std_error)} nats",
        f"{with_error(found.nll.value, found.nll.std_error)} nats or less (IWAE, k = 60)",
        f"{with_error(found.gap, found.gap_std_error)} nats: KL(q(z|x) || p(z|x))",
        f"{found.active_units} of 3",
        "they rise, as they must",
        f"{found.nll.bounds[1].value:.3f}",
        f"signature {found.signature}",
    ):
        assert part in words(found), part
    poor = dataclasses.replace(found, nll=dataclasses.replace(found.nll, ess=3.0))
    assert "too few: log p(x) may be higher still" in words(poor)


def test_a_long_stage_says_how_far_all_of_it_is(trained: Trained) -> None:
    seen: list[tuple[float, str]] = []
    config = VaeEvalConfig(
        device="cpu", threads=1, k=20, ais=True, ais_images=2, ais_chains=4, ais_temperatures=50
    )
    found = list(
        evaluate_run(
            trained, config, notice=lambda _: None, progress=lambda *news: seen.append(news)
        )
    )
    assert found[-1].ais is not None
    begun = next(step for step in found if step.stage == "AIS")
    assert (begun.ais, begun.done) == (None, 0.5), "a result stopped now says what is missing"
    assert {stage for _, stage in seen} == {"AIS"}
    assert (seen[0][0], seen[-1][0]) == (0.5, 1.0)


def test_grey_pixels_have_none_and_say_so(trained: Trained) -> None:
    grey = with_pixels(trained, binarize="none", likelihood="bernoulli")
    found = results(grey, k=20)[-1]
    assert found.nll is None
    assert found.nll_binarized is not None
    assert found.gap == pytest.approx(-found.nll_binarized.elbo - found.nll_binarized.value)
    assert found.nll_binarized.elbo != found.elbo
    assert (found.pixels, "nll-pixels:binarized-dynamically" in found.signature) == ("grey", True)
    for part in ("none: grey pixels have no density", "NLL, binarized", "gap, binarized"):
        assert part in words(found)


def test_a_continuous_bernoulli_gives_grey_pixels_an_nll(trained: Trained) -> None:
    continuous = with_pixels(trained, binarize="none", likelihood="continuous-bernoulli")
    found = results(continuous, k=20)[-1]
    assert found.nll is not None
    assert found.nll_binarized is None
    assert "nll-pixels" not in found.signature


def test_the_seed_fixes_everything_but_the_time(trained: Trained) -> None:
    first, second, other = (results(trained, k=5, seed=seed)[-1] for seed in (0, 0, 1))
    timeless = {"elapsed_s": 0.0, "evaluations_per_s": 0.0}
    assert dataclasses.replace(first, **timeless) == dataclasses.replace(second, **timeless)
    assert first.elbo != other.elbo


def test_results_grow_so_that_one_can_stop(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds_module, "LATENTS_BATCH", 50)
    found = results(trained, k=5, images=15)
    assert [result.images for result in found] == [10, 15, 15]
    assert [result.complete for result in found] == [False, True, True]
    assert "images:10" in found[0].signature


def test_every_stage_adds_to_the_result(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "UPDATES_OF_SMALL_SETS", 2)
    monkeypatch.setattr(judge_module, "EPOCHS", 1)
    found = results(
        trained,
        k=10,
        images=5,
        ais=True,
        ais_images=2,
        ais_chains=3,
        ais_temperatures=20,
        checkpoints="all",
        checkpoints_k=10,
        judge=True,
        judge_images=7,
    )
    done = [result.done for result in found]
    assert done == sorted(done)
    assert done[-1] == 1
    last = found[-1]
    assert last.ais is not None
    assert last.ais.images == 2
    assert [row.epoch for row in last.checkpoints] == [0, 2]
    assert all(row.gap.value >= 0 for row in last.checkpoints)
    assert last.checkpoints[1].elbo.value > last.checkpoints[0].elbo.value
    for part in ("ais-images:2", "ais-chains:3", "ais-temperatures:20", "judge-images:7"):
        assert part in last.signature.split("|")
    assert last.ambiguity is not None
    assert last.ambiguity.real.images == 20
    assert last.ambiguity.generated.images == 7
    assert last.nll == found[0].nll
    ambiguous = with_error(
        100 * last.ambiguity.generated.ambiguous, 100 * last.ambiguity.generated.ambiguous_std_error
    )
    elbo = last.checkpoints[0].elbo
    for part in (
        f"{last.ais.images_below} of them below IWAE", "20 temperatures", "IWAE-10 (nats)",
        with_error(elbo.value, elbo.std_error), f"{ambiguous} %", "of 20 real images",
        f"{100 * last.ambiguity.judge_accuracy:.2f} % of the glyphs:100 test images",
    ):  # fmt: skip
        assert part in words(last), part
