"""Layer normalisation in deep residual stacks: gradients measured, Theorem 1 passed or failed."""
