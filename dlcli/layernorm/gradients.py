"""Gradient norms of a stack: of its last feed-forward matrix, and layer by layer.

`draw` makes a stack and the probe that its gradients are measured with; `last_layer_norm` and
`layer_norms` measure; `initial_profile` and `trained_profiles` average layer by layer over seeds.
`model_norms` measures the stacks of a model of another chapter.
All norms are Frobenius norms, summed in float64.

Shapes: B batch, T tokens, D features, V classes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.engine.device import Compute
from dlcli.engine.loop import Training
from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.layernorm.config import LnGradientsConfig, Placement
from dlcli.layernorm.stack import Stack, Xavier, build_stack, profile_admin
from dlcli.layernorm.training import (
    SequenceLearner,
    SequenceModel,
    build_learner,
    draw_sequences,
    plan,
)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One batch and the loss that is put on the stack's output.

    Attributes:
        x: input x_0 (B, T, D), standard normal.
        targets: classes (B, T), uniform.
        readout: matrix (V, D), Gaussian Xavier; it is not trained.
    """

    x: Tensor
    targets: Tensor
    readout: Tensor

    def loss(self, hidden: Tensor) -> Tensor:
        """Return the token-mean cross-entropy in nats, a scalar, computed in float32 or float64.

        Args:
            hidden: the stack's output (B, T, D).
        """
        logits = F.linear(hidden, self.readout)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return F.cross_entropy(logits.flatten(0, 1), self.targets.flatten())


def draw_probe(
    *,
    batch_size: int,
    tokens: int,
    width: int,
    classes: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Probe:
    """Draw a probe; the same generator state gives the same probe on every device."""
    x = torch.randn(batch_size, tokens, width, generator=generator)
    targets = torch.randint(classes, (batch_size, tokens), generator=generator)
    init = Xavier(law="gaussian", generator=generator, dtype=dtype, device=device)
    readout = init.matrix(classes, width).detach()
    return Probe(x=x.to(device, dtype), targets=targets.to(device), readout=readout)


def draw(
    placement: Placement,
    *,
    depth: int,
    width: int,
    index: int,
    config: LnGradientsConfig,
    device: torch.device,
) -> tuple[Stack, Probe]:
    """Draw the stack and the probe of one seed.

    All placements and depths of a seed share the probe and, layer by layer from the input, the
    weights: slopes compare like with like, and spread 1.4 times less over seeds (measured).

    Args:
        placement: where the normalisation stands.
        depth: layers.
        width: features.
        index: 0 … seeds - 1, counted from `--seed`.
        config: everything else.
        device: where to compute.
    """
    sweep, seed = config.sweep, config.compute.seed
    dtype: torch.dtype = getattr(torch, sweep.dtype)
    stack = build_stack(
        placement,
        depth=depth,
        width=width,
        config=config.stack,
        generator=generator(seed, "ln-weights", index, width),
        dtype=dtype,
        device=device,
    )
    probe = draw_probe(
        batch_size=sweep.batch_size,
        tokens=sweep.tokens,
        width=width,
        classes=sweep.classes,
        generator=generator(seed, "ln-probe", index, width),
        dtype=dtype,
        device=device,
    )
    profile_admin(stack, probe.x)
    return stack, probe


def last_layer_norm(stack: Stack, probe: Probe) -> float:
    """Return the norm of ∂loss/∂W^{2,L}, the matrix of Xiong et al. 2020, Theorem 1.

    Only the last matrix asks for a gradient, so nothing below it is kept: memory does not grow with
    activations, and the cost is that of a forward pass.

    Raises:
        RunFailed: the stack or the gradient is not finite in its number format.
    """
    weight = stack.layer(stack.depth - 1).w2
    with _only(stack, weight):
        hidden = stack(probe.x)
        _require_finite(hidden.detach(), what="The stack's output", dtype=probe.x.dtype)
        (gradient,) = torch.autograd.grad(probe.loss(hidden), weight)
    _require_finite(gradient, what="The last layer's gradient", dtype=probe.x.dtype)
    return _norm(gradient)


@contextlib.contextmanager
def _only(stack: Stack, weight: nn.Parameter) -> Iterator[None]:
    kept = [(p, p.requires_grad) for p in stack.parameters()]
    for parameter, _ in kept:
        parameter.requires_grad_(parameter is weight)
    try:
        yield
    finally:
        for parameter, flag in kept:
            parameter.requires_grad_(flag)


@dataclass(frozen=True, kw_only=True)
class GradientNorms:
    """Gradient norms of one stack on one batch.

    Attributes:
        weights: of all parameters of layer 1 … L together.
        w2: of the second feed-forward matrix of layer 1 … L.
        hidden: of ∂loss/∂x_0 … ∂loss/∂x_L, so one more than there are layers.
        loss: nats per token.
    """

    weights: tuple[float, ...]
    w2: tuple[float, ...]
    hidden: tuple[float, ...]
    loss: float


def layer_norms(stack: Stack, x: Tensor, *, loss: Callable[[Tensor], Tensor]) -> GradientNorms:
    """Return the gradient norm of every layer's weights and of every hidden state.

    Args:
        stack: any placement.
        x: its input (B, T, D).
        loss: turns its output (B, T, D) into a scalar.

    Raises:
        RunFailed: something is not finite in its number format.
    """
    states = list(stack.states(x.detach().requires_grad_()))
    value = loss(stack.finish(states[-1]))
    layers = [stack.layer(index) for index in range(stack.depth)]
    return _norms(value, {"stack": (states, layers)})["stack"]


class ResidualLayer(Protocol):
    """A layer of any residual stack, a module whose first argument and first result are the stream.

    `w2` is the second matrix of its feed-forward sublayer.
    """

    @property
    def w2(self) -> nn.Parameter:
        """Return the matrix that Theorem 1 is about."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield all weights of the layer."""
        ...


def model_norms(
    stacks: Mapping[str, Sequence[nn.Module]], *, loss: Callable[[], Tensor]
) -> dict[str, GradientNorms]:
    """Return the gradient norms of each stack of a model.

    Args:
        stacks: the layers of each (see `ResidualLayer`), from the input on.
        loss: runs the model; nats a token, a scalar.

    Raises:
        RunFailed: something is not finite in its number format.
    """
    states: dict[str, list[Tensor]] = {name: [] for name in stacks}

    def keep(name: str, stream: Tensor | tuple[Tensor, ...]) -> None:
        states[name].append(stream if isinstance(stream, Tensor) else stream[0])

    with contextlib.ExitStack() as hooks:
        for name, layers in stacks.items():
            for layer in layers:
                hooks.enter_context(
                    layer.register_forward_pre_hook(lambda _, x, name=name: keep(name, x))
                )
            hooks.enter_context(
                layers[-1].register_forward_hook(lambda _, __, y, name=name: keep(name, y))
            )
        value = loss()
    given = {
        name: (states[name], cast("Sequence[ResidualLayer]", layers))
        for name, layers in stacks.items()
    }
    return _norms(value, given)


def _norms(
    value: Tensor, stacks: Mapping[str, tuple[Sequence[Tensor], Sequence[ResidualLayer]]]
) -> dict[str, GradientNorms]:
    """Take the gradients of all states x_0 … x_L and layers at once: a graph may allow no more."""
    dtype = next(iter(stacks.values()))[0][0].dtype
    _require_finite(value.detach(), what="The loss", dtype=dtype)
    wanted: dict[int, Tensor] = {}
    for states, layers in stacks.values():
        wanted |= {id(state): state for state in states}
        wanted |= {id(weight): weight for layer in layers for weight in layer.parameters()}
    gradients = torch.autograd.grad(value, list(wanted.values()))
    norms = dict(zip(wanted, map(_norm, gradients), strict=True))
    found = {
        name: GradientNorms(
            weights=tuple(math.hypot(*(norms[id(w)] for w in one.parameters())) for one in layers),
            w2=tuple(norms[id(one.w2)] for one in layers),
            hidden=tuple(norms[id(state)] for state in states),
            loss=value.item(),
        )
        for name, (states, layers) in stacks.items()
    }
    _require_finite(torch.tensor([*norms.values()]), what="A layer's gradient", dtype=dtype)
    return found


def _norm(gradient: Tensor) -> float:
    total: Tensor = torch.linalg.vector_norm(gradient.cpu(), dtype=torch.float64)
    return total.item()


def _require_finite(values: Tensor, *, what: str, dtype: torch.dtype) -> None:
    """Refuse infinities and NaN, naming the number format that overflowed."""
    if not bool(torch.isfinite(values).all()):
        name = str(dtype).removeprefix("torch.")
        raise RunFailed(
            f"{what} overflowed in {name}.",
            hint="Use --dtype float32 or float64, or a smaller --gamma.",
        )


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a stack: means over seeds of gradient norms.

    Attributes:
        layer: 1 next to the input … L.
        weights: of all the layer's parameters.
        w2: of its second feed-forward matrix.
        hidden: of ∂loss/∂x at the layer's input.
    """

    layer: int
    weights: float
    w2: float
    hidden: float


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """The gradient of every layer in one condition.

    Attributes:
        condition: `initialisation`, `no warm-up` or `warm-up`.
        step: updates taken before.
        problem: `gaussian` (random input and targets) or a sequence task.
        rows: one per layer.
        output_hidden: norm of ∂loss/∂x_L, the stack's output.
        first_to_last: hidden gradient at x_0 over that at x_L: below 1 it vanishes on its way.
        loss: nats per token, mean over seeds.
        seeds: how many draws the means are over.
        note: what went wrong, such as a training that diverged.
    """

    condition: str
    step: int
    problem: str
    rows: tuple[LayerRow, ...] = ()
    output_hidden: float | None = None
    first_to_last: float | None = None
    loss: float | None = None
    seeds: int = 0
    note: str = ""


def initial_profile(
    placement: Placement, *, config: LnGradientsConfig, compute: Compute
) -> LayerProfile:
    """Measure every layer on the Gaussian problem, averaged over the sweep's seeds."""
    found = []
    for index in range(config.sweep.seeds):
        stack, probe = draw(
            placement,
            depth=config.layers.depth,
            width=config.sweep.widths[0],
            index=index,
            config=config,
            device=compute.device,
        )
        with compute.autocast():
            found.append(layer_norms(stack, probe.x, loss=probe.loss))
    return average(found, condition="initialisation", step=0, problem="gaussian")


def trained_profiles(
    placement: Placement, *, config: LnGradientsConfig, compute: Compute
) -> Iterator[LayerProfile]:
    """Yield the profile on the sequence task before, after training without and with warm-up."""
    task, steps = config.training, config.layers.steps
    for condition, warmup in (
        ("initialisation", None),
        ("no warm-up", 0),
        ("warm-up", task.warmup_steps),
    ):
        found: list[GradientNorms] = []
        note = ""
        for seed in range(config.compute.seed, config.compute.seed + task.seeds):
            learner = build_learner(
                placement,
                stack=config.stack,
                config=task,
                depth=config.layers.depth,
                steps=steps,
                seed=seed,
                device=compute.device,
            )
            try:
                if warmup is not None:
                    training = plan(task, warmup=warmup, steps=steps, seed=seed, compute=compute)
                    for _ in Training(learner, plan=training).events():
                        pass
                found.append(_task_norms(learner))
            except RunFailed as error:
                note = f"seed {seed}: {error.message}"
        step = 0 if warmup is None else steps
        yield average(found, condition=condition, step=step, problem=task.task, note=note)


def average(
    found: Sequence[GradientNorms], *, condition: str, step: int, problem: str, note: str = ""
) -> LayerProfile:
    """Average norms over seeds, layer by layer; there may be none."""
    if not found:
        return LayerProfile(condition=condition, step=step, problem=problem, note=note)

    def means(rows: Sequence[tuple[float, ...]]) -> list[float]:
        return [sum(column) / len(found) for column in zip(*rows, strict=True)]

    hidden = means([norms.hidden for norms in found])
    columns = (means([n.weights for n in found]), means([n.w2 for n in found]), hidden[:-1])
    return LayerProfile(
        condition=condition,
        step=step,
        problem=problem,
        rows=tuple(
            LayerRow(layer=layer, weights=weights, w2=w2, hidden=at_input)
            for layer, (weights, w2, at_input) in enumerate(zip(*columns, strict=True), start=1)
        ),
        output_hidden=hidden[-1],
        first_to_last=hidden[0] / hidden[-1] if hidden[-1] else None,
        loss=sum(norms.loss for norms in found) / len(found),
        seeds=len(found),
        note=note,
    )


def _task_norms(learner: SequenceLearner) -> GradientNorms:
    """Measure a model on one fresh batch of its task."""
    model = learner.network
    assert isinstance(model, SequenceModel)
    stream = generator(learner.seed, "ln-measured")
    symbols, targets = draw_sequences(learner.config.task, config=learner.config, stream=stream)
    symbols, targets = symbols.to(learner.device), targets.to(learner.device)

    def loss(hidden: Tensor) -> Tensor:
        return model.loss_sum(hidden, targets)[0] / targets.numel()

    with torch.no_grad():
        x = model.embed(symbols)
    return layer_norms(model.stack, x, loss=loss)
