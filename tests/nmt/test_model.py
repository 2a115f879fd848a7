from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.model import Translation, build_model
from dlcli.nmt.tokenizer import BOS, PAD
from tests.nmt.tiny_model import padded, tiny_model

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
