"""A deep-learning laboratory for the command line.

Every claim of a classic course assignment on variational auto-encoders, attention and layer
normalisation is a command here, with a number, an error bar and a published figure beside it.
"""

__version__ = "0.2.0"
