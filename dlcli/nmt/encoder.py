"""The bidirectional GRU encoder (Bahdanau, Cho & Bengio 2015, section A.2.1).

Legend: B batch, S source length, E embedding, H hidden a direction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.nmt.fast.directions import run_directions
from dlcli.nmt.gru import run_gru


class Encoder(nn.Module):
    """Embedded words → states that have read the sentence from both sides.

    Args:
        inputs: E.
        hidden: H.
        layers: each reads the concatenated states of the one below.
        dropout: rate between layers.
    """

    def __init__(self, *, inputs: int, hidden: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        sizes = [inputs] + [2 * hidden] * (layers - 1)
        self.hidden, self.dropout, self.fused = hidden, dropout, True
        self.forwards = nn.ModuleList(nn.GRUCell(size, hidden) for size in sizes)
        self.backwards = nn.ModuleList(nn.GRUCell(size, hidden) for size in sizes)

    def forward(self, embedded: Tensor, *, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Read sentences.

        Args:
            embedded: (B, S, E).
            mask: (B, S) bool.

        Returns:
            The top layer's states (B, S, 2H), zero on padding, and its summary (B, 2H): what the
            forward direction ends with at the last word, and the backward one at the first.
        """
        states, summary = embedded, embedded
        for number, (ahead, back) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            if number:
                states = F.dropout(states, self.dropout, training=self.training)
            states, summary = self._read(states, cells=[_cell(ahead), _cell(back)], mask=mask)
        return states, summary

    def _read(
        self, inputs: Tensor, *, cells: list[nn.GRUCell], mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read one layer's inputs (B, S, I) from both sides."""
        if self.fused:
            states, last = run_directions(inputs.transpose(0, 1), cells=cells, mask=mask.t())
            return states.transpose(0, 1), last
        left, left_end = run_gru(cells[0], inputs, mask=mask)
        right, right_end = run_gru(cells[1], inputs, mask=mask, backward=True)
        return torch.cat([left, right], dim=2), torch.cat([left_end, right_end], dim=1)


def _cell(module: nn.Module) -> nn.GRUCell:
    assert isinstance(module, nn.GRUCell)
    return module
