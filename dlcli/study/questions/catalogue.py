"""All questions in order: to add one, write its module and name it here."""

from __future__ import annotations

from dlcli.study.questions import (
    attention,
    bounds,
    divergence,
    evidence,
    forcing,
    gradients,
    memory,
    networks,
    norms,
    objective,
    pictures,
    sampling,
    training,
)
from dlcli.study.questions.question import Question

QUESTIONS: tuple[Question, ...] = (
    sampling.QUESTION,
    evidence.QUESTION,
    divergence.QUESTION,
    bounds.QUESTION,
    bounds.TRAINING,
    objective.QUESTION,
    divergence.LOSS,
    gradients.QUESTION,
    training.QUESTION,
    pictures.QUESTION,
    networks.QUESTION,
    attention.QUESTION,
    memory.QUESTION,
    forcing.QUESTION,
    norms.EQUATIONS,
    norms.DEPTH,
)
