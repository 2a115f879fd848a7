"""Trainings of a translator of half a second, through the real app."""

from __future__ import annotations

from pathlib import Path

from tests.nmt.toy import write_tsv

NMT_SIZES = [
    *["--embedding", "7", "--encoder-hidden", "5", "--hidden", "9", "--attention-size", "3"],
    *["--vocabulary", "330"],
]
NMT_LENGTH = ["--batch-unit", "sentences", "--batch-size", "12", "--epochs", "2"]
NMT_WHERE = ["--device", "cpu", "--precision", "fp32", "--threads", "1"]


def nmt_train(*, count: int = 60, command: str = "train") -> list[str]:
    """Write a few toy pairs into the current folder; return the words that train on them."""
    write_tsv(Path("toy.tsv"), count=count)
    return ["nmt", command, "--data", "toy.tsv", *NMT_SIZES, *NMT_LENGTH, *NMT_WHERE]
