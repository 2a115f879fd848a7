from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch

from dlcli.nmt.translator import share

Between = Callable[[], None]


@pytest.mark.parametrize("threads", [1, 2, 9])
@pytest.mark.parametrize("tasks", [0, 1, 7])
def test_answers_come_in_order(threads: int, tasks: int) -> None:
    def work(task: int, between: Between) -> int:
        between()
        time.sleep(0.001 * (task % 3))
        return 10 * task

    assert share(work, range(tasks), threads=threads) == [10 * task for task in range(tasks)]


def test_each_worker_has_one_thread_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    seen = share(lambda *_: torch.get_num_threads(), range(4), threads=2)
    assert seen == [1] * 4
    assert torch.get_num_threads() == before


def test_a_failure_ends_the_others() -> None:
    begun: list[int] = []

    def work(task: int, between: Between) -> None:
        begun.append(task)
        if task == 1:
            raise ValueError("one has failed")
        while True:
            between()
            time.sleep(0.001)

    with pytest.raises(ValueError, match="one has failed"):
        share(work, range(9), threads=2)
    assert len(begun) <= 3  # one more may begin before the failure is seen


def test_ctrl_c_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def work(task: int, between: Between) -> None:
        while True:
            between()
            time.sleep(0.001)

    monkeypatch.setattr("dlcli.nmt.translator.wait", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        share(work, range(9), threads=2)
    assert threading.active_count() == before
