"""What an attention map amounts to, on matrices that can be read by eye."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcli.nmt.attending import AttentionMap, merged, unmerged
from dlcli.nmt.tokenizer import UNK, Piece


def map_of(matrix: list[list[float]], *, source: str, target: str) -> AttentionMap:
    return AttentionMap(
        text=source,
        translation=target,
        source=tuple(source.split()),
        target=tuple(target.split()),
        matrix=np.array(matrix),
        unknown_source=(),
        unknown_target=(),
        nll_per_token=1.0,
        forced=True,
        unit="words",
        signature="x",
    )


ZONE = map_of(
    [
        [0.6, 0.0, 0.0, 0.4, 0.0],
        [0.0, 0.0, 0.1, 0.9, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.4, 0.0, 0.0, 0.6],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ],
    source="the European Economic Area </s>",
    target="la zone économique européenne </s>",
)


def test_links_leave_the_end_of_the_sentence_out() -> None:
    assert ZONE.alignment == "0-0 3-1 2-2 1-3" or set(ZONE.alignment.split()) == {
        "0-0", "3-1", "2-2", "1-3",
    }  # fmt: skip
    assert ZONE.links == {(0, 0), (3, 1), (2, 2), (1, 3)}


def test_a_translation_without_an_end_keeps_its_last_word() -> None:
    cut = map_of([[0.2, 0.8, 0.0], [0.9, 0.1, 0.0]], source="a b </s>", target="x y")
    assert cut.links == {(1, 0), (0, 1)}


def test_steps_against_the_diagonal_are_counted() -> None:
    assert ZONE.steps_back == (2, 3)
    one = map_of([[1.0, 0.0]], source="a </s>", target="x")
    assert one.steps_back == (0, 0)


def test_entropy_is_zero_for_one_word_and_log_s_for_all() -> None:
    sure = map_of([[1.0, 0.0], [0.0, 1.0]], source="a </s>", target="x </s>")
    even = map_of([[0.25] * 4], source="a b c </s>", target="x")
    assert sure.entropy_nats == 0.0
    assert even.entropy_nats == pytest.approx(math.log(4))


def test_merging_keeps_the_axes_and_the_ends() -> None:
    source = [Piece(id=9, text="▁a", start=0, end=1), Piece(id=9, text="b", start=1, end=2)]
    target = [Piece(id=UNK, text="▁x", start=0, end=1)]
    rows = torch.tensor([[0.25, 0.25, 0.5], [0.0, 0.5, 0.5]])
    matrix, words, unknown = merged(rows, source=("ab", source), target=("x", target))
    assert words == [("ab", "</s>"), ("x", "</s>")]
    assert unknown == [(), (0,)]
    assert matrix.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    matrix, words, unknown = unmerged(rows[:1], source=source, target=target)
    assert words == [("▁a", "b", "</s>"), ("▁x",)]
    assert unknown == [(), (0,)]
    assert matrix.tolist() == [[0.25, 0.25, 0.5]]
