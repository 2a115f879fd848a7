"""The shared engine: device, precision, seeds, config, checkpoints, run folders, the training loop.

It knows no model, no data set and no command.
"""
