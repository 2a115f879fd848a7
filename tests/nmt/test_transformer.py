"""The Transformer: against torch's own layers and the paper's formulas, and step by step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcli.errors import UsageFault
from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.model import TranslationModel
from dlcli.nmt.networks import build_model
from dlcli.nmt.search import search
from dlcli.nmt.tokenizer import PAD
from dlcli.nmt.transformer import (
    Attention,
    DecoderLayer,
    EncoderLayer,
    Transformer,
    positional_encoding,
)
from tests.nmt.toy import SENTENCES, TRANSFORMER, padded, pair, tiny_transformer

KINDS: list[dict[str, Any]] = [
    {},
    {"norm": "post", "layers": (1, 3)},
    {"tie_embeddings": False, "layers": (3, 1)},
    {"embedding": 9, "heads": 3},
]


@pytest.fixture(params=KINDS, ids=str)
def model(request: pytest.FixtureRequest) -> Transformer:
    return tiny_transformer(**request.param)


def _in_proj(ours: Attention) -> dict[str, Tensor]:
    return {
        "in_proj_weight": torch.cat([ours.query.weight, ours.keys_values.weight]),
        "in_proj_bias": torch.cat([ours.query.bias, ours.query.bias.new_zeros(12)]),
        "out_proj.weight": ours.output.weight,
        "out_proj.bias": ours.output.bias,
    }


def _copy(ours: EncoderLayer | DecoderLayer, theirs: nn.Module) -> None:
    parts = {"self_attn": _in_proj(ours.attention)}
    norms = [ours.attention_residual.norm, ours.feedforward_residual.norm]
    if isinstance(ours, DecoderLayer):
        parts["multihead_attn"] = _in_proj(ours.source_attention)
        norms.insert(1, ours.source_residual.norm)
    for number, norm in enumerate(norms, start=1):
        parts[f"norm{number}"] = norm.state_dict()
    parts["linear1"], parts["linear2"] = (ours.feedforward[i].state_dict() for i in (0, 2))
    theirs.load_state_dict(
        {f"{part}.{name}": value for part, found in parts.items() for name, value in found.items()}
    )


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_its_layers_are_those_of_torch(norm: str) -> None:
    model = tiny_transformer(norm=norm)
    source, mask, target_in, _ = pair()
    sizes = (6, 2, 5, 0.0)
    kept = {"batch_first": True, "norm_first": norm == "pre", "dtype": torch.float64}
    torch.manual_seed(1)
    words, read = (torch.randn(*ids.shape, 6, dtype=torch.float64) for ids in (source, target_in))
    encoder = nn.TransformerEncoderLayer(*sizes, **kept).train()  # no fast path
    decoder = nn.TransformerDecoderLayer(*sizes, **kept)
    first, last = model.encoder[0], model.decoder[-1]
    assert isinstance(first, EncoderLayer)
    assert isinstance(last, DecoderLayer)
    _copy(first, encoder)
    _copy(last, decoder)
    memory = first(words, mask=mask)
    expected = encoder(words, src_key_padding_mask=~mask)
    torch.testing.assert_close(memory[mask], expected[mask])
    found, _, weights = last(
        read,
        cached=read.new_zeros(3, 0, 12),
        source=last.source_attention.project(memory),
        mask=mask,
        groups=None,
        need_weights=False,
    )
    assert weights is None
    causal = nn.Transformer.generate_square_subsequent_mask(read.size(1), dtype=torch.float64)
    torch.testing.assert_close(
        found, decoder(read, memory, tgt_mask=causal, memory_key_padding_mask=~mask * -1e9)
    )


def test_positions_are_sines_and_cosines() -> None:
    D = 7
    found = positional_encoding(3, D, first=2, like=torch.zeros(0, dtype=torch.float64))
    for row, t in enumerate((2, 3, 4)):
        for column in range(D):
            angle = t / 10_000 ** ((column - column % 2) / D)
            value = math.cos(angle) if column % 2 else math.sin(angle)
            assert float(found[row, column]) == pytest.approx(value, abs=1e-6)


def test_a_layer_reads_the_sum_of_a_word_and_its_position(model: Transformer) -> None:
    source, mask, target_in, _ = pair()
    target = model.target_embedding or model.embedding
    given = ((model.encoder, model.embedding, source), (model.decoder, target, target_in))
    for layers, table, ids in given:
        seen: list[Tensor] = []
        with layers[0].register_forward_pre_hook(lambda _, words, seen=seen: seen.append(words[0])):
            model.features(source, mask, target_in)
        D, words = table.embedding_dim, table.weight[ids]
        expected = words * D**0.5 + positional_encoding(ids.size(1), D, first=0, like=words)
        torch.testing.assert_close(seen[0], expected)


def test_steps_say_what_forcing_says(model: Transformer) -> None:
    source, mask, target_in, _ = pair()
    forced = model.force(source, mask, target_in)
    assert torch.equal(model.force(source, mask, target_in).features, forced.features)
    torch.testing.assert_close(model.features(source, mask, target_in), forced.features)
    logits = model.logits(forced.features)
    memory = model.encode(source, mask)
    state = model.start(memory)
    for t in range(target_in.size(1)):
        step = model.step(target_in[:, t], state, memory)
        torch.testing.assert_close(step.logits, logits[:, t])
        torch.testing.assert_close(step.attention, forced.attention[:, t])
        state = step.state


def test_hypotheses_keep_their_own_past_in_any_order(model: Transformer) -> None:
    """Several of a sentence, of one none, chosen twice and left out, as a beam does."""
    source, mask = padded([4, 5, 6, 7], [8], [9, 10, 4])
    memory = model.encode(source, mask)
    owner, prefixes = torch.tensor([0, 1, 2]), torch.empty(3, 0, dtype=torch.int64)
    state = model.start(memory)
    moves = [([0, 0, 2, 2, 2], [5, 6, 7, 8, 4]), ([1, 0, 0, 4], [4, 4, 9, 6]), ([3, 3], [10, 5])]
    for rows, words in [([0, 1, 2], [1, 1, 1]), *moves]:
        chosen, previous = torch.tensor(rows), torch.tensor(words)
        owner, state = owner[chosen], state.select(chosen)
        prefixes = torch.cat([prefixes[chosen], previous[:, None]], dim=1)
        step = model.step(previous, state, memory, owner=owner)
        forced = model.force(source[owner], mask[owner], prefixes)
        torch.testing.assert_close(step.logits, model.logits(forced.features[:, -1]))
        torch.testing.assert_close(step.attention, forced.attention[:, -1])
        state = step.state


def test_a_word_sees_none_after_it(model: Transformer) -> None:
    source, mask, target_in, _ = pair()
    before = model.features(source, mask, target_in)
    for t in range(1, target_in.size(1)):
        changed = target_in.clone()
        changed[:, t] = 4 + (changed[:, t] + 1) % 7
        after = model.features(source, mask, changed)
        torch.testing.assert_close(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any(dim=1).all()


@pytest.mark.parametrize(("norm", "count"), [("pre", 4), ("post", 0)])
def test_pre_norm_normalises_what_each_stack_returns(norm: str, count: int) -> None:
    names = [name for name, _ in tiny_transformer(norm=norm).named_parameters()]
    assert sum(name.startswith(("encoder_norm.", "decoder_norm.")) for name in names) == count


def test_padding_and_neighbours_change_nothing(model: Transformer) -> None:
    source, mask, target_in, target_out = pair()
    together = model.force(source, mask, target_in)
    losses = []
    for row in range(len(source)):
        S, T = int(mask[row].sum()), int((target_out[row] != PAD).sum())
        own = (source[row : row + 1, :S], mask[row : row + 1, :S])
        words = (target_in[row : row + 1, :T], target_out[row : row + 1, :T])
        alone = model.force(*own, words[0])
        torch.testing.assert_close(together.features[row, :T], alone.features[0])
        torch.testing.assert_close(together.attention[row, :T, :S], alone.attention[0])
        losses.append(model.loss(*own, target_in=words[0], target_out=words[1])["nll"])
    whole = model.loss(source, mask, target_in=target_in, target_out=target_out)["nll"]
    torch.testing.assert_close(whole, torch.stack(losses).sum())
    many = search(model, *padded(*SENTENCES), beam_size=3)
    for sentence, found in zip(SENTENCES, many, strict=True):
        (alone_found,) = search(model, *padded(sentence), beam_size=3)
        assert [one.ids for one in alone_found] == [one.ids for one in found]


def test_attention_is_of_the_chosen_layer_and_head() -> None:
    source, mask, target_in, _ = pair()
    model = tiny_transformer(layers=(2, 3))
    assert model.attention_signature == {"layer": 2, "head": "mean"}

    def attention(**chosen: int) -> Tensor:
        model.choose_attention(**chosen)
        found = model.force(source, mask, target_in).attention
        torch.testing.assert_close(found.sum(2), torch.ones_like(found[:, :, 0]))
        assert not found[~mask[:, None].expand_as(found)].any()
        return found

    usual, heads = attention(), [attention(layer=2, head=head) for head in (1, 2)]
    torch.testing.assert_close(usual, torch.stack(heads).mean(0))
    for one, other in (
        (heads[0], heads[1]),
        (usual, attention(layer=1)),
        (usual, attention(layer=3)),
    ):
        assert not torch.allclose(one, other)
    assert model.attention_signature == {"layer": 3, "head": "mean"}


@pytest.mark.parametrize("wrong", [{"layer": 4}, {"layer": 0}, {"head": 3}], ids=str)
def test_a_layer_or_head_that_is_not_there_is_named(wrong: dict[str, int]) -> None:
    ((name, number),) = wrong.items()
    with pytest.raises(UsageFault, match=f"no {name} {number}") as caught:
        tiny_transformer(layers=(2, 3)).choose_attention(**wrong)
    assert f"--{name} 1 to" in caught.value.hint


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_its_loss_and_gradients_are_those_of_the_interface(
    smoothing: float, model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, mask, target_in, target_out = pair()
    found = []
    for _ in range(2):
        model.zero_grad()
        given = {"target_in": target_in, "target_out": target_out, "label_smoothing": smoothing}
        sums = model.loss(source, mask, **given)
        sums["loss"].backward()
        found.append([sums["loss"], sums["nll"], *(p.grad for p in model.parameters())])
        monkeypatch.setattr(Transformer, "word_losses", TranslationModel.word_losses)
    torch.testing.assert_close(*found)


def test_every_weight_has_a_gradient_and_dropout_is_for_training_only(model: Transformer) -> None:
    source, mask, target_in, target_out = pair()

    def loss() -> Tensor:
        return model.loss(source, mask, target_in=target_in, target_out=target_out)["loss"]

    assert torch.equal(loss(), loss())
    loss().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    model.train()
    assert not torch.equal(loss(), loss())


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_under_autocast_the_loss_is_nearly_the_same_and_it_searches(norm: str) -> None:
    torch.manual_seed(0)
    config = NmtModelConfig(**{**TRANSFORMER, "norm": norm, "embedding": 16})
    model = build_model(config, vocabulary=11).eval()
    source, mask, target_in, target_out = pair()
    words = {"target_in": target_in, "target_out": target_out}
    exact = model.loss(source, mask, **words)["loss"]
    assert exact.item() / int((target_out != PAD).sum()) == pytest.approx(math.log(11), rel=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.loss(source, mask, **words)["loss"]
        assert len(search(model, *padded(*SENTENCES), beam_size=3)) == len(SENTENCES)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
