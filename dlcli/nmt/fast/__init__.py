"""The translator's fast paths: compiled search and the kernels of training."""
