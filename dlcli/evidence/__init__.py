"""Estimates of log p(x) that know how far to be trusted.

Exactly solvable models, estimators, annealing, diagnostics. Any decoder enters through the small
Protocol `LatentModel`.
"""
