"""Fast forms decline a network that is not, to the last module, the one they were written for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcli.nmt.fast import paths as module
from dlcli.nmt.fast.paths import fast_paths
from dlcli.nmt.model import TranslationModel
from dlcli.nmt.networks import AdditiveAttention, AttentionGru, Encoder, Readout
from dlcli.nmt.search import search
from tests.nmt.toy import SENTENCES, other_model, padded, pair, tiny_model, tiny_transformer

KNOWN: list[dict[str, Any]] = [
    {},
    {"attention": "none"},
    {"attention_query": "previous", "readout": "tanh"},
    {"tie_embeddings": False, "encoder_layers": 3},
]


class OtherCell(nn.GRUCell):
    """A cell of another kind, with the parameters of the one it is derived from."""


class OtherAttention(AdditiveAttention):
    """Attention that is sharper."""

    def forward(self, *given: Any, **more: Any) -> tuple[Tensor, Tensor]:
        context, weights = super().forward(*given, **more)
        return 2 * context, weights


def _derived(kind: type) -> Any:
    return type("Other", (kind,), {})


CHANGES: dict[str, Callable[[AttentionGru], object]] = {
    "cell": lambda model: setattr(model.decoder, "cell", OtherCell(6 + 10, 7)),
    "attention": lambda model: setattr(model.decoder, "attention", OtherAttention(model.config)),
    "encoder's cell": lambda model: operator.setitem(model.encoder.forwards, 0, OtherCell(6, 5)),
    "readout": lambda model: setattr(model, "readout", _derived(Readout)(model.config)),
    "encoder": lambda model: setattr(model, "encoder", _derived(Encoder)(model.config)),
    "new module": lambda model: setattr(model.decoder, "dropout", nn.Dropout(0.5)),
    "new parameter": lambda model: setattr(
        model.readout, "temperature", nn.Parameter(torch.ones(1))
    ),
    "new buffer": lambda model: model.encoder.register_buffer("scale", torch.ones(1)),
    "limited embedding": lambda model: setattr(model.embedding, "max_norm", 1.0),
    "new attribute": lambda model: setattr(model.decoder, "recurrent_dropout", 0.3),
    "hook": lambda model: model.readout.register_forward_hook(lambda *_: None),
    "no bias": lambda model: setattr(model.decoder.bridge, "bias", None),
}


@pytest.mark.parametrize("kind", KNOWN, ids=str)
def test_the_network_as_it_is_is_claimed(kind: dict[str, Any]) -> None:
    assert fast_paths(tiny_model(**kind)) is not None


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_with_one_thing_unknown_is_declined(change: str) -> None:
    model = tiny_model()
    CHANGES[change](model)
    assert fast_paths(model) is None


def test_a_network_of_another_class_or_setting_is_declined() -> None:
    assert fast_paths(other_model()) is fast_paths(tiny_transformer()) is None
    model = tiny_model()
    assert fast_paths(_derived(AttentionGru)(model.config, vocabulary=11)) is None
    object.__setattr__(model.config, "attention_query", "both")
    assert fast_paths(model) is None


def _loss(model: TranslationModel) -> Tensor:
    source, mask, target_in, target_out = pair()
    return model.loss(source, mask, target_in=target_in, target_out=target_out)["loss"]


@pytest.mark.parametrize("path", ["run_directions", "attentive_gru", "softmax_loss"])
def test_no_fast_form_computes_a_network_it_does_not_know(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading, forcing and the loss of a network with an unknown module are the plain ones."""

    def used(*_: object, **__: object) -> None:
        raise AssertionError(f"{path} was used")

    monkeypatch.setattr(module, path, used)
    model = tiny_model()
    with pytest.raises(AssertionError, match="was used"):
        _loss(model)
    CHANGES["attention"](model)
    model = model.double()
    torch.nn.init.normal_(model.decoder.attention.v)  # type: ignore[union-attr]
    found = _loss(model)
    model.fused = False
    assert torch.equal(found, _loss(model))
    model.posterior(*pair()[:2], target_in=pair()[2], target_out=pair()[3])


def test_a_search_with_another_step_is_not_compiled() -> None:
    model = tiny_model().float()
    paths = fast_paths(model)
    assert paths is not None
    if paths.search() is None:
        pytest.skip("this machine has no C++ compiler")
    CHANGES["attention"](model)
    assert fast_paths(model) is None
    assert len(search(model, *padded(*SENTENCES), beam_size=3)) == len(SENTENCES)


def test_in_float64_and_without_a_compiler_no_search_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double, single = fast_paths(tiny_model()), fast_paths(tiny_model().float())
    assert double is not None
    assert single is not None
    assert double.search() is None
    monkeypatch.setattr("dlcli.nmt.fast.decoding.find_library", lambda: (None, ""))
    assert single.search() is None
