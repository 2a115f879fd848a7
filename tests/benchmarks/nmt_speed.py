"""Training speed of the translator against JoeyNMT, and what it costs in loss.

    DL_DATA_DIR=… python -m tests.benchmarks.nmt_speed --joeynmt /path/to/its/python --config C.yaml

The sides are those of `nmt_sides`. Target tokens a second, padding not counted; JoeyNMT's start and
first updates are in nobody's time. Medians over alternating runs. `plain` is our network in
PyTorch's own operations, float32. With --loss-updates N both sides then train N updates and the
loss per token on the validation sentences is compared.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from dlcli.data.corpora import load_corpus
from tests.benchmarks.alternating import alternate, report
from tests.benchmarks.nmt_sides import JoeyNmt, Ours, Sentences


def main() -> None:
    """Read the command line and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--joeynmt", help="the Python of an environment with JoeyNMT 2.3")
    parser.add_argument("--config", type=Path, help="JoeyNMT's configuration")
    parser.add_argument("--updates", type=int, default=40, help="updates a run (40)")
    parser.add_argument("--runs", type=int, default=3, help="alternating runs (3)")
    parser.add_argument(
        "--loss-updates", type=int, default=0, help="of the loss comparison; 0: none"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plain", action="store_true", help="also our network without kernels")
    args = parser.parse_args()
    sentences = Sentences(load_corpus("multi30k", offline=True))
    bf16 = Ours(sentences, precision="bf16")
    run = partial(bf16.run, updates=args.updates, threads=args.threads)
    sides = {"dl bf16": run}
    sides["dl fp32"] = partial(
        Ours(sentences, precision="fp32").run, updates=args.updates, threads=args.threads
    )
    if args.plain:
        plain = Ours(sentences, precision="fp32", fused=False)
        sides["plain fp32"] = partial(plain.run, updates=args.updates, threads=args.threads)
    with TemporaryDirectory() as place:
        joeynmt = None
        if args.joeynmt:
            joeynmt = JoeyNmt(
                sentences,
                python=args.joeynmt,
                config=args.config,
                folder=Path(place),
                threads=args.threads,
            )
            sides["JoeyNMT"] = partial(joeynmt.run, updates=args.updates)
        report(
            alternate(sides, runs=args.runs),
            unit="target tokens/s",
            against="JoeyNMT" if joeynmt else "dl fp32",
            faster=True,
        )
        if args.loss_updates:
            compare_loss(sentences, joeynmt=joeynmt, updates=args.loss_updates, args=args)


def compare_loss(
    sentences: Sentences, *, joeynmt: JoeyNmt | None, updates: int, args: argparse.Namespace
) -> None:
    """Print the loss per token on the validation sentences after so many updates."""
    for precision in ("bf16", "fp32"):
        ours = Ours(sentences, precision=precision)
        ours.train(updates=updates, threads=args.threads)
        print(f"dl {precision}: {ours.valid_nll_per_token():.4f} nats after {updates} updates")
    if joeynmt is not None:
        found = joeynmt.train(updates=updates)["valid_nll_per_token"]
        print(f"JoeyNMT: {found:.4f} nats after {updates} updates", flush=True)


if __name__ == "__main__":
    main()
