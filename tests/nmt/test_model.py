"""What a translator is trained on: teacher forcing, losses, and what any network inherits."""

from __future__ import annotations

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.nmt.batching import SentenceBatch
from dlcli.nmt.config import NmtObjectiveConfig
from dlcli.nmt.model import (
    NmtNetwork,
    TranslationModel,
    draw_true,
    feed,
    ratio_at,
    validation_sums,
)
from dlcli.nmt.tokenizer import BOS, EOS, PAD
from tests.nmt.toy import other_model, padded, pair, tiny_model, tiny_transformer

SOURCE, MASK = padded([5, 6, 7], [8], [4, 9, 10, 5, 6])
TARGETS = [[5, 7, 9, 4, EOS], [6, EOS], [10, 8, EOS]]
T = max(map(len, TARGETS))
OUT = torch.tensor([[*ids, *[PAD] * (T - len(ids))] for ids in TARGETS])
IN = torch.tensor([[BOS, *ids[:-1], *[PAD] * (T - len(ids))] for ids in TARGETS])
BATCH = SentenceBatch(
    source=SOURCE, mask=MASK, target_in=IN, target_out=OUT, tokens=sum(map(len, TARGETS))
)


@pytest.fixture(params=[tiny_model, tiny_transformer, other_model])
def model(request: pytest.FixtureRequest) -> TranslationModel:
    made: TranslationModel = request.param()
    return made


def _keep(value: bool) -> torch.Tensor:
    return torch.full(IN.shape, value)


def test_each_word_is_taken_from_where_the_coin_says(model: TranslationModel) -> None:
    keep = torch.rand(IN.shape, generator=generator(0, "coin")) < 0.5
    fed = feed(model, SOURCE, MASK, true=IN, keep=keep)
    assert torch.equal(fed[keep], IN[keep] * 1)
    memory = model.encode(SOURCE, MASK)
    state = model.start(memory)
    for t in range(1, T):
        step = model.step(fed[:, t - 1], state, memory)
        own = step.logits.argmax(1)
        assert torch.equal(fed[:, t][~keep[:, t]], own[~keep[:, t]])
        state = step.state


def test_the_choice_leaves_the_model_in_its_mode(model: TranslationModel) -> None:
    for training in (True, False):
        model.train(training)
        feed(model, SOURCE, MASK, true=IN, keep=_keep(False))
        assert model.training is training


def test_the_network_returns_sums_and_their_gradients(model: TranslationModel) -> None:
    network = NmtNetwork(model, label_smoothing=0.1)
    for keep in (None, _keep(True)):
        found = network(BATCH, keep)
        expected = model.loss(SOURCE, MASK, target_in=IN, target_out=OUT, label_smoothing=0.1)
        torch.testing.assert_close(found["loss"], expected["loss"])
        torch.testing.assert_close(found["nll"], expected["nll"])
    found = network(BATCH, _keep(False))
    fed = feed(model, SOURCE, MASK, true=IN, keep=_keep(False))
    again = model.loss(SOURCE, MASK, target_in=fed, target_out=OUT, label_smoothing=0.1)
    torch.testing.assert_close(found["loss"], again["loss"])
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_validation_sums_are_negative_log_likelihoods(model: TranslationModel) -> None:
    log_p = model.logits(model.force(SOURCE, MASK, IN).features).log_softmax(-1)
    picked = log_p.gather(2, OUT[:, :, None])[:, :, 0][OUT != PAD]
    assert validation_sums(model, BATCH, free=False) == pytest.approx(-float(picked.sum().detach()))
    own = feed(model, SOURCE, MASK, true=IN, keep=_keep(False))
    free = model.loss(SOURCE, MASK, target_in=own, target_out=OUT)["nll"]
    assert validation_sums(model, BATCH, free=True) == pytest.approx(float(free.detach()))


@pytest.mark.parametrize("unit", ["token", "sentence"])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_coins_fall_as_often_as_asked(unit: str, ratio: float) -> None:
    draws = draw_true(4000, length=5, ratio=ratio, unit=unit, generator=generator(0, "x"))
    assert draws.shape == (4000, 5)
    assert abs(float(draws.float().mean()) - ratio) < 4 * (0.25 / 4000) ** 0.5
    if unit == "sentence":
        assert (draws == draws[:, :1]).all()
    elif 0 < ratio < 1:
        assert (draws != draws[:, :1]).any()


@pytest.mark.parametrize(
    ("start", "end", "progress", "ratio"),
    [
        (0.7, None, 0.9, 0.7),
        (1.0, 0.5, 0.0, 1.0),
        (1.0, 0.5, 0.5, 0.75),
        (1.0, 0.5, 1.0, 0.5),
        (0.0, 1.0, 2.0, 1.0),
    ],
)
def test_the_ratio_moves_linearly(
    start: float, end: float | None, progress: float, ratio: float
) -> None:
    config = NmtObjectiveConfig(teacher_forcing=start, teacher_forcing_end=end)
    assert ratio_at(config, progress=progress) == pytest.approx(ratio)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_networks_own_loss_is_that_of_the_interface(smoothing: float) -> None:
    model = tiny_model()
    source, mask, target_in, target_out = pair()
    given = {"target_in": target_in, "target_out": target_out, "label_smoothing": smoothing}
    found = model.loss(source, mask, **given)
    expected = TranslationModel.loss(model, source, mask, **given)
    torch.testing.assert_close(found, expected)


def test_the_posterior_of_a_network_without_one_is_its_attention() -> None:
    model = other_model()
    source, mask, target_in, target_out = pair()
    attention = model.force(source, mask, target_in).attention.float()
    found = model.posterior(source, mask, target_in=target_in, target_out=target_out)
    for b, matrix in enumerate(found):
        T, S = int((target_out[b] != PAD).sum()), int(mask[b].sum())
        assert torch.equal(matrix, attention[b, :T, :S])
