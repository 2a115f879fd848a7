"""The prior average through the decoder Protocol against the processor's own matrix products.

    python -m tests.benchmarks.evidence_speed [--runs 5] [--samples 65536] [--memory]

Sides, alternating: `products`, the two matrix products of a 20-350-784 decoder at the same shapes
and nothing else; `prior`, everything that `prior` does for its estimate: normal draws, the ReLU,
the Bernoulli log-likelihood, the running sums and the Pareto tail. `--memory` instead prints the
peak memory of 10^3 to 10^7 linear-Gaussian samples, each count in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

from dlcli.engine.seed import generator
from dlcli.evidence.estimators import prior_weights
from dlcli.evidence.models import CACHE_ROWS, draw_pairs, random_decoder, random_linear_gaussian
from tests.benchmarks.alternating import alternate, report

LATENTS, HIDDEN, PIXELS = 20, 350, 784
PRODUCT_ROWS = (256, CACHE_ROWS, 1024, 8192)
"""Rows of a product; the fastest is what the processor can do."""


def products(samples: int, *, rows: int) -> float:
    """Return samples/s of the decoder's two matrix products alone."""
    stream = generator(0)
    z = torch.randn(samples, LATENTS, generator=stream)
    first = torch.randn(LATENTS, HIDDEN, generator=stream)
    second = torch.randn(HIDDEN, PIXELS, generator=stream)
    start = time.perf_counter()
    for part in z.split(rows):
        (part @ first) @ second
    return samples / (time.perf_counter() - start)


def prior(samples: int) -> float:
    """Return samples/s of the whole estimate."""
    model = random_decoder(LATENTS, generator=generator(1), hidden=(HIDDEN,), pixels=PIXELS)
    _, x = draw_pairs(model, 1, generator=generator(2))
    start = time.perf_counter()
    for _ in prior_weights(model, x, samples=[samples // 4, samples], generator=generator(3)):
        pass
    return samples / (time.perf_counter() - start)


def peak_mb(samples: int) -> float:
    """Return this process's peak memory, MB, after `samples` linear-Gaussian samples at D = 20."""
    model = random_linear_gaussian(
        20, pixels=PIXELS, noise_variance=0.1, generator=generator(1), dtype=torch.float32
    )
    _, x = draw_pairs(model, 1, generator=generator(2))
    for _ in prior_weights(model, x, samples=[samples], generator=generator(3)):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=65_536)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        print(f"{given.peak:>10,} samples  peak {peak_mb(given.peak):7.1f} MB", flush=True)
        return
    if given.memory:
        for power in range(3, 8):
            words = [sys.executable, "-m", "tests.benchmarks.evidence_speed"]
            subprocess.run([*words, "--peak", str(10**power)], check=True)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, fp32")
    best = max(PRODUCT_ROWS, key=lambda rows: products(given.samples, rows=rows))
    sides = {
        "products": lambda: products(given.samples, rows=best),
        "prior": lambda: prior(given.samples),
    }
    report(alternate(sides, runs=given.runs), unit="samples/s", against="products", faster=True)


if __name__ == "__main__":
    main()
