"""The page of `dl report`: templates, typography, and the figures that only it has."""
