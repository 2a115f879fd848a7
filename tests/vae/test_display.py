"""An evaluation in words: every number, its error, and what to make of it."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from io import StringIO

from rich.console import Console

from dlcli.vae.bounds import AnnealedNll, Average
from dlcli.vae.display import evaluation_words, trained_facts, trained_table
from dlcli.vae.evaluation import Bound, Nll, SnapshotBounds, VaeEvaluation
from dlcli.vae.judge import Ambiguity, Reading
from dlcli.vae.trained import TestResult, TrainResult

NLL = Nll(
    value=97.25,
    std_error=0.5,
    estimator="iwae",
    k=5000,
    elbo=-101.5,
    bounds=(
        Bound(name="ELBO", samples=1, value=-101.5, std_error=0.5),
        Bound(name="IWAE-5000", samples=5000, value=-97.25, std_error=0.5),
    ),
    rises=True,
    ess=3.0,
    dominated=0.4,
)
AIS = AnnealedNll(
    images=4,
    chains=16,
    temperatures=(300, 500),
    value=96.5,
    std_error=6.0,
    monte_carlo_error=0.04,
    iwae=96.75,
    above_iwae=Average(value=0.25, std_error=0.1),
    doubtful=False,
    images_below=1,
    verdicts={"trust": 1, "doubt": 3, "reject": 0},
    acceptance=0.75,
    evaluations=1000,
    elapsed_s=2.0,
)
READING = Reading(
    images=10_000,
    entropy=0.25,
    ambiguous=0.2,
    ambiguous_std_error=0.004,
    nearly_empty=0.0125,
    class_shares=(0.1,) * 10,
)
REAL = replace(READING, images=500, ambiguous=0.015, nearly_empty=0.006)


def evaluation(**changed: object) -> VaeEvaluation:
    fields: dict[str, object] = {
        "run": "/r", "checkpoint": "last", "data": "mnist", "arch": "mlp", "epochs": 80,
        "images": 1000, "pixels": "grey", "likelihood": "bernoulli", "elbo": -101.5,
        "elbo_std_error": 0.5, "reconstruction": 76.5, "kl": 25.0, "nll": NLL,
        "nll_binarized": None, "gap": 4.25, "gap_std_error": 0.1, "active_units": 2,
        "latent_dim": 2, "kl_per_dim": (1.5, 2.5), "collapse": "", "ais": None, "checkpoints": (),
        "ambiguity": None, "evaluations": 5_000_000, "evaluations_per_s": 80_000.0,
        "elapsed_s": 62.5, "precision": "fp32", "device": "cpu", "seed": 0,
        "signature": "k:5000", "done": 1.0, "stage": "done",
    }  # fmt: skip
    return VaeEvaluation(**{**fields, **changed})  # type: ignore[arg-type]


def words(found: VaeEvaluation) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for item in evaluation_words(found):
        console.print(item, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue()


def snapshots() -> tuple[SnapshotBounds, ...]:
    def at(value: float) -> Average:
        return Average(value=value, std_error=0.5)

    return tuple(
        SnapshotBounds(
            epoch=epoch,
            checkpoint=f"epoch-{epoch:04d}",
            elbo=at(low),
            iwae=at(high),
            gap=at(high - low),
            k=500,
        )
        for epoch, low, high in ((0, -560.0, -550.0), (10, -106.0, -101.0))
    )


def test_the_main_numbers_are_there_with_their_errors() -> None:
    text = words(evaluation())
    for part in (
        "-101.5 ± 0.5 nats", "97.2 ± 0.5 nats or less (IWAE, k = 5,000)", "4.25 ± 0.10 nats",
        "2 of 2", "2.50 1.50", "80,000 decoder evaluations/s (1 min 02 s)", "-97.250",
        "too few: log p(x) may be higher still", "they rise, as they must", "signature k:5000",
    ):  # fmt: skip
        assert part in text, (part, text)


def test_grey_pixels_are_labelled() -> None:
    text = words(evaluation(nll=None, nll_binarized=NLL))
    assert "none: grey pixels have no density" in text
    assert "NLL, binarized pixels" in text
    assert "gap, binarized pixels" in text


def test_ais_snapshots_and_the_judge_add_their_tables() -> None:
    found = evaluation(
        ais=AIS,
        checkpoints=snapshots(),
        ambiguity=Ambiguity(
            generated=READING,
            real=REAL,
            pixels="mean of p(x|z)",
            judge_accuracy=0.9934,
            judge_data="mnist",
        ),
    )
    text = words(found)
    for part in (
        "0.25 ± 0.10 nats: above the IWAE bound", "1 of them below IWAE (trust 1, doubt 3)",
        "500 temperatures", "IWAE-500 (nats)", "-550.0 ± 0.5", "20.0 ± 0.4 %", "1.25 %",
        "of 500 real digits 1.50 %", "(0.60 % of the real ones)",
        "balance 1.000", "99.34 % of the mnist test digits",
    ):  # fmt: skip
        assert part in text, (part, text)


RESULT = TrainResult(
    run="/tmp/runs/one",
    data="glyphs:40",
    arch="mlp",
    epochs=2,
    images_per_s=1234.5,
    train_s=3.0,
    test=TestResult(
        elbo=-101.2345, reconstruction=76.0, kl=25.2345, std_error=0.05, iwae=-98.0, images=40
    ),
    active_units=2,
    kl_per_dim=(1.0, 2.0, 0.0),
    reason="done",
    signature="data:glyphs:40|version:x",
)


def test_one_training_says_value_error_unit_and_signature() -> None:
    table = trained_facts(RESULT)
    text = "\n".join(table.lines())
    assert "-101.23 ± 0.05 nats" in text
    assert "2 of 3" in text
    assert "1,234 images/s" in text or "1,235 images/s" in text
    assert table.signatures == RESULT.signature


def test_several_trainings_are_a_line_each() -> None:
    other = dataclasses.replace(RESULT, run="/tmp/runs/two", active_units=3)
    table = trained_table({"seed-0": RESULT, "seed-1": other}, what="seed")
    lines = table.lines()
    assert lines[0].startswith("seed")
    assert len(lines) == 3
    assert lines[2].endswith("/tmp/runs/two")
    assert table.signatures == {"seed-0": RESULT.signature, "seed-1": RESULT.signature}
