from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlcli.assignment import page as figures


def _evaluation(score: float) -> Any:
    bleu = SimpleNamespace(score=score, ci95=(score - 1, score + 1))
    rows = [SimpleNamespace(mean_words=words, bleu=bleu) for words in (3.0, 8.0)]
    return SimpleNamespace(bleu=bleu, by_length=rows)


DRAWN: dict[str, Callable[[Path], object]] = {
    "bounds": lambda path: figures.bounds_figure(
        path, samples=[1, 5], values=[-9.0, -8.0], errors=[0.1, 0.1]
    ),
    "latents": partial(figures.latent_figure, [2.0, 0.5]),
    "variances": partial(figures.variance_figure, {"a": 5000.0, "b": 1.0}),
    "losses": partial(figures.losses_figure, {"a": 0.006, "b": 0.007}),
    "lengths": partial(figures.lengths_figure, {"a": _evaluation(9), "b": _evaluation(5)}),
    "factors": partial(figures.factors_figure, {"a": [3.0, 1.0]}, steps=[0, 1], placement="post"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_numbers_draw_the_same_bytes(name: str, tmp_path: Path) -> None:
    for place in ("one.svg", "two.svg"):
        DRAWN[name](tmp_path / place)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
