"""`dl runs page`: its data, and how it works in a browser."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcli.display.images import save_png
from dlcli.display.runs_page import newest_change, runs_page
from dlcli.engine.runs import RunFolder
from tests.browser import Browser, browser, installed

HOSTILE = '</script><script>alert(1)</script>"\u202e'


def make(path: Path, *, loss: float = 100.0, lr: float = 1e-3, likelihood: str = "") -> RunFolder:
    """Write a finished run of 30 epochs by hand."""
    path.mkdir()
    (path / "config.yaml").write_text(f"optim:\n  lr: {lr}\nloop:\n  epochs: 30\n")
    part = f"|likelihood:{likelihood}" if likelihood else ""
    record = {
        "kind": "vae", "title": "vae-mlp", "status": "done", "started": "2026-12-01T02:46:49+0000",
        "command": ["/x/dl", "vae", "train", "--out", HOSTILE], "metrics": {"elbo": -loss},
        "signature": f"data:mnist|split:test{part}",
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(record))
    rows = [
        {"epoch": n, "step": 7 * n, "train_loss": loss + 50 / n, "valid_loss": loss + 55 / n,
         "train_kl": 25.0, "lr": lr, "rate": None}
        for n in range(1, 31)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for epoch in (0, 10):
        shade = np.full((2, 8, 8), 0.2 + 0.05 * epoch)
        save_png(path / "figures" / f"epoch-{epoch:04d}.png", shade)
    return RunFolder(path)


def data_of(text: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    return found


def test_a_page_holds_curves_snapshots_and_words(tmp_path: Path) -> None:
    runs = [make(tmp_path / "a"), make(tmp_path / "b", loss=90.0, lr=1e-2)]
    text = runs_page(runs, command="dl runs page a b")
    found = data_of(text)
    assert [run["name"].split("/")[-1] for run in found["runs"]] == ["a", "b"]
    curves = found["runs"][1]["curves"]
    assert list(curves) == ["loss", "kl", "lr"]
    assert curves["loss"]["training"][:2] == [[1.0, 140.0], [2.0, 115.0]]
    assert curves["lr"] == {"": [[float(n), 1e-2] for n in range(1, 31)]}
    picture = base64.b64decode(found["runs"][0]["snapshots"]["10"])
    assert picture == (tmp_path / "a/figures/epoch-0010.png").read_bytes()
    assert "<code>optim.lr</code>" in text
    assert "loop.epochs" not in text, "both have it"
    assert "2026-12-01 02:46:49" in text
    assert found["reload_s"] is None
    assert data_of(runs_page(runs, command="", is_live=True))["reload_s"] > 0


def test_unlike_losses_have_charts_of_their_own(tmp_path: Path) -> None:
    kinds = ("bernoulli", "logistic", "bernoulli")
    runs = [make(tmp_path / str(i), likelihood=kind) for i, kind in enumerate(kinds)]
    text = runs_page(runs, command="")
    assert [run["kind"] for run in data_of(text)["runs"]] == [f"likelihood: {one}" for one in kinds]
    assert text.count('<canvas class="chart"') == 2
    assert "do not compare" in text


def test_hostile_words_are_text(tmp_path: Path) -> None:
    text = runs_page([make(tmp_path / "<b>")], command=HOSTILE)
    assert "<script>alert" not in text
    assert "<b>" not in text


def test_an_empty_run_has_a_page_and_its_news_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    run = RunFolder(tmp_path)
    assert "no record" in runs_page([run], command="")
    before = newest_change([run])
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    assert newest_change([run]) != before


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser(installed()) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_in_a_browser(chromium: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    path = tmp_path / "runs.html"
    runs = [make(tmp_path / "a"), make(tmp_path / "b", loss=90.0, lr=1e-2)]
    path.write_text(runs_page(runs, command="dl"), encoding="utf-8")
    chromium.open(path, width=width, dark=dark)
    chart = "document.querySelector('.chart')"
    pictures = [chromium.value(f"{chart}.toDataURL()")]

    def press(key: str) -> None:
        script = f"{chart}.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}' }}))"
        chromium.value(script)
        pictures.append(chromium.value(f"{chart}.toDataURL()"))

    press("Home")
    reading = chromium.value("document.querySelector('.reading').textContent")
    assert "epoch 1: 155" in reading, reading
    press("ArrowRight")
    assert "epoch 2: 117.5" in chromium.value("document.querySelector('.reading').textContent")
    press("+")
    assert "from=" in chromium.value("location.hash")
    chromium.value("document.getElementById('whole').click()")
    assert "from=" not in chromium.value("location.hash")
    select = "document.getElementById('measure')"
    chromium.value(f"{select}.value = 'kl'; {select}.dispatchEvent(new Event('change'))")
    pictures.append(chromium.value(f"{chart}.toDataURL()"))
    assert len(set(pictures)) == len(pictures)
    slider = "document.getElementById('epoch')"
    chromium.value(f"{slider}.value = 0; {slider}.dispatchEvent(new Event('input'))")
    caption = "document.querySelector('#snapshots figcaption').textContent"
    assert chromium.value(caption).endswith("epoch 0")
    time.sleep(0.3)  # the address follows
    assert "epoch=0" in chromium.value("location.hash")
    chromium.ask(
        "Runtime.evaluate", awaitPromise=True,
        expression="new Promise(done => { onpopstate = () => setTimeout(done); history.back(); })",
    )  # fmt: skip
    assert chromium.value(f"{select}.value") == "loss"
    assert chromium.value("document.documentElement.scrollWidth <= innerWidth")
    assert chromium.value("document.getElementById('age').textContent").startswith("Written ")
    chromium.pdf(tmp_path / "a.pdf")
    assert chromium.problems == []
