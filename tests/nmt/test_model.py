""""""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.nmt import model as module
from dlcli.nmt.batching import SentenceBatch
from dlcli.nmt.config import NmtModelConfig, NmtObjectiveConfig
from dlcli.nmt.model import (
    NmtNetwork,
    Translation,
    build_model,
    draw_true,
    feed,
    ratio_at,
    validation_sums,
)
from dlcli.nmt.search import search
from dlcli.nmt.tokenizer import BOS, EOS, PAD
from tests.nmt.tiny_model import padded, tiny_model

SOURCE, MASK = padded([5, 6, 7], [8], [4, 9, 10, 5, 6])
TARGETS = [[5, 7, 9, 4, EOS], [6, EOS], [10, 8, EOS]]
T = max(map(len, TARGETS))
OUT = torch.tensor([[*ids, *[PAD] * (T - len(ids))] for ids in TARGETS])
IN = torch.tensor([[BOS, *ids[:-1], *[PAD] * (T - len(ids))] for ids in TARGETS])
BATCH = SentenceBatch(
    source=SOURCE, mask=MASK, target_in=IN, target_out=OUT, tokens=sum(map(len, TARGETS))
)


@pytest.fixture(scope="module")
def forcing_model() -> Translation:
    return tiny_model()


def _keep(value: bool) -> torch.Tensor:
    return torch.full(IN.shape, value)


def test_fed_the_true_words_it_is_teacher_forcing(forcing_model: Translation) -> None:
    assert torch.equal(feed(forcing_model, SOURCE, MASK, true=IN, keep=_keep(True)), IN)


def test_fed_its_own_words_it_goes_the_way_of_greedy_search(forcing_model: Translation) -> None:
    fed = feed(forcing_model, SOURCE, MASK, true=IN, keep=_keep(False))
    assert (fed[:, 0] == BOS).all()
    best = search(forcing_model, SOURCE, MASK, max_length=T - 1)
    checked = 0
    for row, hypotheses in zip(fed[:, 1:].tolist(), best, strict=True):
        ids = list(hypotheses[0].ids)
        if {PAD, BOS} & set(row[: len(ids)]):
            continue  # which a search never says, and a decoder under training may
        assert row[: len(ids)] == ids
        checked += len(ids)
    assert checked


def test_each_word_is_taken_from_where_the_coin_says(forcing_model: Translation) -> None:
    keep = torch.rand(IN.shape, generator=generator(0, "coin")) < 0.5
    fed = feed(forcing_model, SOURCE, MASK, true=IN, keep=keep)
    assert torch.equal(fed[keep], IN[keep] * 1)
    memory = forcing_model.encode(SOURCE, MASK)
    state = forcing_model.start(memory)
    for t in range(1, T):
        step = forcing_model.step(fed[:, t - 1], state, memory)
        own = step.logits.argmax(1)
        assert torch.equal(fed[:, t][~keep[:, t]], own[~keep[:, t]])
        state = step.state


def test_the_choice_leaves_the_model_in_its_mode(forcing_model: Translation) -> None:
    for training in (True, False):
        forcing_model.train(training)
        feed(forcing_model, SOURCE, MASK, true=IN, keep=_keep(False))
        assert forcing_model.training is training
    forcing_model.eval()


def test_the_network_returns_sums_and_their_gradients(forcing_model: Translation) -> None:
    network = NmtNetwork(forcing_model, label_smoothing=0.1)
    for keep in (None, _keep(True)):
        found = network(BATCH, keep)
        expected = forcing_model.loss(
            SOURCE, MASK, target_in=IN, target_out=OUT, label_smoothing=0.1
        )
        torch.testing.assert_close(found["loss"], expected["loss"])
        torch.testing.assert_close(found["nll"], expected["nll"])
    found = network(BATCH, _keep(False))
    fed = feed(forcing_model, SOURCE, MASK, true=IN, keep=_keep(False))
    again = forcing_model.loss(SOURCE, MASK, target_in=fed, target_out=OUT, label_smoothing=0.1)
    torch.testing.assert_close(found["loss"], again["loss"])
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in forcing_model.parameters())
    network.zero_grad()


def test_validation_sums_are_negative_log_likelihoods(forcing_model: Translation) -> None:
    log_p = forcing_model.logits(forcing_model.force(SOURCE, MASK, IN).features).log_softmax(-1)
    picked = log_p.gather(2, OUT[:, :, None])[:, :, 0][OUT != PAD]
    assert validation_sums(forcing_model, BATCH, free=False) == pytest.approx(
        -float(picked.sum().detach())
    )
    own = feed(forcing_model, SOURCE, MASK, true=IN, keep=_keep(False))
    free = forcing_model.loss(SOURCE, MASK, target_in=own, target_out=OUT)["nll"]
    assert validation_sums(forcing_model, BATCH, free=True) == pytest.approx(float(free.detach()))


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


KINDS: list[dict[str, Any]] = [
    {},
    {"attention_query": "previous"},
    {"attention": "none"},
    {"tie_embeddings": False, "readout": "tanh", "readout_size": 5},
    {"encoder_layers": 2},
]


def target(*sentences: list[int]) -> tuple[Tensor, Tensor]:
    """Lay out targets: BOS y1 …, and y1 … EOS."""
    out, _ = padded(*sentences)
    first = torch.full((len(out), 1), BOS)
    return torch.cat([first, out[:, :-1]], dim=1), out


def pair() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source, mask = padded([4, 5, 6, 7], [8], [9, 10, 4])
    return source, mask, *target([5, 4], [6, 7, 8, 9, 10], [4])


def gradients(model: Translation, *, fused: bool) -> tuple[Tensor, dict[str, Tensor]]:
    model.use_kernels(fused)
    model.zero_grad()
    source, mask, target_in, target_out = pair()
    sums = model.loss(source, mask, target_in=target_in, target_out=target_out, label_smoothing=0.1)
    sums["loss"].backward()
    return torch.stack([sums["loss"].detach(), sums["nll"].detach()]), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_fused_functions_have_the_plain_values_and_gradients(kind: dict[str, Any]) -> None:
    model = tiny_model(**kind)
    plain, expected = gradients(model, fused=False)
    fused, found = gradients(model, fused=True)
    torch.testing.assert_close(fused, plain)
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name], msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_parameter_gets_a_gradient(kind: dict[str, Any]) -> None:
    model = tiny_model(**kind)
    _, found = gradients(model, fused=True)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert not [name for name, grad in found.items() if not grad.any()]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_steps_say_what_forcing_says(kind: dict[str, Any]) -> None:
    model = tiny_model(**kind)
    source, mask, target_in, _ = pair()
    forced = model.force(source, mask, target_in)
    logits = model.logits(forced.features)
    memory = model.encode(source, mask)
    state = model.start(memory)
    for t in range(target_in.size(1)):
        step = model.step(target_in[:, t], state, memory)
        torch.testing.assert_close(step.logits, logits[:, t])
        torch.testing.assert_close(step.attention, forced.attention[:, t])
        state = step.state


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_padding_and_neighbours_change_nothing(kind: dict[str, Any], fused: bool) -> None:
    model = tiny_model(**kind)
    model.use_kernels(fused)
    source, mask, target_in, target_out = pair()
    together = model.force(source, mask, target_in)
    losses = []
    for row in range(len(source)):
        S, T = int(mask[row].sum()), int((target_out[row] != PAD).sum())
        own = (source[row : row + 1, :S], mask[row : row + 1, :S])
        alone = model.force(*own, target_in[row : row + 1, :T])
        torch.testing.assert_close(together.features[row, :T], alone.features[0])
        torch.testing.assert_close(together.attention[row, :T, :S], alone.attention[0])
        words = {
            "target_in": target_in[row : row + 1, :T],
            "target_out": target_out[row : row + 1, :T],
        }
        losses.append(model.loss(*own, **words)["nll"])
    whole = model.loss(source, mask, target_in=target_in, target_out=target_out)["nll"]
    torch.testing.assert_close(whole, torch.stack(losses).sum())


def test_rows_of_attention_sum_to_one_and_are_zero_without() -> None:
    source, mask, target_in, _ = pair()
    attention = tiny_model().force(source, mask, target_in).attention
    torch.testing.assert_close(attention.sum(2), torch.ones_like(attention[:, :, 0]))
    assert not attention[:, :, :][~mask[:, None].expand_as(attention)].any()
    assert not tiny_model(attention="none").force(source, mask, target_in).attention.any()


def test_dropout_is_for_training_only() -> None:
    model = tiny_model()
    source, mask, target_in, target_out = pair()

    def nll() -> Tensor:
        return model.loss(source, mask, target_in=target_in, target_out=target_out)["nll"]

    assert torch.equal(nll(), nll())
    model.train()
    assert not torch.equal(nll(), nll())


@pytest.mark.parametrize("fused", [False, True])
def test_under_autocast_the_loss_is_nearly_the_same_and_float32(fused: bool) -> None:
    model = tiny_model().float()
    model.use_kernels(fused)
    source, mask, target_in, target_out = pair()
    words = {"target_in": target_in, "target_out": target_out}
    exact = model.loss(source, mask, **words)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.loss(source, mask, **words)["loss"]
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_the_default_has_about_ten_million_parameters() -> None:
    model = build_model(NmtModelConfig(), vocabulary=8000)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(10e6, rel=0.05)
    assert model.output_weight is model.embedding.weight


def test_untied_embeddings_are_three_matrices() -> None:
    tied = build_model(replace(NmtModelConfig(), embedding=3), vocabulary=1000)
    untied = build_model(
        replace(NmtModelConfig(), embedding=3, tie_embeddings=False), vocabulary=1000
    )
    extra = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert extra == 2 * 3 * 1000


def test_it_starts_with_uniform_attention_and_nearly_uniform_words() -> None:
    torch.manual_seed(0)
    model = build_model(NmtModelConfig(), vocabulary=50).eval()
    source, mask, target_in, _ = pair()
    forced = model.force(source, mask, target_in)
    uniform = (mask / mask.sum(1, keepdim=True))[:, None].expand_as(forced.attention)
    torch.testing.assert_close(forced.attention, uniform)
    assert torch.log_softmax(model.logits(forced.features), dim=2).std() < 0.5


# -- The posterior over source positions: Bayes' rule, written out word by word

POSTERIOR_SOURCE = torch.tensor([[5, 6, 7, 8, EOS], [9, 10, EOS, PAD, PAD]])
TARGET = torch.tensor([[11, 12, 13, EOS], [14, EOS, PAD, PAD]])
TARGET_IN = torch.tensor([[BOS, 11, 12, 13], [BOS, 14, PAD, PAD]])
POSTERIOR_MASK = POSTERIOR_SOURCE != PAD
LENGTHS = [(4, 5), (2, 3)]


@pytest.fixture(params=["updated", "previous"])
def posterior_model(request: pytest.FixtureRequest) -> Translation:
    return tiny_model(vocabulary=40, attention_query=request.param).double()


def posteriors(posterior_model: Translation) -> list[torch.Tensor]:
    with torch.inference_mode():
        return posterior_model.posterior(
            POSTERIOR_SOURCE, POSTERIOR_MASK, target_in=TARGET_IN, target_out=TARGET
        )


def test_it_is_attention_times_what_each_position_makes_likely(
    posterior_model: Translation,
) -> None:
    found = posteriors(posterior_model)
    with torch.inference_mode():
        memory = posterior_model.encode(POSTERIOR_SOURCE, POSTERIOR_MASK)
        states = posterior_model.decoder.unroll(posterior_model._embed_target(TARGET_IN), memory)
        for b, (T, S) in enumerate(LENGTHS):
            assert found[b].shape == (T, S)
            for t in range(T):
                joint = []
                for s in range(S):
                    features = posterior_model.readout(
                        states.hidden[b, t],
                        embedded=posterior_model.target_table.weight[TARGET_IN[b, t]],
                        contexts=memory.values[b, s],
                    )
                    word = posterior_model.logits(features).softmax(0)[TARGET[b, t]]
                    joint.append(states.attention[b, t, s] * word)
                wanted = torch.stack(joint) / torch.stack(joint).sum()
                torch.testing.assert_close(found[b][t].double(), wanted, rtol=1e-5, atol=1e-7)


def test_a_few_rows_at_a_time_change_nothing(
    posterior_model: Translation, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = posteriors(posterior_model)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    for one, other in zip(whole, posteriors(posterior_model), strict=True):
        torch.testing.assert_close(one, other)


def test_it_is_attention_where_the_source_says_nothing_of_the_word(
    posterior_model: Translation,
) -> None:
    linear = posterior_model.readout.linear
    with torch.no_grad():
        linear.weight[:, -posterior_model.config.encoder_hidden * 2 :] = 0
        forced = posterior_model.force(POSTERIOR_SOURCE, POSTERIOR_MASK, TARGET_IN).attention
    for found, attention, (T, S) in zip(posteriors(posterior_model), forced, LENGTHS, strict=True):
        torch.testing.assert_close(found.double(), attention[:T, :S], rtol=1e-5, atol=1e-7)


def test_a_position_that_is_never_looked_at_stays_at_nothing() -> None:
    posterior_model = tiny_model(vocabulary=40)
    readings = []

    def record(reading: module.Reading, **others: object) -> torch.Tensor:
        readings.append(reading)
        return torch.zeros(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dlcli.nmt.model.source_posterior", record)
        posteriors(posterior_model)
    with torch.inference_mode():
        attention = readings[0].attention.clone()
        attention[:, 0] = 0.0
        reading = replace(readings[0], attention=attention)
        found = module.source_posterior(
            reading,
            readout=posterior_model.readout,
            weight=posterior_model.output_weight,
            bias=posterior_model.output_bias,
        )
    assert not found[:, 0].any()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))
