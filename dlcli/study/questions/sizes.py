"""How large the report's own experiments are: seconds each, or those of the published settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Everything that differs between a quick and a full report."""

    mode: str
    trained_here: bool
    """Whether the large models are trained by the report instead of taken from the package."""
    train_data: str
    """What the VAE trainings of the report itself see: a data set, or `auto`."""
    epochs: int
    snapshots: tuple[int, ...]
    grid_images: int
    """Training images of a cell of Question 9's grid, of Question 6's and of Question 11's; 0 is
    all of the data set."""
    grid_epochs: int
    beta_epochs: int
    conv_images: int
    conv_epochs: int
    eval_images: int
    eval_k: int
    snapshot_images: int
    snapshot_k: int
    judge_images: int
    """Generated digits that a classifier reads; 0 trains no classifier."""
    gradient_images: int
    gradient_samples: int
    dims: tuple[int, ...]
    prior_samples: tuple[int, ...]
    kl_samples: int
    sentences: int
    """Test sentences that are translated and aligned; 0 is all of the split."""
    beam_size: int
    translator_data: str
    depths: tuple[int, ...]
    norm_seeds: int
    train_stacks: bool


QUICK = Sizes(
    mode="quick",
    trained_here=False,
    train_data="glyphs:5000",
    epochs=10,
    snapshots=(0, 2, 10),
    grid_images=0,
    grid_epochs=2,
    beta_epochs=5,
    conv_images=2000,
    conv_epochs=4,
    eval_images=100,
    eval_k=500,
    snapshot_images=200,
    snapshot_k=200,
    judge_images=0,
    gradient_images=32,
    gradient_samples=100,
    dims=(2, 20, 200),
    prior_samples=(10, 100, 1000, 10_000, 100_000, 1_000_000),
    kl_samples=100_000,
    sentences=1000,
    beam_size=1,
    translator_data="grammar",
    depths=(2, 4, 8, 16, 32, 64),
    norm_seeds=8,
    train_stacks=False,
)
"""Packaged models and the metrics stored with them, and small trainings on embedded digits."""

FULL = Sizes(
    mode="full",
    trained_here=True,
    train_data="auto",
    epochs=80,
    snapshots=(0, 10, 80),
    grid_images=10_000,
    grid_epochs=10,
    beta_epochs=10,
    conv_images=10_000,
    conv_epochs=10,
    eval_images=1000,
    eval_k=5000,
    snapshot_images=1000,
    snapshot_k=500,
    judge_images=10_000,
    gradient_images=64,
    gradient_samples=200,
    dims=(2, 20, 200),
    prior_samples=(10, 100, 1000, 10_000, 100_000, 1_000_000),
    kl_samples=1_000_000,
    sentences=0,
    beam_size=5,
    translator_data="grammar",
    depths=(2, 4, 8, 16, 32, 64),
    norm_seeds=8,
    train_stacks=True,
)
"""The assignment's settings, trained on this machine: hours."""
