"""The bookkeeping of a search, on numbers that can be checked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.nmt.beam import BLOCK, NEVER, Ended, Live, _best_of_each, best_tokens, extended, first
from dlcli.nmt.decoder import State
from dlcli.nmt.tokenizer import BOS, EOS, PAD


def state_of(rows: int) -> State:
    """A state whose rows can be told apart."""
    numbers = torch.arange(float(rows))[:, None]
    return State(hidden=numbers, context=numbers, attention=numbers)


def live_of(*owners: int, prefix: list[list[int]], log_prob: list[float]) -> Live:
    return Live(
        owner=torch.tensor(owners),
        prefix=torch.tensor(prefix),
        log_prob=torch.tensor(log_prob),
        state=state_of(len(owners)),
    )


def logits_of(*rows: dict[int, float], vocabulary: int = 8) -> torch.Tensor:
    """Return logits that are log-probabilities; what is not named has none."""
    table = torch.full((len(rows), vocabulary), -math.inf)
    for row, chances in zip(table, rows, strict=True):
        for token, chance in chances.items():
            row[token] = math.log(chance)
    return table


def test_the_best_extensions_come_from_any_hypothesis_of_the_sentence() -> None:
    live = live_of(
        0, 0, 2, prefix=[[BOS, 4], [BOS, 5], [BOS, 6]], log_prob=[math.log(0.6), math.log(0.4), 0]
    )
    logits = logits_of({4: 0.5, 5: 0.5}, {6: 0.9, 7: 0.1}, {4: 0.7, EOS: 0.3})
    made = extended(live, logits=logits, state=state_of(3), room=torch.tensor([2, 0, 3]))
    assert made.owner.tolist() == [0, 0, 2, 2]
    assert made.prefix[0].tolist() == [BOS, 5, 6]
    assert made.prefix[1].tolist()[1] == 4
    assert made.prefix[2:, 2].tolist() == [4, EOS]
    assert made.log_prob.exp().tolist() == pytest.approx([0.36, 0.3, 0.7, 0.3])
    assert made.state.hidden[:, 0].tolist() == [1, 0, 2, 2]


def test_padding_and_a_second_beginning_are_never_chosen() -> None:
    live = first(state_of(1), sentences=1, device=torch.device("cpu"))
    logits = logits_of({PAD: 0.5, BOS: 0.4, 4: 0.06, EOS: 0.04})
    for room in (1, 3):
        made = extended(live, logits=logits, state=state_of(1), room=torch.tensor([room]))
        assert made.prefix[:, 1].tolist() == [4, EOS][:room]
        assert made.log_prob[0].exp() == pytest.approx(0.06)


@pytest.mark.parametrize("vocabulary", [11, BLOCK, 3 * BLOCK, 40 * BLOCK, 40 * BLOCK + 7])
@pytest.mark.parametrize("most", [1, 2, 5, 11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "plain"])
def test_the_largest_are_found_block_by_block(
    dtype: torch.dtype, vocabulary: int, most: int
) -> None:
    generator = torch.Generator().manual_seed(most)
    rows = torch.randn(7, vocabulary, generator=generator)
    rows[0, -1] = rows[1, BLOCK - 1 if vocabulary > BLOCK else 3] = 9.0
    rows[2, -4:] = torch.tensor([6.0, 7.0, 8.0, 9.0])
    wanted = rows.log_softmax(dim=1)
    wanted[:, NEVER] = -math.inf
    expected, places = wanted.topk(most, dim=1)
    values, tokens = best_tokens(rows.to(dtype), most=most)
    torch.testing.assert_close(values, expected)
    seen = expected > -math.inf
    assert torch.equal(tokens[seen], places[seen])


def test_places_are_kept_by_what_has_finished() -> None:
    ended = Ended(torch.tensor([9, 9]), beam_size=3, n_best=2, length_penalty=1.0)
    done = live_of(1, 1, prefix=[[BOS, 4, EOS], [BOS, 5, EOS]], log_prob=[-1.0, -2.0])
    ended.add(done, finished=True)
    assert ended.room.tolist() == [3, 1]
    ended.add(live_of(0, prefix=[[BOS, 4, 5]], log_prob=[-0.2]), finished=False)
    assert ended.room.tolist() == [3, 1]
    unfinished, finished = ended.ranked()
    assert [one.finished for one in unfinished] == [False]
    assert [(one.ids, one.log_prob, one.score) for one in finished] == [
        ((4,), -1.0, -0.5),
        ((5,), -2.0, -1.0),
    ]


def test_a_sentence_is_settled_when_nothing_can_overtake() -> None:
    ended = Ended(torch.tensor([10, 10, 10]), beam_size=2, n_best=1, length_penalty=1.0)
    ended.add(
        live_of(0, 1, prefix=[[BOS, 4, EOS], [BOS, 4, EOS]], log_prob=[-1.0, -1.0]), finished=True
    )
    rest = live_of(0, 1, 2, prefix=[[BOS, 4, 5]] * 3, log_prob=[-4.9, -5.1, -99.0])
    assert ended.settled(rest).tolist() == [False, True, False]


def test_of_equals_the_first_is_kept_beside_any_neighbour() -> None:
    """Totals of bfloat16 logits are often the same; a neighbour with more room changes nothing."""
    alone = torch.tensor([[-1.0, -2.0], [-2.0, -2.0], [-2.0, -3.0]])
    owner = torch.zeros(3, dtype=torch.int64)
    row, column, total = _best_of_each(alone, owner=owner, room=torch.tensor([3]))
    neighbours = torch.full((40, 2), -0.5)
    rows, columns, totals = _best_of_each(
        torch.cat([alone, neighbours]),
        owner=torch.cat([owner, torch.ones(40, dtype=torch.int64)]),
        room=torch.tensor([3, 60]),
    )
    assert (row.tolist(), column.tolist()) == ([0, 0, 1], [0, 1, 0])
    assert (rows[:3].tolist(), columns[:3].tolist()) == (row.tolist(), column.tolist())
    assert torch.equal(totals[:3], total)
