"""The benchmarks take turns, and their other sides compute what ours compute."""

from __future__ import annotations

import sys

import pytest
import torch

from dlcli.vae.config import VaeModelConfig
from dlcli.vae.networks import build_model
from dlcli.vae.objective import bernoulli_nll_sum, kl_standard_normal
from tests.benchmarks.alternating import compare, run_program
from tests.benchmarks.vae_speed import ExamplesVae, MemoryBatches, PlainConv, train_epoch


def test_sides_take_turns_and_the_ratio_is_that_of_medians_without_the_first_round(
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[str] = []

    def side(name: str, *rates: float) -> float:
        calls.append(name)
        return rates[calls.count(name) - 1]

    sides = {"slow": lambda: side("slow", 99, 1, 2, 9), "fast": lambda: side("fast", 99, 8, 4, 1)}
    compare(sides, runs=3, unit="images/s", against="slow")
    assert calls == ["slow", "fast"] * 4
    assert "2.00 x slow" in capsys.readouterr().out.splitlines()[1]


def test_another_program_that_fails_says_why() -> None:
    words = [sys.executable, "-c", "import sys; sys.exit('no module')"]
    with pytest.raises(SystemExit, match=r"(?s)ended with 1.*no module.*see there"):
        run_program(words, env={}, hint="see there")


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
    ours = bernoulli_nll_sum(model.decode(z), x) + kl_standard_normal(mean, logvar).sum()
    torch.testing.assert_close(loss, ours)


def test_a_plain_pass_sees_every_image_once_and_learns() -> None:
    torch.manual_seed(0)
    images = (torch.rand(1, 28, 28).expand(70, 28, 28) * 255).to(torch.uint8)
    batches, model = MemoryBatches(images, batch_size=32), ExamplesVae()
    assert [len(batch) for batch in batches] == [32, 32, 6]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = [train_epoch(model, optimizer, batches)[0] for _ in range(5)]
    assert losses[-1] < losses[0]
