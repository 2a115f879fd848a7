"""The most memory that a training on MNIST takes, whatever its number of epochs.

DL_DATA_DIR=… python -m tests.benchmarks.memory
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MIB_PER_KIB = 1 / 1024


def peak_mib(command: list[str]) -> float:
    """Run a command and return the largest resident size it had, in MiB."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return usage.ru_maxrss * MIB_PER_KIB


def main() -> None:
    """Read the command line and print one line a training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", nargs="+", default=["mlp", "conv"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 3])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for arch in args.arch:
            for epochs in args.epochs:
                out = Path(folder) / f"{arch}-{epochs}"
                command = [sys.executable, "-m", "dlcli", "vae", "train", "--data", "mnist"]
                command += ["--arch", arch, "--epochs", str(epochs), "--out", str(out)]
                command += ["--json", "--quiet"]
                print(f"{arch}, {epochs} epochs: peak {peak_mib(command):,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
