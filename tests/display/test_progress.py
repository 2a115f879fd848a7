"""Progress: bars on a terminal that come, go and leave it clean; lines elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from dlcli.display.console import Consoles
from dlcli.display.progress import (
    DownloadProgress,
    FractionProgress,
    TrainingProgress,
    TrainingTable,
    finished_line,
)
from dlcli.engine.events import (
    Evaluated,
    Event,
    Finished,
    Notice,
    Pictures,
    RunStarted,
    Saved,
    TrainingStep,
)
from tests.display.terminals import AsciiPipe, on_pipes, on_terminal

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def call(self, show: Callable[..., None], moments: Iterable[tuple[Any, ...]]) -> None:
        """Call `show` at each moment: seconds, then its arguments."""
        for second, *values in moments:
            self.now = float(second)
            show(*values)


# A download


def test_a_download_without_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, out, err = on_pipes(monkeypatch)
    clock = Clock()
    with DownloadProgress(consoles, label="mnist", clock=clock) as show:
        clock.call(show, [(second, second * 400_000, 10_000_000) for second in range(26)])
    assert err.getvalue().splitlines() == [
        "mnist: 0 B of 10.0 MB",
        "mnist: 6.0 MB of 10.0 MB",
        "mnist: 10.0 MB in 25 s",
    ]
    assert out.getvalue() == ""


def test_a_download_of_unknown_size_shows_the_bytes_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    with DownloadProgress(consoles, label="mnist", clock=Clock()) as show:
        show(1500)
    assert err.getvalue().splitlines()[0] == "mnist: 1.5 kB"


def test_a_download_on_a_terminal_is_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    clock = Clock()
    with DownloadProgress(consoles, label="[mnist]", clock=clock) as show:
        clock.call(show, [(second, second * 2_500_000, 10_000_000) for second in range(5)])
    text = err.getvalue()
    assert "2.5 MB/s" in text
    assert "2.0 s left" in text
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert text.endswith("[mnist]: 10.0 MB in 4.0 s\n")


def test_a_failed_or_empty_download_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    with DownloadProgress(consoles, label="mnist"):
        pass

    def fail() -> None:
        with DownloadProgress(consoles, label="mnist") as show:
            show(5, 10)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    assert err.getvalue() == "mnist: 5 B of 10 B\n"


def test_quiet_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch, quiet=True)
    with DownloadProgress(consoles, label="mnist") as download:
        download(10, 10)
    with FractionProgress(consoles, label="work") as fraction:
        fraction(0.5)
    assert err.getvalue() == ""


# A measurement

DONE = [(second, second / 40, "3 seeds") for second in range(0, 41, 5)]
NOTES = [(0, 0, "quick"), (1, 0.5, "quick"), (1, 0.5, "slow"), (21, 0.7, "slow")]
STAGES = [("a", 0, 0), ("a", 40, 1), ("b", 41, 0), ("b", 61, 0.5), ("b", 70, 0), ("b", 80, 0.5)]


def test_a_fraction_without_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    clock = Clock()
    with FractionProgress(consoles, label="work", clock=clock) as show:
        clock.call(show, DONE)
    clock.now = 0.0
    with FractionProgress(consoles, label="w", by_note=True, clock=clock) as show:
        clock.call(show, NOTES)
    clock.now = 0.0
    with FractionProgress(consoles, label="", clock=clock) as show:
        clock.call(show.stage, [(second, done, label) for label, second, done in STAGES])
    assert err.getvalue().splitlines() == [
        "work: 38%, 3 seeds, 25 s left",
        "work: 75%, 3 seeds, 10 s left",
        "w: 70%, slow, 30 s left",  # by the pace of the slow part
        "a: 100%",
        "b: 50%, 20 s left",
        "b: 50%, 10 s left",
    ]


def test_a_fraction_on_a_terminal_is_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    clock = Clock()
    with FractionProgress(consoles, label="work", clock=clock) as show:
        clock.call(show, [(second, second / 4, "note") for second in range(5)])
    text = err.getvalue()
    assert "50%" in text
    assert "note" in text
    assert text.rindex(SHOW) > text.rindex(HIDE)


def test_a_new_stage_is_shown_at_once_and_a_notice_stays_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    with FractionProgress(consoles, label="", clock=Clock()) as show:
        show.stage(0.0, "first")
        show.stage(0.9, "first")
        consoles.notice("done with it")
        show.stage(0.0, "second")
        assert "second" in err.getvalue()
    before, _, _ = err.getvalue().partition("done with it")
    assert before.rindex("\x1b[2K") > before.rindex("first"), "the bar's line has been cleared"
    assert "90%" not in before, "not more than eight times a second"


# A training

METRICS = {
    "train_loss": 104.234, "train_reconstruction": 79.1, "train_kl": 25.134, "valid_loss": 103.2,
    "valid_reconstruction": 78.0, "valid_kl": 25.2, "valid_bleu": 31.2, "active_units": 18,
    "kl_per_dim": [1.0, 2.0], "lr": 1e-3, "rate": 37012.3, "train_s": 3.0,
}  # fmt: skip


def progress(step: int, *, epoch: int = 1) -> TrainingStep:
    losses = {"loss": 104.2, "reconstruction": 79.1, "kl": 25.1}
    return TrainingStep(
        epoch=epoch, step=step, total_steps=200, losses=losses, rate=37012.3, lr=1e-3,
        remaining_s=float(200 - step),
    )  # fmt: skip


def started(step: int = 0) -> RunStarted:
    run = Path("/runs/é [x]")
    return RunStarted(
        run=run,
        title="conv",
        data="glyphs",
        epochs=2,
        steps_per_epoch=100,
        step=step,
        unit="images",
    )


def a_run() -> list[Event]:
    """Return the events of two epochs, as the engine sends them."""
    events: list[Event] = [started()]
    for epoch in (1, 2):
        events += [progress(epoch * 100 - 50 + step, epoch=epoch) for step in range(0, 50, 10)]
        events.append(Saved(path=Path("last.pt"), step=epoch * 100))
        events.append(Pictures(epoch=epoch, images=np.ones((3, 28, 28)), caption=f"after {epoch}"))
        events.append(Evaluated(epoch=epoch, step=epoch * 100, metrics=METRICS))
    events.append(Notice(message="2 latents are silent", level="warning"))
    events.append(Notice(message="by the way"))
    events.append(Finished(reason="done", epoch=2, step=200, train_s=123.4, rate=36000.0))
    return events


def show_run(consoles: Consoles, *events: Event) -> None:
    with TrainingProgress(consoles) as listener:
        for event in events or a_run():
            listener(event)


def test_what_was_said_of_one_seed_is_not_said_again_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    consoles.notice("by the way")
    show_run(consoles, *a_run(), *a_run())
    assert err.getvalue().count("latents are silent") == 1
    assert err.getvalue().count("by the way") == 1
    assert err.getvalue().count("Done: ") == 2


def test_without_a_terminal_each_epoch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, err = on_pipes(monkeypatch)
    show_run(consoles)
    lines = err.getvalue().splitlines()
    assert lines[0] == "conv on glyphs: 2 epochs of 100 updates, in /runs/é [x]"
    assert lines[1:5] == [
        "      ----- train (nats) ---- ----- valid (nats) ----",
        "epoch    loss   recon      kl    loss   recon      kl    bleu  active images/s       left",
        "    1   104.2   79.10   25.13   103.2   78.00   25.20   31.20      18   37,012 1 min 40 s",
        "    2   104.2   79.10   25.13   103.2   78.00   25.20   31.20      18   37,012",
    ]
    assert lines[5:] == [
        "warning: 2 latents are silent",
        "by the way",
        "Done: epoch 2, 200 updates, 2 min 03 s of training, 36,000 images/s",
    ]
    assert out.getvalue() == ""


def test_quiet_shows_warnings_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch, quiet=True, no_color=True)
    show_run(consoles)
    assert err.getvalue() == "warning: 2 latents are silent\n"


def test_on_a_terminal_a_bar_with_pictures_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    show_run(consoles)
    text = err.getvalue()
    assert text.rindex(SHOW) > text.rindex(HIDE)
    shown = ("epoch 2/2", "37,012 images/s", "loss 104.2 nats", "kl 25.10", "100%", "▀", "recon")
    for words in shown:
        assert words in text
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
    assert plain.rstrip().endswith("36,000 images/s")
    assert "after 2" in plain


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_cursor_comes_back_on_any_way_out(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    consoles, _, err = on_terminal(monkeypatch)

    def fail() -> None:
        with TrainingProgress(consoles) as listener:
            listener(started())
            listener(progress(10))
            assert SHOW not in err.getvalue()
            raise error

    with pytest.raises(error):
        fail()
    assert err.getvalue().endswith(SHOW)


def test_a_bar_leaves_standard_output_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, err = on_terminal(monkeypatch)
    with TrainingProgress(consoles) as listener:
        listener(started())
        print("a result")
        consoles.warning("above the bar")
    assert out.getvalue() == "a result\n"
    assert "a result" not in err.getvalue()
    assert err.getvalue().count("above the bar") == 1


def test_the_bar_is_redrawn_at_most_eight_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    clock = Clock()
    with TrainingProgress(consoles, clock=clock) as listener:
        listener(started())
        before = err.getvalue().count("epoch 1/2")
        clock.call(listener, [(step / 100, progress(step)) for step in range(200)])
        drawn = err.getvalue().count("epoch 1/2") - before
    assert 10 <= drawn <= 17


def test_a_second_run_starts_with_a_clean_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    show_run(consoles, *a_run(), started(step=100), progress(110, epoch=2))
    rest = err.getvalue().partition("36,000 images/s")[2]
    assert "going on from update 100" in rest
    assert "after 2" not in rest
    assert rest.endswith(SHOW)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_of_progress_is_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    consoles, _, err = on_terminal(monkeypatch, columns=columns, no_color=True)
    clock = Clock()
    show_run(consoles)
    with FractionProgress(consoles, label="D = 200: importance", clock=clock) as fraction:
        clock.call(fraction, DONE)
    with DownloadProgress(consoles, label="europarl-dev500k", clock=clock) as download:
        clock.call(download, [(second, second * 8_000_000, 203_000_000) for second in range(5)])
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", err.getvalue())
    lines = re.split("[\r\n]+", text)
    assert max(map(cell_len, lines)) <= columns
    assert "…" not in text
    for words in ("18   37,012", "25 s left", "8.0 MB/s", "epoch 2/2"):
        assert words in text


def test_an_ascii_stream_gets_ascii_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = AsciiPipe()
    monkeypatch.setattr("sys.stderr", stream)
    show_run(Consoles())
    assert "in /runs/? [x]" in stream.text()


def test_unknown_numbers_are_said_and_a_speed_of_nothing_is_not() -> None:
    metrics = {"valid_bleu": 31.2, "x": None, "z": float("nan"), "rate": 0.0}
    table = TrainingTable(unit="images", width=80)
    names, row = table.lines(Evaluated(epoch=3, step=5, metrics=metrics))
    assert names.split() == ["epoch", "bleu", "z", "left"]
    assert row.split() == ["3", "31.20", "-"]
    (row,) = table.lines(Evaluated(epoch=4, step=6, metrics={"z": 1.0}))
    assert row.split() == ["4", "-", "1.000"]
    head = table.lines(Evaluated(epoch=5, step=7, metrics={"train_loss": 1e-7}))
    assert [line.split()[:2] for line in head[1:]] == [["epoch", "loss"], ["5", "1.0e-07"]]
    end = Finished(reason="done", epoch=3, step=5, train_s=2.0, rate=0.0)
    assert finished_line(end, unit="images") == "Done: epoch 3, 5 updates, 2.0 s of training"
