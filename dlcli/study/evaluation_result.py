"""What `dl vae eval` found: frozen values, with the names that scripts rely on."""

from __future__ import annotations

from dataclasses import dataclass

from dlcli.study.ambiguity import Ambiguity
from dlcli.study.annealed import AnnealedNll
from dlcli.study.bounds import Average


@dataclass(frozen=True, kw_only=True)
class Nll:
    """−log p(x) in nats an image, from above: the bound is low on average."""

    value: float
    std_error: float | None
    """Over images."""
    estimator: str
    k: int
    elbo: float
    """Of the same images and pixels."""
    bounds: tuple[Bound, ...]
    """From the ELBO up."""
    rises: bool
    """ELBO ≤ IWAE-5 ≤ … ≤ IWAE-k, each within 3 standard errors of the paired difference."""
    ess: float
    """Median over images of the effective samples among the k."""
    dominated: float
    """Share of images where one sample carries more than half of the weight."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A lower bound of log p(x), nats an image; `samples` 1 is the ELBO."""

    name: str
    samples: int
    value: float
    std_error: float | None


@dataclass(frozen=True, kw_only=True)
class SnapshotBounds:
    """ELBO, IWAE bound and gap of a run after some epochs: Question 5."""

    epoch: int
    checkpoint: str
    elbo: Average
    iwae: Average
    gap: Average
    """IWAE − ELBO: what is left of KL(q(z|x) ‖ p(z|x))."""
    k: int


@dataclass(frozen=True, kw_only=True)
class VaeEvaluation:
    """What is known of a run, at some point of its evaluation."""

    run: str
    checkpoint: str
    data: str
    arch: str
    epochs: int
    images: int
    pixels: str
    """What the model was trained on and `elbo` is of, such as "grey"."""
    likelihood: str
    elbo: float
    """−(reconstruction + kl)."""
    elbo_std_error: float | None
    reconstruction: float
    kl: float
    nll: Nll | None
    """None for grey pixels under a Bernoulli likelihood: they have no density."""
    nll_binarized: Nll | None
    """The same model on dynamically binarised pixels, where `nll` is None."""
    gap: float | None
    """−ELBO − NLL = KL(q(z|x) ‖ p(z|x)) as far as the bound tells: of `nll` or `nll_binarized`."""
    gap_std_error: float | None
    active_units: int
    latent_dim: int
    """D, of which the active units are some."""
    kl_per_dim: tuple[float, ...]
    """Nats; empty with a learned prior, to which the KL is no sum over dimensions."""
    collapse: str
    ais: AnnealedNll | None
    checkpoints: tuple[SnapshotBounds, ...]
    ambiguity: Ambiguity | None
    evaluations: int
    """Decoder evaluations for the bounds."""
    evaluations_per_s: float
    elapsed_s: float
    precision: str
    device: str
    seed: int
    signature: str
    done: float
    """0 to 1."""
    stage: str

    @property
    def complete(self) -> bool:
        """Whether everything asked for is there."""
        return self.done >= 1
