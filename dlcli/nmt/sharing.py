"""Batches shared out among threads: each is worked on by one, so that nothing waits at every step.

What compiled functions do takes no lock of Python's. torch's own products run on one thread in
each worker, which leaves the number of threads elsewhere as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Task = TypeVar("Task")
Made = TypeVar("Made")


class Stopped(Exception):
    """Another thread has failed, or the user has had enough: this one's work is not wanted."""


def share(
    work: Callable[[Task, Callable[[], None]], Made], tasks: Sequence[Task], *, threads: int
) -> list[Made]:
    """Return what `work` makes of each task, in order.

    Args:
        work: given a task, and a function that it calls now and then, which raises `Stopped`.
        tasks: to be begun in this order.
        threads: how many work at a time; with one task or one thread it is the caller's.
    """
    if threads == 1 or len(tasks) < 2:
        return [work(task, lambda: None) for task in tasks]
    stop, before = threading.Event(), torch.get_num_threads()

    def look() -> None:
        if stop.is_set():
            raise Stopped

    def one(task: Task) -> Made:
        look()
        return work(task, look)

    try:
        with ThreadPoolExecutor(
            min(threads, len(tasks)), "dl", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            try:
                futures = [pool.submit(one, task) for task in tasks]
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()  # also where Ctrl-C comes while this thread waits
                pool.shutdown(wait=False, cancel_futures=True)
    finally:
        torch.set_num_threads(before)
    for future in futures:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, Stopped):
            raise error
    return [future.result() for future in futures]
