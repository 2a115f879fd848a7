"""`dl nmt compare-forcing`: the same training with more and less of a teacher."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.tiny import contents, dl, dl_json, error_of
from tests.cli.tiny_nmt import nmt_train

pytestmark = pytest.mark.usefixtures("no_figures")


def _words() -> list[str]:
    return nmt_train(command="compare-forcing")


def test_every_ratio_is_trained_for_as_many_updates_and_tested(tmp_path: Path) -> None:
    found = dl_json(*_words(), "--bins", "5", "6", "--out", "cmp")
    assert found["run"] == str(tmp_path / "cmp")
    assert found["files"] == [str(tmp_path / "cmp/forcing.png")]
    assert Path(found["files"][0]).read_bytes().startswith(b"\x89PNG")
    rows = found["results"]
    assert [row["teacher_forcing"] for row in rows] == [1.0, 0.5, 0.0]
    assert {row["updates"] for row in rows} == {8}
    for row in rows:
        valid = row["valid"]
        gap = valid["free_nll_per_token"] - valid["nll_per_token"]
        assert row["exposure_gap"] == pytest.approx(gap)
        assert sum(found["sentences"] for found in row["by_length"]) == row["sentences"]
        assert "split:test" in row["signature"]
    assert "forcing:0.5/token" in rows[1]["signature"]


def test_a_table_and_a_figure_of_ones_own(tmp_path: Path) -> None:
    done = dl(*_words(), "--ratios", "1", "0", "--plot", "mine.svg", "--out", "cmp")
    assert done.exit_code == 0, done.output
    assert "free-running" in done.stdout
    assert "teacher forcing" in (tmp_path / "mine.svg").read_text()


def test_it_goes_on_with_what_is_done(tmp_path: Path) -> None:
    words = [*_words(), "--ratios", "1", "0", "--out", "cmp"]
    first = dl_json(*words)
    before = contents(tmp_path / "cmp" / "forcing-1")
    more = ["nmt", "compare-forcing", "--resume", "cmp", "--ratios", "1", "0.25", "0"]
    found = dl_json(*more)
    assert [row["teacher_forcing"] for row in found["results"]] == [1.0, 0.25, 0.0]
    assert found["results"][0]["valid"] == first["results"][0]["valid"]
    assert contents(tmp_path / "cmp" / "forcing-1") == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ratios", "1"], "--ratios 1 compare nothing"),
        (["--ratios", "1", "2"], "--ratios 1 2 compare nothing"),
        (["--teacher-forcing", "0.5"], "sets the teacher-forcing ratio itself"),
        (["--patience", "2"], "--patience"),
        (["--bins", "9", "3"], "--bins 9 3"),
        (["--plot", "x.bmp"], "x.bmp"),
    ],
)
def test_what_has_no_meaning_is_refused_before_any_training(
    words: list[str], message: str, tmp_path: Path
) -> None:
    done = dl(*_words(), *words, "--out", "cmp", "--json")
    assert done.exit_code == 2, done.output
    assert message in error_of(done)["message"]
    assert not (tmp_path / "cmp").exists()
