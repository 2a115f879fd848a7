from __future__ import annotations

import math
import os
import time
from pathlib import Path

from dlcli.assignment.lab import UNUSED_S, Cache, digest_of_files, package_stamp, settled
from dlcli.assignment.question import Answer, Number

KEY = {"question": 1, "seed": 0}


def _answer(value: float = 1.0) -> Answer:
    number = Number(name="n", value=value, signature="s")
    return Answer(words=("w",), numbers=(number,), figures=(), commands=("dl env",))


def test_an_answer_is_found_under_what_it_was_made_from(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.find(KEY) is None
    assert cache.keep(KEY, _answer())
    assert cache.find(KEY) == _answer()
    assert cache.find({**KEY, "seed": 1}) is None
    assert Cache(tmp_path, fresh=True).find(KEY) is None


def test_a_damaged_answer_counts_for_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.keep(KEY, _answer())
    (file,) = cache.folder.glob("answers/*.json")
    whole = file.read_text()
    file.write_text(whole[:-20])
    assert cache.find(KEY) is None
    assert '"words":["w"]' in whole.replace(" ", "")
    file.write_text(whole.replace('"w"', '"v"'))  # of the right shape, and not what was kept
    assert cache.find(KEY) is None
    file.write_text(whole)
    assert cache.find(KEY) == _answer()


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not Cache(tmp_path / "file").keep(KEY, _answer())


def test_what_another_version_left_and_no_longer_uses_is_swept_away(tmp_path: Path) -> None:
    old, used = tmp_path / "0.0.1-1-abc", tmp_path / "0.0.2-1-abc"
    for folder in (old, used):
        (folder / "runs").mkdir(parents=True)
    long_ago = time.time() - 2 * UNUSED_S
    os.utime(old / "runs", (long_ago, long_ago))
    os.utime(old, (long_ago, long_ago))
    os.utime(used, (long_ago, long_ago))
    cache = Cache(tmp_path)
    cache.keep(KEY, _answer())
    cache.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {package_stamp(), used.name}
    assert cache.find(KEY) is not None


def test_a_digest_sees_contents_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_of_files(tmp_path, pattern="*")
    (tmp_path / "a").write_text("2")
    second = digest_of_files(tmp_path, pattern="*")
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, digest_of_files(tmp_path, pattern="*")}) == 3


def test_a_new_answer_reads_like_a_kept_one(tmp_path: Path) -> None:
    answer = settled(_answer(math.inf))
    Cache(tmp_path).keep(KEY, answer)
    assert answer.numbers[0].value is None
    assert Cache(tmp_path).find(KEY) == answer
