"""The Bernoulli cross-entropy of pixels given logits.

−log p(x|z) = Σ softplus(l) − x·l. Writing it as one function with its own backward pass, or with
logarithms of products, was measured and is no faster than torch's: what costs is one exponential
and one logarithm a pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli_nll_sum(logits: Tensor, pixels: Tensor) -> Tensor:
    """Return −log p(x|z) in nats, summed over pixels and images.

    The sum is taken in float32 (float64 for float64 logits) whatever autocast made of the logits.

    Args:
        logits: (..., 784) of the decoder.
        pixels: the same shape, in [0, 1]. Grey ones make this the cross-entropy that the seed
            trains on, which is no likelihood.

    Returns:
        A scalar.

    Raises:
        ValueError: the shapes differ; broadcasting would count some pixels twice.
    """
    if logits.shape != pixels.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and pixels {tuple(pixels.shape)} differ")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.binary_cross_entropy_with_logits(wide, pixels.to(wide.dtype), reduction="sum")
