"""The recurrent network: against torch's own layers, the paper's formulas, and step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlcli.nmt import networks as module
from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.networks import (
    AdditiveAttention,
    AttentionGru,
    Encoder,
    Readout,
    build_model,
)
from dlcli.nmt.tokenizer import PAD
from tests.nmt.toy import TINY, pair, tiny_model

KINDS: list[dict[str, Any]] = [
    {},
    {"attention_query": "previous"},
    {"attention": "none"},
    {"tie_embeddings": False, "readout": "tanh", "readout_size": 5},
    {"encoder_layers": 2},
]
LENGTHS = torch.tensor([7, 2, 5])


def gradients(model: AttentionGru, *, fused: bool) -> tuple[Tensor, dict[str, Tensor]]:
    model.fused = fused
    model.zero_grad()
    source, mask, target_in, target_out = pair()
    sums = model.loss(source, mask, target_in=target_in, target_out=target_out, label_smoothing=0.1)
    sums["loss"].backward()
    return torch.stack([sums["loss"].detach(), sums["nll"].detach()]), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_fast_forms_have_the_plain_values_and_gradients(kind: dict[str, Any]) -> None:
    model = tiny_model(**kind)
    plain, expected = gradients(model, fused=False)
    fused, found = gradients(model, fused=True)
    torch.testing.assert_close(fused, plain)
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for name, grad in found.items():
        assert grad.any(), name
        torch.testing.assert_close(grad, expected[name], msg=lambda text, n=name: f"{n}: {text}")


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
    model.fused = fused
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
    model, without = tiny_model(), tiny_model(attention="none")
    attention = model.force(source, mask, target_in).attention
    torch.testing.assert_close(attention.sum(2), torch.ones_like(attention[:, :, 0]))
    assert not attention[~mask[:, None].expand_as(attention)].any()
    assert not without.force(source, mask, target_in).attention.any()
    assert (model.has_attention, without.has_attention) == (True, False)


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
    model.fused = fused
    source, mask, target_in, target_out = pair()
    words = {"target_in": target_in, "target_out": target_out}
    exact = model.loss(source, mask, **words)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.loss(source, mask, **words)["loss"]
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_it_starts_with_uniform_attention_and_nearly_uniform_words() -> None:
    torch.manual_seed(0)
    model = build_model(NmtModelConfig(), vocabulary=50).eval()
    source, mask, target_in, _ = pair()
    forced = model.force(source, mask, target_in)
    uniform = (mask / mask.sum(1, keepdim=True))[:, None].expand_as(forced.attention)
    torch.testing.assert_close(forced.attention, uniform)
    assert torch.log_softmax(model.logits(forced.features), dim=2).std() < 0.5


def torch_gru(encoder: Encoder, *, layers: int) -> nn.GRU:
    """Make torch's own network with the weights of ours."""
    gru = nn.GRU(5, 3, num_layers=layers, bidirectional=True, batch_first=True).double()
    for layer, (ahead, back) in enumerate(zip(encoder.forwards, encoder.backwards, strict=True)):
        for cell, suffix in ((ahead, ""), (back, "_reverse")):
            for name, value in cell.named_parameters():
                getattr(gru, f"{name}_l{layer}{suffix}").data.copy_(value)
    return gru


def embedded() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 7, 5).double(), torch.arange(7) < LENGTHS[:, None]


@pytest.mark.parametrize("layers", [1, 2])
def test_the_encoder_is_torch_s_gru_over_packed_sentences(layers: int) -> None:
    torch.manual_seed(0)
    config = replace(TINY, embedding=5, encoder_hidden=3, encoder_layers=layers, dropout_context=0)
    encoder = Encoder(config).double()
    words, mask = embedded()
    states, summary = encoder(words, mask=mask)
    packed = pack_padded_sequence(words, LENGTHS, batch_first=True, enforce_sorted=False)
    theirs, last = torch_gru(encoder, layers=layers)(packed)
    torch.testing.assert_close(states, pad_packed_sequence(theirs, batch_first=True)[0])
    torch.testing.assert_close(summary, torch.cat([last[-2], last[-1]], dim=1))


def test_the_encoder_drops_between_layers_and_in_training_only() -> None:
    torch.manual_seed(0)
    words, mask = embedded()
    for layers, training, same in ((2, True, False), (2, False, True), (1, True, True)):
        config = replace(TINY, embedding=5, encoder_layers=layers, dropout_context=0.5)
        encoder = Encoder(config).double().train(training)
        found = [encoder(words, mask=mask)[0] for _ in range(2)]
        assert torch.equal(*found) == same


def test_attention_is_the_paper_s_formula() -> None:
    torch.manual_seed(0)
    attention = AdditiveAttention(replace(TINY, encoder_hidden=3)).double()
    torch.nn.init.normal_(attention.v)
    values, hidden = torch.randn(1, 4, 6).double(), torch.randn(1, 7).double()
    mask = torch.tensor([[True, True, True, False]])
    context, weights = attention(hidden, keys=attention.project(values), values=values, mask=mask)
    W, U, b = attention.query.weight, attention.key.weight, attention.key.bias
    energies = [attention.v @ torch.tanh(W @ hidden[0] + U @ h + b) for h in values[0, :3]]
    torch.testing.assert_close(weights[0, :3], torch.softmax(torch.stack(energies), dim=0))
    assert weights[0, 3] == 0
    torch.testing.assert_close(context[0], weights[0] @ values[0])


def test_maxout_takes_the_larger_of_two_linear_maps_and_tanh_is_bounded() -> None:
    torch.manual_seed(0)
    s, y, c = torch.randn(4, 7), torch.randn(4, 6), torch.randn(4, 10)
    readout = Readout(replace(TINY, readout_size=5))
    both = readout.linear(torch.cat([s, y, c], dim=1))
    expected = torch.stack([both[:, :5], both[:, 5:]]).max(0).values
    torch.testing.assert_close(readout(s, embedded=y, contexts=c), expected)
    found = Readout(replace(TINY, readout="tanh"))(99 * s, embedded=y, contexts=c)
    assert found.size() == (4, 6)
    assert found.abs().max() <= 1


@pytest.fixture(params=["updated", "previous"])
def model(request: pytest.FixtureRequest) -> AttentionGru:
    return tiny_model(vocabulary=40, attention_query=request.param)


def posteriors(model: AttentionGru) -> list[Tensor]:
    source, mask, target_in, target_out = pair()
    with torch.inference_mode():
        return model.posterior(source, mask, target_in=target_in, target_out=target_out)


def test_it_is_attention_times_what_each_position_makes_likely(model: AttentionGru) -> None:
    source, mask, target_in, target_out = pair()
    found = posteriors(model)
    with torch.inference_mode():
        memory = model.encode(source, mask)
        words = model.target_table(target_in)
        hidden, _, attention = model.decoder.unroll(words, memory)
        for b, matrix in enumerate(found):
            T, S = int((target_out[b] != PAD).sum()), int(mask[b].sum())
            assert matrix.shape == (T, S)
            for t in range(T):
                joint = []
                for s in range(S):
                    features = model.readout(
                        hidden[b, t], embedded=words[b, t], contexts=memory.values[b, s]
                    )
                    word = model.logits(features).softmax(0)[target_out[b, t]]
                    joint.append(attention[b, t, s] * word)
                wanted = torch.stack(joint) / torch.stack(joint).sum()
                torch.testing.assert_close(matrix[t].double(), wanted, rtol=1e-5, atol=1e-7)


def test_a_few_rows_at_a_time_change_nothing(
    model: AttentionGru, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = posteriors(model)
    monkeypatch.setattr(module, "SCORED_PAIRS", 7)
    for one, other in zip(whole, posteriors(model), strict=True):
        torch.testing.assert_close(one, other)


def test_a_position_that_is_never_looked_at_stays_at_nothing(
    model: AttentionGru, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = model.decoder.unroll

    def unroll(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
        hidden, contexts, attention = plain(*given)
        return hidden, contexts, attention.index_fill(2, torch.tensor([0]), 0.0)

    model.fused = False
    monkeypatch.setattr(model.decoder, "unroll", unroll)
    for found in posteriors(model):
        assert not found[:, 0].any()
        torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))


def test_the_default_has_about_ten_million_parameters() -> None:
    model = build_model(NmtModelConfig(), vocabulary=8000)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(10e6, rel=0.05)
