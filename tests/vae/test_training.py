"""Training a VAE: batches and their draws, snapshots, results, starting weights, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.engine.events import Evaluated, Event, Finished, Notice, Pictures, Preview, Saved
from dlcli.engine.loop import Learner
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from dlcli.engine.step import Batch
from dlcli.engine.stopping import StopFlag
from dlcli.errors import ConfigError, Interrupted
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.generation import snapshots_of, take_snapshot
from dlcli.vae.images import flat, grey
from dlcli.vae.objective import ChoosingNoise, VaeNetwork
from dlcli.vae.trained import TrainResult, load_trained
from dlcli.vae.training import (
    FLOW,
    TASK,
    VaeLearner,
    collapse_warning,
    plan_epoch,
    train,
)
from tests.engine.toy import needs_bf16
from tests.vae.conftest import make_vae

CPU = torch.device("cpu")


def learner(images: torch.Tensor, *, processes: int = 1, held: int = 0, **given: Any) -> VaeLearner:
    config = resolve(VaeTrainConfig, [{"loop": {"batch_size": 8}}, given])
    return VaeLearner(
        VaeNetwork(make_vae(), objective=config.objective),
        train=images[: len(images) - held],
        validation=images[len(images) - held :],
        config=config,
        device=CPU,
        processes=processes,
    )


def epoch(
    of: Learner, *, number: int = 0, start: int = 0, rank: int = 0, world: int = 1
) -> list[Batch]:
    return list(of.batches(epoch=number, start=start, rank=rank, world=world))


def test_every_image_comes_once_an_epoch_in_a_new_order(images: torch.Tensor) -> None:
    made = learner(images)
    orders = []
    for number in (0, 1):
        batches = epoch(made, number=number)
        assert len(batches) == made.steps_per_epoch() == 7
        assert [batch.items for batch in batches] == [8] * 6 + [5]
        assert [batch.weight for batch in batches] == [8.0] * 6 + [5.0]
        orders.append(torch.cat([batch.payload[0] for batch in batches]))
    expected = grey(flat(images))
    for order in orders:
        assert torch.equal(order.sort(0).values, expected.sort(0).values)
    assert not torch.equal(*orders)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"data": {"binarize": "dynamic"}},
    {"objective": {"objective": "iwae", "k": 3}},
    {"objective": {"objective": "iwae", "k": 3, "backward_samples": 2}},
]
NAMES = ["elbo", "dynamic", "iwae", "chosen"]


def _tensors(batch: Batch) -> list[torch.Tensor]:
    """Pixels, noise (with the offsets of a choice, if any) and beta, in this order."""
    pixels, noise, beta = batch.payload
    return [pixels, *(noise if isinstance(noise, ChoosingNoise) else [noise]), beta]


@pytest.mark.parametrize("given", OPTIONS, ids=NAMES)
def test_two_halves_have_the_noise_and_pixels_of_the_whole(
    images: torch.Tensor, given: dict[str, Any]
) -> None:
    made = learner(images, processes=2, **given)
    whole = epoch(made)
    halves = zip(epoch(made, rank=0, world=2), epoch(made, rank=1, world=2), strict=True)
    for batch, (left, right) in zip(whole, halves, strict=True):
        assert left.weight == right.weight == batch.weight
        assert left.items + right.items == batch.items
        parts = (_tensors(each)[:-1] for each in (batch, left, right))
        for ours, a, b in zip(*parts, strict=True):
            assert torch.equal(ours, torch.cat([a, b], dim=-2 if ours.dim() > 1 else 0))


@pytest.mark.parametrize("given", OPTIONS, ids=NAMES)
def test_going_on_in_the_middle_gives_the_same_batches(
    images: torch.Tensor, given: dict[str, Any]
) -> None:
    made = learner(images, **given)
    for a, b in zip(epoch(made)[4:], epoch(made, start=4), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(_tensors(a), _tensors(b), strict=True))


def test_seeds_and_epochs_have_their_own_noise(images: torch.Tensor) -> None:
    first = learner(images)
    other = learner(images, compute={"seed": 1})
    noises = [epoch(first)[0], epoch(first)[1], epoch(first, number=1)[0], epoch(other)[0]]
    for i, a in enumerate(noises):
        for b in noises[i + 1 :]:
            assert not torch.equal(a.payload[1], b.payload[1])


def test_dynamic_pixels_are_drawn_anew_each_epoch(images: torch.Tensor) -> None:
    made = learner(images, data={"binarize": "dynamic"})
    sums = [torch.cat([b.payload[0] for b in epoch(made, number=n)]).sum() for n in range(30)]
    assert set(epoch(made)[0].payload[0].unique().tolist()) == {0.0, 1.0}
    truth = grey(flat(images))
    spread = (truth * (1 - truth)).sum().sqrt() / 30**0.5
    assert (torch.stack(sums).mean() - truth.sum()).abs() < 4 * spread


def test_beta_warms_up_batch_by_batch(images: torch.Tensor) -> None:
    made = learner(images, objective={"beta": 2.0, "beta_warmup_epochs": 2.0})
    betas = [b.payload[2].item() for n in (0, 1, 2) for b in epoch(made, number=n)]
    assert betas[:14] == pytest.approx([2 * (i + 1) / 14 for i in range(14)])
    assert betas[14:] == [2.0] * 7


def planned(images: int, *, batch_size: int, processes: int = 1, arch: str = "mlp") -> list[int]:
    """Return the sizes of the batches of an epoch."""
    given = {"loop": {"batch_size": batch_size}, "model": {"arch": arch}}
    plan = plan_epoch(resolve(VaeTrainConfig, [given]), images=images, processes=processes)
    assert [start for start, _ in plan] == [0, *(stop for _, stop in plan[:-1])]
    assert plan[-1][1] == images
    return [stop - start for start, stop in plan]


def test_batches_are_whole_but_the_last_and_batch_normalisation_sees_no_lone_image() -> None:
    assert planned(10, batch_size=5) == [5, 5]
    assert planned(11, batch_size=5) == [5, 5, 1]
    assert planned(3, batch_size=1) == [1, 1, 1]
    assert planned(11, batch_size=5, arch="conv") == [5, 6]
    assert planned(12, batch_size=5, arch="conv") == [5, 5, 2]
    assert planned(13, batch_size=5, arch="conv", processes=2) == [5, 8]


@pytest.mark.parametrize(
    ("images", "batch_size", "processes"), [(1, 64, 1), (9, 1, 1), (9, 3, 2), (3, 64, 2)]
)
def test_too_few_images_for_batch_normalisation_are_refused(
    images: int, batch_size: int, processes: int
) -> None:
    with pytest.raises(ConfigError, match="at least 2 images"):
        planned(images, batch_size=batch_size, processes=processes, arch="conv")


def test_no_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="no images"):
        learner(images[:0])


def test_without_validation_the_latents_are_watched(images: torch.Tensor) -> None:
    found = learner(images).evaluate(epoch=1)
    assert set(found) == {"kl_per_dim", "active_units"}
    assert len(found["kl_per_dim"]) == 3  # type: ignore[arg-type]


def test_validation_is_the_same_at_each_epoch_and_bounds_agree(images: torch.Tensor) -> None:
    made = learner(images, held=13)
    found = made.evaluate(epoch=1)
    assert found == made.evaluate(epoch=2)
    assert found["valid_loss"] == -found["valid_elbo"]  # type: ignore[operator]
    iwae = learner(images, held=13, objective={"objective": "iwae", "k": 9})
    bound = iwae.evaluate(epoch=1)
    assert bound["valid_loss"] < -bound["valid_elbo"]  # type: ignore[operator]


TINY: dict[str, Any] = {
    "data": {"name": "glyphs:40"},
    "model": {"latent_dim": 3, "hidden": [7]},
    "loop": {"epochs": 2, "batch_size": 16},
    "compute": {"device": "cpu", "precision": "fp32"},
    "snapshots": [0, 1, 9],
}
CONV = {"arch": "conv", "channels": [2, 3, 5, 7], "decoder_channels": [7, 5, 3]}


def config(**given: Any) -> VaeTrainConfig:
    return resolve(VaeTrainConfig, [TINY, given])


def follow(
    settings: VaeTrainConfig,
    location: RunLocation,
    *,
    listen: Callable[[Event], None] = lambda event: None,
    **given: Any,
) -> tuple[list[Event], TrainResult]:
    """Train to the end; return the events and the result."""
    seen: list[Event] = []
    result: TrainResult | None = None

    def watched() -> Iterator[Event]:
        nonlocal result
        result = yield from train(settings, location=location, **given)

    for event in watched():
        seen.append(event)
        listen(event)
    assert result is not None
    return seen, result


def of_kind(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_trained(RunFolder(run), checkpoint=name).model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("model", [{}, CONV], ids=["mlp", "conv"])
def test_a_training_tells_what_happens_and_what_it_came_to(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    events, result = follow(config(model=model), RunLocation(out=tmp_path / "run"))
    assert [e.epoch for e in of_kind(events, Evaluated)] == [1, 2]
    metrics = of_kind(events, Evaluated)[-1].metrics
    parts = metrics["train_reconstruction"] + metrics["train_kl"]
    assert metrics["train_loss"] == pytest.approx(parts)
    assert len(metrics["kl_per_dim"]) == 3
    assert of_kind(events, Finished)[-1].reason == result.reason == "done"
    assert (result.run, result.arch) == (str(tmp_path / "run"), model.get("arch", "mlp"))
    assert (result.epochs, result.test.images) == (2, 8)
    assert result.test.elbo == pytest.approx(-(result.test.reconstruction + result.test.kl))
    assert result.images_per_s > 0
    for part in (f"data:{result.data}", "split:test", "pixels:grey", "samples:16", "seed:0"):
        assert part in result.signature.split("|")


def test_snapshots_show_the_same_latents_and_can_be_drawn_again(tmp_path: Path) -> None:
    events, result = follow(config(), RunLocation(out=tmp_path / "run"))
    *shown, last = of_kind(events, Pictures)
    assert [picture.epoch for picture in (*shown, last)] == [0, 1, 2]
    model = load_trained(RunFolder(Path(result.run))).model
    assert np.array_equal(last.images, take_snapshot(model, seed=0, epoch=2).gallery.images)
    assert type(events[0]).__name__ == "RunStarted"
    first_update = next(i for i, e in enumerate(events) if isinstance(e, Evaluated))
    assert events.index(shown[0]) < first_update
    again = snapshots_of(RunFolder(Path(result.run)))
    assert [snapshot.epoch for snapshot in again] == [0, 1]
    for picture, snapshot in zip(shown, again, strict=True):
        assert np.array_equal(picture.images, snapshot.gallery.images)
    assert np.array_equal(again[0].gallery.z, again[1].gallery.z)
    assert not np.array_equal(shown[0].images, shown[1].images)


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({"snapshots": []}, []),
        ({"snapshots": [2]}, [2]),
        ({"loop": {"epochs": 0}, "snapshots": [9]}, [0]),
        (
            {
                "loop": {"epochs": 30, "patience": 1},
                "optim": {"lr": 0.5},
                "data": {"validation": 9},
            },
            [0, 1],
        ),
    ],
    ids=["none", "the last", "untrained", "early stop"],
)
def test_the_last_epoch_is_drawn_where_there_are_snapshots(
    tmp_path: Path, given: dict[str, Any], epochs: list[int]
) -> None:
    events, result = follow(config(**given), RunLocation(out=tmp_path / "run"))
    drawn = [picture.epoch for picture in of_kind(events, Pictures)]
    assert result.epochs < 9
    assert drawn == sorted({*epochs, *([result.epochs] if epochs else [])})
    kept = {path.stem for path in (tmp_path / "run/checkpoints").glob("epoch-*")}
    assert len(kept) == len([n for n in drawn if n in config(**given).snapshots])


def test_a_screen_has_new_pictures_of_the_same_latents_after_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr("dlcli.engine.loop.PROGRESS_EVERY_S", 0.0)
    few = config(loop={"epochs": 3}, snapshots=[0, 1])
    events, _ = follow(few, RunLocation(out=run))
    previews = of_kind(events, Preview)
    assert ["after epoch 2" in one.caption for one in previews] == [True, False]
    assert "after epoch 3, the same z" in previews[-1].caption
    again = take_snapshot(load_trained(RunFolder(run)).model, seed=0, epoch=3).gallery.images
    assert np.array_equal(previews[-1].images, again[:16])
    monkeypatch.setattr("dlcli.vae.training.FIRST_PREVIEW_S", 0.0)
    events, _ = follow(config(loop={"epochs": 5}), RunLocation(resume=run))
    captions = [one.caption.split(",")[0] for one in of_kind(events, Preview)]
    whens = [caption.partition("p(x|z) ")[2] for caption in captions]
    assert whens == ["after epoch 3", "after epoch 4", "after epoch 5"]
    events, _ = follow(config(loop={"epochs": 1}), RunLocation(out=tmp_path / "long"))
    assert "in epoch 1" in of_kind(events, Preview)[0].caption


def test_a_stopped_run_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = follow(config(model=CONV), RunLocation(out=tmp_path / "whole"))[1]
    stop = StopFlag()
    monkeypatch.setattr("dlcli.engine.session.StopFlag", lambda: stop)

    def stop_after_evaluation(event: Event) -> None:
        stop.requested |= isinstance(event, Evaluated)

    with pytest.raises(Interrupted, match="in epoch 2, and saved"):
        follow(config(model=CONV), RunLocation(out=tmp_path / "cut"), listen=stop_after_evaluation)
    monkeypatch.undo()
    assert RunFolder(tmp_path / "cut").record()["status"] == "interrupted"
    later, resumed = follow(config(model=CONV), RunLocation(resume=tmp_path / "cut"))
    assert resumed.test == whole.test
    assert [event.epoch for event in of_kind(later, Pictures)] == [2]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_no_epochs_measure_the_untrained_network(tmp_path: Path) -> None:
    events, result = follow(config(loop={"epochs": 0}), RunLocation(out=tmp_path / "run"))
    assert (result.epochs, result.images_per_s) == (0, 0.0)
    assert [picture.epoch for picture in of_kind(events, Pictures)] == [0]
    assert same(weights(tmp_path / "run", "epoch-0000"), weights(tmp_path / "run"))


def test_the_result_of_a_validated_run_is_its_best(tmp_path: Path) -> None:
    settings = config(data={"validation": 10}, loop={"epochs": 3}, optim={"lr": 0.5})
    events, result = follow(settings, RunLocation(out=tmp_path / "run"))
    losses = [event.metrics["valid_loss"] for event in of_kind(events, Evaluated)]
    trained = load_trained(RunFolder(Path(result.run)))
    assert trained.checkpoint == "best"
    assert "best" in {event.path.stem for event in of_kind(events, Saved)}
    last_is_best = losses.index(min(losses)) == len(losses) - 1
    assert same(trained.model.state_dict(), weights(Path(result.run))) == last_is_best


@pytest.mark.parametrize(
    "given",
    [
        {"objective": {"objective": "iwae", "k": 3}},
        {"model": {"prior": "flow"}, "objective": {"objective": "iwae"}},
        {"objective": {"free_bits": 0.1, "beta_warmup_epochs": 1.0}},
        {"objective": {"likelihood": "continuous-bernoulli"}},
        {"data": {"binarize": "dynamic"}},
        {"data": {"binarize": "fixed"}},
        {"loop": {"batch_size": 1000}},
        {"model": CONV | {"skip": True}},
        {"model": CONV | {"norm": "none"}},
        pytest.param({"compute": {"precision": "bf16"}}, marks=needs_bf16),
    ],
    ids=lambda given: next(iter(next(iter(given.values())).items()))[1],
)
def test_every_option_trains(tmp_path: Path, given: dict[str, Any]) -> None:
    given = {**given, "loop": {"epochs": 1, **given.get("loop", {})}}
    _, result = follow(config(**given), RunLocation(out=tmp_path / "run"))
    assert np.isfinite(result.test.elbo)


def test_frozen_statistics_come_from_the_weights_started_from(tmp_path: Path) -> None:
    follow(config(model=CONV), RunLocation(out=tmp_path / "a"))
    follow(
        config(
            model={**CONV, "norm": "frozen"},
            objective={"objective": "iwae", "k": 4, "backward_samples": 2},
        ),
        RunLocation(out=tmp_path / "b"),
        init_from=str(tmp_path / "a"),
    )
    before, after = weights(tmp_path / "a"), weights(tmp_path / "b")
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if "running" in name or "num_batches" in name}


def test_shared_batch_statistics_need_cuda(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sync-batch-norm"):
        follow(config(compute={"sync_batch_norm": True}), RunLocation(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_collapse_is_warned_of_once(tmp_path: Path) -> None:
    settings = config(objective={"beta": 1e4}, optim={"lr": 0.01}, loop={"epochs": 3})
    events, _ = follow(settings, RunLocation(out=tmp_path / "run"))
    warnings = [e.message for e in of_kind(events, Notice) if e.level == "warning"]
    assert len(warnings) == 1
    assert "collapsed" in warnings[0]


@pytest.mark.parametrize(
    ("active", "reason", "expected"),
    [
        ([0, 3, 3], "done", []),
        ([0, 0, 3], "done", [2]),
        ([3, 0], "done", [2]),
        ([0], "early-stop", [1]),
        ([0], "interrupted", []),
        ([0, 3, 0, 0], "done", [4]),
    ],
)
def test_one_evaluation_shows_no_collapse_unless_it_is_the_last(
    images: torch.Tensor, active: list[int], reason: str, expected: list[int]
) -> None:
    happened: list[Event] = [
        Evaluated(epoch=n, step=n, metrics={"active_units": units, "train_kl": 9.0 * (units > 0)})
        for n, units in enumerate(active, start=1)
    ]
    end = Finished(reason=reason, epoch=len(active), step=len(active), train_s=1.0, rate=1.0)
    made = learner(images)
    events = list(TASK.watch(made.config, made, [*happened, end]))
    assert isinstance(events[-1], Finished)
    seen = [sum(isinstance(e, Evaluated) for e in events[:at]) for at in range(len(events))]
    assert [n for n, e in zip(seen, events, strict=True) if isinstance(e, Notice)] == expected


def test_metrics_that_show_a_collapse_are_put_into_words() -> None:
    assert collapse_warning({"train_loss": 1.0}, dims=2) == ""
    metrics = {"active_units": 0, "kl_per_dim": [], "train_kl": 0.2}  # of a learned prior
    assert "carry 0.20 nats" in collapse_warning(metrics, dims=2, objective="iwae")


def test_a_learned_prior_is_added_to_weights_that_have_none(tmp_path: Path) -> None:
    follow(config(), RunLocation(out=tmp_path / "a"))
    flowed = {"objective": {"objective": "iwae", "k": 2}, "snapshots": [0]}
    small = {"latent_dim": 3, "prior": "flow", "flow_layers": 2, "flow_hidden": 4}
    given = config(model=small, **flowed)
    follow(given, RunLocation(out=tmp_path / "b"), init_from=str(tmp_path / "a"))
    before, start = weights(tmp_path / "a"), weights(tmp_path / "b", "epoch-0000")
    assert same({name: start[name] for name in before}, before)
    assert all(f"vae.{name}".startswith(FLOW) for name in set(start) - set(before))
    assert len(start) == len(before) + 2 * 6
    follow(given, RunLocation(out=tmp_path / "c"), init_from=str(tmp_path / "b"))
    assert same(weights(tmp_path / "c", "epoch-0000"), weights(tmp_path / "b"))
    other = config(model={**small, "flow_layers": 3}, **flowed)
    with pytest.raises(ConfigError, match="of another network") as caught:
        follow(other, RunLocation(out=tmp_path / "d"), init_from=str(tmp_path / "b"))
    assert caught.value.hint == "Add --flow-layers 2."
    with pytest.raises(ConfigError, match="of another network") as caught:
        follow(config(), RunLocation(out=tmp_path / "e"), init_from=str(tmp_path / "b"))
    assert caught.value.hint == "Add --prior flow --flow-layers 2 --flow-hidden 4."
