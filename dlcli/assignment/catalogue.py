"""All questions in order: to add one, write its module and name it here."""

from __future__ import annotations

from dlcli.assignment import evidence
from dlcli.assignment import evidence as divergence
from dlcli.assignment import evidence as sampling
from dlcli.assignment import layernorm as norms
from dlcli.assignment import nmt as attention
from dlcli.assignment import nmt as forcing
from dlcli.assignment import nmt as memory
from dlcli.assignment import vae as bounds
from dlcli.assignment import vae as gradients
from dlcli.assignment import vae as networks
from dlcli.assignment import vae as objective
from dlcli.assignment import vae as pictures
from dlcli.assignment import vae as training
from dlcli.assignment.question import Question

QUESTIONS: tuple[Question, ...] = (
    sampling.SAMPLING,
    evidence.EVIDENCE,
    divergence.DIVERGENCE,
    bounds.BOUNDS,
    bounds.BOUNDS_TRAINING,
    objective.OBJECTIVE,
    divergence.LOSS,
    gradients.GRADIENTS,
    training.TRAINING,
    pictures.PICTURES_PICTURES,
    networks.NETWORKS_NETWORKS,
    attention.ATTENTION,
    memory.MEMORY,
    forcing.FORCING,
    norms.EQUATIONS,
    norms.DEPTH,
)
