"""The page of `dl mc-estimate --html`: it says what the command says, and draws it in a browser."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.cases import simulated_cases
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.diagnostics import summarize
from dlcli.evidence.estimate import McEstimate, run
from dlcli.evidence.estimators import first_prior_weights, prior_weights
from dlcli.evidence.page import weights_page
from tests.browser import Browser, browser, installed

CONFIG = EvidenceConfig(dims=(2, 20), estimators=("prior",), samples=(7, 300), pixels=9, repeats=2)


@pytest.fixture(scope="module")
def found() -> McEstimate:
    return list(run(CONFIG))[-1]


def page(found: McEstimate, config: EvidenceConfig = CONFIG, command: str = "dl") -> str:
    return weights_page(config, found, cases=None, command=command)


def data_of(text: str) -> list[dict[str, Any]]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    images: list[dict[str, Any]] = json.loads(match[1])["images"]
    return images


@pytest.mark.parametrize("most", [5, 20, 1000])
def test_the_first_weights_are_those_of_the_estimate(most: int) -> None:
    case = next(simulated_cases(CONFIG))
    counts = (3, min(most, 20))
    *_, last = prior_weights(case.model, case.x, samples=counts, generator=generator(0, "a"))
    weights = first_prior_weights(
        case.model, case.x, samples=counts, most=most, generator=generator(0, "a")
    )
    assert len(weights) == last.samples
    assert torch.equal(summarize(weights).log_mean, last.log_mean)


def test_the_page_ends_where_the_command_does(found: McEstimate) -> None:
    images = data_of(page(found))
    assert [image["label"] for image in images] == ["D = 2", "D = 20"]
    for image, result in zip(images, found.results, strict=True):
        weights = np.frombuffer(base64.b64decode(image["weights"]), np.float32)
        assert len(weights) == 300
        assert weights.max() == 0
        end, estimate = image["stops"][-1], result.estimators[0].estimate
        assert end["log_p"] == pytest.approx(estimate.log_p, abs=1e-9)
        assert (end["samples"], end["verdict"]) == (300, estimate.verdict)
        assert (end["low"], end["high"]) == pytest.approx(estimate.ci95)
        counts = [stop["samples"] for stop in image["stops"]]
        assert counts == sorted(set(counts))
        assert counts[0] == 1
        assert result.truth is not None
        assert image["truth"] == result.truth.log_p


def test_hostile_words_are_text(found: McEstimate) -> None:
    words = '</script><script>alert(1)</script>"'
    text = page(dataclasses.replace(found, signature=words), command=words)
    assert "<script>alert" not in text
    assert text.count("&lt;/script&gt;") == 4


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser(installed()) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_in_a_browser(
    chromium: Browser, found: McEstimate, tmp_path: Path, width: int, dark: bool
) -> None:
    path, text = tmp_path / "a.html", page(found)
    path.write_text(text, encoding="utf-8")
    chromium.open(path, width=width, dark=dark)
    stops = data_of(text)[1]["stops"]
    shown = "document.querySelectorAll('.image')[1].querySelector('td').textContent"
    assert chromium.value(shown) == stops[-1]["words"]["log p̂(x)"]
    drawn = "document.querySelectorAll('canvas')[2].toDataURL()"
    pictures = [chromium.value(drawn)]
    for action in ("document.getElementById('again').click()", "dl.goTo(40, { step: true })"):
        chromium.value(action)
        pictures.append(chromium.value(drawn))
    assert len(set(pictures)) == 3
    assert chromium.value(shown) == stops[40]["words"]["log p̂(x)"]
    assert chromium.value("location.hash") == "#stop=40"
    chromium.value("document.getElementById('samples').focus()")
    for kind in ("keyDown", "keyUp"):
        chromium.ask("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight",
                     windowsVirtualKeyCode=39)  # fmt: skip
    assert chromium.value(shown) == stops[41]["words"]["log p̂(x)"]
    chromium.ask(
        "Runtime.evaluate", awaitPromise=True,
        expression="new Promise(done => { onpopstate = () => setTimeout(done); history.back(); })",
    )  # fmt: skip
    assert chromium.value(shown) == stops[0]["words"]["log p̂(x)"]
    assert chromium.value("document.documentElement.scrollWidth <= innerWidth")
    chromium.pdf(tmp_path / "a.pdf")
    assert chromium.problems == []
