"""All questions in order: to add one, write it in the file of its chapter and name it here."""

from __future__ import annotations

from dlcli.assignment import evidence, layernorm, nmt, vae
from dlcli.assignment.question import Question

QUESTIONS: tuple[Question, ...] = (
    evidence.SAMPLING,
    evidence.EVIDENCE,
    evidence.DIVERGENCE,
    vae.BOUNDS,
    vae.BOUNDS_TRAINING,
    vae.OBJECTIVE,
    evidence.LOSS,
    vae.GRADIENTS,
    vae.TRAINING,
    vae.PICTURES_QUESTION,
    vae.NETWORKS_QUESTION,
    nmt.ATTENTION,
    nmt.MEMORY,
    nmt.FORCING,
    layernorm.EQUATIONS,
    layernorm.DEPTH,
)
