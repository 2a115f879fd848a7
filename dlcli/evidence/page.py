"""`dl mc-estimate --html`: the weights of the prior's samples, drawn one by one, as a page.

The page holds the weights, and what `dl mc-estimate` would say after so many of them; in `pages/`
is what draws them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from markupsafe import Markup
from torch import Tensor

from dlcli.display.page import assemble, templates
from dlcli.display.tables import count, interval, number
from dlcli.engine.seed import generator
from dlcli.evidence.cases import Case, simulated_cases
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.diagnostics import Estimate, RunningWeights, assess
from dlcli.evidence.estimate import DimResult, McEstimate
from dlcli.evidence.estimators import first_prior_weights

PAGES = Path(__file__).parent / "pages"
MOST_SAMPLES = 10_000
"""Weights of an image that the page shows."""
STOPS = 160
"""Sample counts, evenly apart on a logarithmic scale, at which the page says what is known."""
SIZE_HINT = "A page holds the weights of all images: fewer --dims or --images make a smaller one."


def weights_page(
    config: EvidenceConfig, found: McEstimate, *, cases: Iterable[Case] | None, command: str
) -> str:
    """Return the page of a result, complete or not.

    Args:
        config: what the result was measured with.
        found: the result.
        cases: its images; None for those that are drawn from `config.model`.
        command: that makes the page again.
    """
    pairs = zip(found.results, simulated_cases(config) if cases is None else cases, strict=False)
    shown = [_image(config, result, case) for result, case in pairs]
    body = templates(PAGES).get_template("weights.html.j2").render(
        model=found.model,
        images=shown,
        command=command,
        signature=found.signature.replace("|", "|\u200b"),
    )  # fmt: skip
    return assemble(
        Markup(body),
        title="Why the prior average fails",
        description="The weights of samples from the prior, drawn one by one.",
        styles=[PAGES / "weights.css"],
        script=PAGES / "weights.js",
        data={"images": shown},
    )


def _image(config: EvidenceConfig, result: DimResult, case: Case) -> dict[str, object]:
    stream = generator(config.compute.seed, "prior", 0, case.name, case.dim)
    log_weights = first_prior_weights(
        case.model, case.x, samples=config.samples, most=MOST_SAMPLES, generator=stream
    )[:, 0].double()
    most = float(log_weights.max())
    relative = log_weights - most if math.isfinite(most) else log_weights.fill_(-math.inf)
    truth = result.truth
    return {
        "label": result.label,
        "weights": base64.b64encode(relative.float().numpy().tobytes()).decode(),
        "stops": [_stop(one) for one in _estimates(log_weights, ceiling=result.ceiling)],
        "truth": None if truth is None else truth.log_p,
        "truth_kind": None if truth is None else truth.kind,
        "needed_log10": result.samples_needed_log10,
    }


def _estimates(log_weights: Tensor, *, ceiling: float) -> list[Estimate]:
    """Judge ever more of the weights."""
    total = len(log_weights)
    grid = torch.logspace(0, math.log10(total), STOPS, dtype=torch.float64).round().long()
    running, found = RunningWeights(1, capacity=total), []
    for stop in sorted({*grid.tolist(), total}):
        running.update(log_weights[running.samples : stop, None])
        found.append(assess(running.summary(), name="prior", ceiling=ceiling))
    return found


def _stop(found: Estimate) -> Mapping[str, object]:
    """What the page says of an estimate: numbers to draw, and words as on the terminal."""
    low, high = found.ci95
    return {
        "samples": found.samples,
        "log_p": found.log_p,
        "low": low,
        "high": high,
        "verdict": found.verdict,
        "words": {
            "log p̂(x)": number(found.log_p, digits=6).replace("-", "−"),
            "95% interval": interval(low, high, digits=5).replace("-", "−"),
            "effective samples": number(found.ess, digits=3),
            "largest weight": f"{100 * found.max_weight:.3g}%",
            "verdict": f"{found.verdict}: {found.reason}",
        },
        "shown": f"{count(found.samples)} {'sample' if found.samples == 1 else 'samples'}",
    }
