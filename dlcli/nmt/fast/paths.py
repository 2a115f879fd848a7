"""The fast forms of a translator's work, behind one function that declines what it does not know.

They were written for `AttentionGru` of `dlcli.nmt.networks` as it stands in `CLAIMED`: `fast_paths`
looks at the type, the parameters and the settings of every module of a network, and returns nothing
where one is different or new. That network then computes with its own plain operations, which is
slower and never wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.nmt.fast.decoding import compile_decoder
from dlcli.nmt.fast.kernels import NO_WORD, ROWS, AttentionMemory, product_dtype
from dlcli.nmt.fast.recurrence import attentive_gru, run_directions
from dlcli.nmt.fast.softmax import softmax_loss
from dlcli.nmt.model import TranslationModel
from dlcli.nmt.search import FastSearch

if TYPE_CHECKING:
    from dlcli.nmt.networks import AttentionGru, Memory

OURS, TORCH = "dlcli.nmt.networks", "torch.nn.modules"
GRU = (f"{TORCH}.rnn.GRUCell", "weight_ih weight_hh bias_ih bias_hh", "input_size hidden_size bias")
LINEAR = (f"{TORCH}.linear.Linear", "weight bias", "in_features out_features")
EMBEDDING = (
    f"{TORCH}.sparse.Embedding",
    "weight",
    "num_embeddings embedding_dim padding_idx max_norm norm_type scale_grad_by_freq sparse",
)
LAYERS = (f"{TORCH}.container.ModuleList", "", "")
CLAIMED = {
    "": (
        f"{OURS}.AttentionGru",
        "output_bias",
        "config vocabulary fused output target_embedding",
    ),
    "embedding": EMBEDDING,
    "target_embedding": EMBEDDING,
    "encoder": (f"{OURS}.Encoder", "", "dropout"),
    "encoder.forwards": LAYERS,
    "encoder.forwards.": GRU,
    "encoder.backwards": LAYERS,
    "encoder.backwards.": GRU,
    "decoder": (f"{OURS}.Decoder", "", "attention attention_query"),
    "decoder.bridge": LINEAR,
    "decoder.cell": GRU,
    "decoder.attention": (f"{OURS}.AdditiveAttention", "v", ""),
    "decoder.attention.query": (f"{TORCH}.linear.Linear", "weight", "in_features out_features"),
    "decoder.attention.key": LINEAR,
    "readout": (f"{OURS}.Readout", "", "maxout"),
    "readout.linear": LINEAR,
}
"""Of each module (layers without their number): the exact type, its parameters, its attributes."""
SETTINGS = {"attention_query": {"updated", "previous"}, "readout": {"maxout", "tanh"}}
"""What the compiled code has both forms of."""
_OF_MODULE = vars(nn.Module()).keys()


def fast_paths(model: TranslationModel) -> FastPaths | None:
    """Return the fast forms of a network's work; None for any that they were not written for."""
    return FastPaths(model) if _is_known(model) else None


def _is_known(model: TranslationModel) -> TypeGuard[AttentionGru]:
    return all(_claims(*named) for named in model.named_modules()) and all(
        getattr(model.config, name) in values for name, values in SETTINGS.items()
    )


def _claims(name: str, module: nn.Module) -> bool:
    """Say whether one module is the one known by this name, without a hook."""
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    known, parameters, attributes = CLAIMED.get(name.rstrip("0123456789"), ("", "", ""))
    own = [
        key for key, _ in module.named_parameters(recurse=False) if (name, key) != ("", "output")
    ]
    own += [key for key, _ in module.named_buffers(recurse=False)]
    unusual = (
        module._forward_hooks
        or module._forward_pre_hooks
        or vars(module).keys() - _OF_MODULE - set(attributes.split())
        or getattr(module, "padding_idx", None) is not None
        or getattr(module, "max_norm", None) is not None
    )
    return not unusual and (kind, " ".join(own)) == (known, parameters)


@dataclass(frozen=True)
class FastPaths:
    """The fast forms of one network's work; each has the results of the plain form, to rounding.

    Shapes are those of `dlcli.nmt.networks`: batch first.
    """

    model: AttentionGru

    def read(
        self, inputs: Tensor, *, cells: Sequence[nn.GRUCell], mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read a layer's inputs (B, S, I) from both sides: what `read_both_ways` does."""
        states, last = run_directions(inputs.transpose(0, 1), cells=cells, mask=mask.t())
        return states.transpose(0, 1), last

    def unroll(self, embedded: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor] | None:
        """Consume given words (B, T, E): what `Decoder.unroll` does; None without attention."""
        decoder, attention = self.model.decoder, self.model.decoder.attention
        if attention is None:
            return None
        hidden, contexts, weights = attentive_gru(
            embedded.transpose(0, 1),
            initial=memory.initial,
            source=AttentionMemory(
                keys=memory.keys, values=memory.values, mask=memory.mask, v=attention.v
            ),
            cell=decoder.cell,
            query=attention.query.weight,
            updated=decoder.attention_query == "updated",
        )
        return hidden.transpose(0, 1), contexts.transpose(0, 1), weights.transpose(0, 1)

    def fill_up(self, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Lengthen the rows (M,) of target words to a multiple of `ROWS` that count for nothing."""
        spare = -len(rows) % ROWS
        return F.pad(rows, (0, spare)), F.pad(targets, (0, spare), value=NO_WORD)

    def word_losses(
        self, features: Tensor, targets: Tensor, *, label_smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """Return loss and nll of words from their features (M, R)."""
        return softmax_loss(
            features,
            weight=self.model.output_weight,
            bias=self.model.output_bias,
            targets=targets,
            label_smoothing=label_smoothing,
        )

    @torch.no_grad()
    def search(self) -> FastSearch | None:
        """Return a search with the network's weights as they will stay; None where there is none.

        It multiplies in the precision that autocast says here.
        """
        return compile_decoder(self.model, low=product_dtype(self.model.output_bias))
