"""The sequence tasks that deep stacks are trained on: give a sequence back, copied or reversed.

Copying needs no attention; reversing needs every token to attend to its mirror position, which
only the transformer setting can do. Shapes: B batch, T symbols, D features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.engine.learner import Batch
from dlcli.engine.seed import generator
from dlcli.layernorm.config import Placement, StackConfig, Task, TrainConfig
from dlcli.layernorm.stack import Stack, build_stack, profile_admin
from dlcli.layernorm.sublayers import Xavier


def draw_sequences(
    task: Task, *, config: TrainConfig, stream: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw uniform symbols (B, T) and what should come out of them (B, T)."""
    size = (config.batch_size, config.length)
    symbols = torch.randint(config.vocabulary, size, generator=stream)
    return symbols, symbols.flip(1) if task == "reverse" else symbols


class SequenceModel(nn.Module):
    """Symbol and position embeddings, a stack, and a linear readout.

    Args:
        placement: of the stack's normalisation.
        stack: what its layers are made of.
        config: sizes.
        depth: layers of the stack.
        stream: draws all weights.
    """

    def __init__(
        self,
        placement: Placement,
        *,
        stack: StackConfig,
        config: TrainConfig,
        depth: int,
        stream: torch.Generator,
    ) -> None:
        super().__init__()
        init = Xavier(law="gaussian", generator=stream)
        self.stack: Stack = build_stack(
            placement, depth=depth, width=config.width, config=stack, generator=stream
        )
        self.symbols = _half_variance(config.vocabulary, config.width, stream=stream)
        self.positions = _half_variance(config.length, config.width, stream=stream)
        self.readout = init.matrix(config.vocabulary, config.width)

    def embed(self, symbols: Tensor) -> Tensor:
        """Turn symbols (B, T) into x_0 (B, T, D), of unit variance at initialisation."""
        return F.embedding(symbols, self.symbols) + self.positions

    def loss_sum(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy in nats and the number of right symbols."""
        logits = F.linear(hidden, self.readout).flatten(0, 1)
        right = (logits.argmax(1) == targets.flatten()).sum()
        return F.cross_entropy(logits, targets.flatten(), reduction="sum"), right

    def forward(self, symbols: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the sums `loss` and `correct` over all symbols of the batch."""
        loss, right = self.loss_sum(self.stack(self.embed(symbols)), targets)
        return {"loss": loss, "correct": right.to(loss.dtype)}


def _half_variance(rows: int, columns: int, *, stream: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=stream) * 0.5**0.5)


@dataclass(kw_only=True)
class SequenceLearner:
    """A model and its endless stream of fresh sequences, cut into one epoch of `steps` batches."""

    network: nn.Module
    config: TrainConfig
    seed: int
    steps: int
    device: torch.device
    unit: str = "symbols"

    def steps_per_epoch(self) -> int:
        """Return the number of updates of the training."""
        return self.steps

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield the batches; each depends on the seed and its own number alone."""
        del epoch, rank, world
        for step in range(start, self.steps):
            stream = generator(self.seed, "ln-sequences", step)
            symbols, targets = draw_sequences(self.config.task, config=self.config, stream=stream)
            payload = (symbols.to(self.device), targets.to(self.device))
            yield Batch(payload=payload, items=symbols.numel(), weight=float(symbols.numel()))

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        """Add nothing: every batch is fresh, so the training loss is a test loss."""
        del epoch
        return {}


def build_learner(
    placement: Placement,
    *,
    stack: StackConfig,
    config: TrainConfig,
    depth: int,
    steps: int,
    seed: int,
    device: torch.device,
) -> SequenceLearner:
    """Draw a model (Admin's ω profiled on a batch of its own) and its stream of sequences.

    The weights of the stack are drawn first, so the placements of one seed share them.
    """
    model = SequenceModel(
        placement,
        stack=stack,
        config=config,
        depth=depth,
        stream=generator(seed, "ln-model", depth),
    )
    symbols, _ = draw_sequences(config.task, config=config, stream=generator(seed, "ln-profile"))
    profile_admin(model.stack, model.embed(symbols))
    return SequenceLearner(
        network=model.to(device), config=config, seed=seed, steps=steps, device=device
    )
