"""The benchmarks take turns, and their other sides compute what ours compute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlcli.nmt.fast.compiling import available_forms
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.likelihood import Bernoulli
from dlcli.vae.networks import build_model
from dlcli.vae.objective import kl_standard_normal
from tests.benchmarks.__main__ import main
from tests.benchmarks.busy import speed
from tests.benchmarks.table import Comparison, Side, line, measure, run_program
from tests.benchmarks.vae import ExamplesVae, MemoryBatches, PlainConv, train_epoch


def test_sides_take_turns_and_the_ratio_is_that_of_medians_without_the_first_round() -> None:
    calls: list[str] = []

    def side(name: str, *rates: float) -> Side:
        def run() -> float:
            calls.append(name)
            return rates[calls.count(name) - 1]

        return Side(name=name, run=run)

    comparison = Comparison(
        work="work",
        unit="images/s",
        peer=side("slow", 99, 1, 2, 9),
        sides=[side("fast", 99, 8, 4, 1), side("same", 99, 2, 2, 2)],
    )
    fast, same = measure(comparison, runs=3)
    assert calls == ["slow", "fast", "same"] * 4
    assert (fast.ratio, same.ratio) == (2, 1)
    assert line(fast.cells()).startswith(
        "| work | `fast` | images/s | slow | 2 (1 to 9) | 4 (1 to 8) | **2.00** |"
    )


def test_all_run_without_real_data_and_say_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DL_SIMD", ["none", *available_forms()][-1])  # one form is enough here
    kept = tmp_path / "found.json"
    main(["vae", "nmt", "--quick", "--json", str(kept), "--joeynmt", "nowhere/python"])
    printed, found = capsys.readouterr().out, json.loads(kept.read_text())
    assert {row["work"] for row in found["rows"]} >= {"MLP VAE training", "translator training"}
    assert all(f"`{row['command']}`" in printed for row in found["rows"])
    for row in found["rows"]:
        assert bool(row["peer"]) != row["work"].startswith("transl"), row
        assert len(row["values"]) == 1
    joeynmt, _, parliament = found["missing"]
    assert "joeynmt==2.3.0" in joeynmt
    assert "dl data fetch" in parliament


def test_names_are_listed_and_a_wrong_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert "vae-conv" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"no benchmark vea.*vae-mlp"):
        main(["vea"])


def test_a_form_keeps_every_program_to_its_instructions() -> None:
    words = [sys.executable, "-m", "tests.benchmarks", "startup", "--quick", "--form", "avx2"]
    if "avx2" not in available_forms():
        pytest.skip("this processor has no AVX2")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    first, *_, last = done.stdout.strip().splitlines()
    assert first.endswith("with AVX2")
    assert last.endswith("| avx2 |")


def test_another_program_that_fails_says_why() -> None:
    words = [sys.executable, "-c", "import sys; sys.exit('no module')"]
    with pytest.raises(SystemExit, match=r"(?s)ended with 1.*no module.*see there"):
        run_program(words, env={}, hint="see there")


def test_a_training_beside_busy_programs_is_timed(tmp_path: Path) -> None:
    words = ["vae", "train", "--data", "glyphs:64", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert speed(words, busy=2) > 0


@pytest.mark.parametrize("train", [True, False])
def test_the_plain_network_is_ours_with_the_same_weights(train: bool) -> None:
    config = VaeModelConfig(
        arch="conv", latent_dim=3, channels=(2, 3, 5, 7), decoder_channels=(7, 5, 3)
    )
    vae = build_model(config)
    plain = PlainConv(config).start_from(vae).train(train)
    x, z = torch.rand(5, 784), torch.randn(5, 3)
    torch.testing.assert_close(plain.encode(x), vae.train(train).encode(x))
    torch.testing.assert_close(plain.decode(z), vae.decode(z), rtol=1e-4, atol=1e-5)


def test_the_examples_loss_is_our_objective() -> None:
    torch.manual_seed(0)
    model, x = ExamplesVae(), torch.rand(5, 784)
    torch.manual_seed(1)
    loss = model.loss(x)
    torch.manual_seed(1)
    mean, logvar = model.encode(x)
    z = mean + torch.randn_like(mean) * (logvar / 2).exp()
    ours = Bernoulli().nll_sum(model.decode(z), x) + kl_standard_normal(mean, logvar).sum()
    torch.testing.assert_close(loss, ours)


def test_a_plain_pass_sees_every_image_once_and_learns() -> None:
    torch.manual_seed(0)
    images = (torch.rand(1, 28, 28).expand(70, 28, 28) * 255).to(torch.uint8)
    batches, model = MemoryBatches(images, batch_size=32), ExamplesVae()
    assert [len(batch) for batch in batches] == [32, 32, 6]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = [train_epoch(model, optimizer, batches)[0] for _ in range(5)]
    assert losses[-1] < losses[0]
