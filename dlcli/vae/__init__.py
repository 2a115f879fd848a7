"""The variational auto-encoder: networks, objective, training, evaluation, generation."""
