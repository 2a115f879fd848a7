"""Estimates of log p(x) under a trained VAE: ELBO and IWAE bounds, and AIS to hold them against.

`stream_bounds` takes all bounds of an image from the same K log-weights: the IWAE bound with k
samples is averaged over the K/k groups of k. By Jensen's inequality they then rise with k for every
image, not just on average. Blocks of images stream through; memory grows with K, and with N only by
a few numbers an image.

`stream_annealed` runs annealed importance sampling. It is low on average, as the bounds are, so the
higher of two trusted ones is the better. AIS knows nothing of the encoder: where it is below the
IWAE bound of the same images, its chains have not found the mass that the encoder points at.

`trained_cases` shows a VAE and test images to the estimators of `dlcli.evidence`, for
`dl mc-estimate --run`.

Legend: N images, B of a block, K samples or chains an image, D latent dimensions.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from dlcli.engine.device import Compute, prepare
from dlcli.engine.events import NoticeCallback, ProgressCallback, no_progress
from dlcli.engine.settings import compute_config
from dlcli.errors import RunFailed, UsageFault
from dlcli.evidence.annealing import Annealed, anneal
from dlcli.evidence.cases import Case
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.diagnostics import Estimate, assess, summarize
from dlcli.evidence.estimate import estimator_parts
from dlcli.evidence.estimators import DiagonalGaussian, Proposal
from dlcli.evidence.hmc import Schedule, choose_schedule
from dlcli.evidence.models import BernoulliDecoder, LatentModel, in_blocks, log_likelihood
from dlcli.evidence.progress import count_progress, part_of
from dlcli.vae.elbo import LatentUse, batch_of
from dlcli.vae.images import DESCRIPTIONS
from dlcli.vae.likelihood import Bernoulli, Likelihood
from dlcli.vae.networks import VAE, Flow
from dlcli.vae.objective import kl_standard_normal, log_weights
from dlcli.vae.trained import TestImages, Trained, choose_images, describe, with_true_data

LATENTS_BATCH = 100_000
"""Latents of a block, 8 MB for 20 dimensions; a GPU takes more at once."""
GPU_LATENTS_BATCH = 2_000_000
FLOW_BATCH = 4096
"""That a flow is given at once: its hidden units are twice the numbers of a latent."""
CONV_ROWS = 128
"""Rows of a convolutional decoder that are decoded at once on a CPU."""
GPU_ROWS = 65_536
ANNEALING_BATCH = 16
"""That AIS anneals by one schedule."""
AIS_STAGE = "AIS"
"""What a line of progress calls it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """What is known of the first N images; every tensor is float64 on the CPU."""

    k: int
    log_lik: Tensor
    """Mean over samples of log p(x|z), (N,)."""
    kl: Tensor
    """KL(q(z|x) ‖ p(z)), (N,): in closed form, or with a learned prior over the samples."""
    iwae: dict[int, Tensor]
    """Samples → IWAE bound, (N,); rising from few to K."""
    ess: Tensor
    """Effective samples among the K, (N,)."""
    max_weight: Tensor
    """The largest weight's share, (N,)."""
    latents: LatentUse
    evaluations: int
    """Decoder evaluations."""
    elapsed_s: float
    total: int
    """Images there will be at the end."""

    @property
    def images(self) -> int:
        """N."""
        return len(self.kl)

    @property
    def elbo(self) -> Tensor:
        """E_q[log p(x|z)] − KL of each image, (N,)."""
        return self.log_lik - self.kl

    @property
    def best(self) -> Tensor:
        """The IWAE bound with all K samples, (N,)."""
        return self.iwae[self.k]

    @property
    def evaluations_per_s(self) -> float:
        """Decoder evaluations a second."""
        return self.evaluations / max(self.elapsed_s, 1e-9)

    def rises(self) -> bool:
        """Say whether ELBO ≤ IWAE-5 ≤ … ≤ IWAE-K, each within 3 standard errors over images."""
        for low, high in itertools.pairwise([self.elbo, *self.iwae.values()]):
            step = average(high - low)
            if step.value < -3 * (step.std_error or 0.0) - 1e-9:
                return False
        return True


@dataclass(frozen=True, kw_only=True)
class Average:
    """A mean over images."""

    value: float
    std_error: float | None
    """Over images; None for a single one."""


def average(values: Tensor) -> Average:
    """Average over images, (N,), with its standard error."""
    count = len(values)
    spread = values.std().item() / math.sqrt(count) if count > 1 else None
    return Average(value=values.mean().item(), std_error=spread)


@torch.inference_mode()
def stream_bounds(
    model: VAE,
    decoder: LatentModel,
    pixels: Tensor,
    *,
    k: int,
    generator: torch.Generator,
) -> Iterator[Bounds]:
    """Measure the bounds of images, block after block.

    Args:
        model: in evaluation mode; its encoder gives q(z|x).
        decoder: the same model's, of what its encoder's Gaussian is of (`of_encoded`).
        pixels: (N, M) in [0, 1], on the model's device, N ≥ 1.
        k: K.
        generator: draws the noise, on the CPU or on the model's device.

    Yields:
        What is known after each block.

    Raises:
        RunFailed: the encoder or the decoder returned NaN.
    """
    N = len(pixels)
    mean, logvar = encoded(model, pixels)
    closed = kl_standard_normal(mean, logvar).double().cpu()  # (N, D)
    wide = model.latents(mean)[0].double().cpu()
    rows = LATENTS_BATCH if pixels.device.type == "cpu" else GPU_LATENTS_BATCH
    B = max(1, rows // k)
    # One table from the start: small tensors kept from every block lie between the large buffers
    # of the next, and the heap then grows by a buffer a block.
    table = torch.empty((4 + len(group_sizes(k)), N), dtype=torch.float64)
    began = time.monotonic()
    for start in range(0, N, B):
        cut = slice(start, start + B)
        posterior = mean[cut], logvar[cut]
        table[:, cut] = _block(
            model, decoder, pixels[cut], posterior=posterior, k=k, generator=generator
        )
        seen = min(start + B, N)
        columns = list(table[:, :seen])
        kl = closed[:seen].sum(1) if model.flow is None else columns[3]
        shares = closed[:seen].mean(0).tolist() if model.flow is None else []
        use = LatentUse(
            images=seen,
            kl=float(kl.mean()),
            kl_per_dim=tuple(shares),
            mean_variance=tuple(wide[:seen].var(0, unbiased=False).tolist()),
        )
        yield Bounds(
            k=k,
            log_lik=columns[0],
            kl=kl,
            iwae=dict(zip(group_sizes(k), columns[4:], strict=True)),
            ess=columns[1],
            max_weight=columns[2],
            latents=use,
            evaluations=seen * k,
            elapsed_s=time.monotonic() - began,
            total=N,
        )


def _block(
    model: VAE,
    decoder: LatentModel,
    x: Tensor,
    *,
    posterior: tuple[Tensor, Tensor],
    k: int,
    generator: torch.Generator,
) -> Tensor:
    """Return of each image, (·, B): log p(x|z), ESS, largest share, sampled KL, IWAE bounds."""
    mean, logvar = posterior
    eps = torch.randn((k, *mean.shape), generator=generator, device=generator.device).to(x.device)
    v = mean + (0.5 * logvar).exp() * eps  # (K, B, D)
    log_lik = log_likelihood(decoder, x, v).double()
    parts = [model.latents(part) for part in torch.split(v, max(1, FLOW_BATCH // len(x)))]
    z, log_det = (torch.cat(part) for part in zip(*parts, strict=True))  # (K, B, D), (K, B)
    log_w = log_weights(
        log_lik, z=z.double(), eps=eps.double(), logvar=logvar.double(), log_det=log_det
    )
    share = torch.softmax(log_w, dim=0)
    bounds = [grouped_bound(log_w, size=size) for size in group_sizes(k)]
    kl = (log_lik - log_w).mean(0)
    found = [log_lik.mean(0), 1 / share.square().sum(0), share.max(0).values, kl, *bounds]
    return torch.stack(found).cpu()


def grouped_bound(log_w: Tensor, *, size: int) -> Tensor:
    """Average the IWAE bound with `size` samples over groups of log-weights (K, B): (B,)."""
    K, B = log_w.shape
    groups = log_w[: K // size * size].reshape(K // size, size, B)
    return torch.logsumexp(groups, dim=1).mean(0) - math.log(size)


def group_sizes(k: int) -> list[int]:
    """Return the sample counts to report: 5, 50, 500, … below k, and k itself."""
    sizes = [5 * 10**power for power in range(7) if 5 * 10**power < k]
    return [*sizes, k]


@dataclass(frozen=True, kw_only=True)
class AnnealedNll:
    """Annealed importance sampling over some images; nats an image."""

    images: int
    chains: int
    temperatures: tuple[int, ...]
    """Of each batch of images."""
    value: float
    """−log p̂(x), averaged over images."""
    std_error: float | None
    """Over images."""
    monte_carlo_error: float
    """Of `value`, from the chains of each image."""
    iwae: float
    """The −IWAE bound of the same images."""
    above_iwae: Average
    """log p̂ of AIS − IWAE bound, paired by image."""
    doubtful: bool
    """AIS is below the IWAE bound."""
    images_below: int
    """Images where it is below, by however little."""
    verdicts: dict[str, int]
    """How many images' chains are to be trusted, doubted, rejected."""
    acceptance: float
    evaluations: int
    """Decoder evaluations (a gradient counts as one), pilots included."""
    elapsed_s: float

    @property
    def verdict(self) -> str:
        """The comparison in words."""
        if self.doubtful:
            return "doubtful: AIS is below the IWAE bound of the same images"
        return "above the IWAE bound of the same images, as it should be"


def stream_annealed(
    decoder: LatentModel,
    pixels: Tensor,
    *,
    iwae: Tensor,
    chains: int,
    temperatures: int,
    generator: torch.Generator,
    progress: ProgressCallback = no_progress,
) -> Iterator[AnnealedNll]:
    """Anneal images in batches.

    Args:
        decoder: of the trained VAE.
        pixels: (N, M), on the decoder's device.
        iwae: the IWAE bound of the same images, (N,).
        chains: K ≥ 2.
        temperatures: steps from prior to posterior; 0 lets a pilot choose.
        generator: the only source of randomness.
        progress: called with the fraction of images annealed, also on the way through a batch.

    Yields:
        What is known after each batch.

    Raises:
        RunFailed: the decoder returned NaN, or a pilot does not reach the posterior.
    """
    batches: list[_Batch] = []
    began = time.monotonic()
    done = 0
    for x in torch.split(pixels, ANNEALING_BATCH):
        of_batch = part_of(progress, start=done / len(pixels), share=len(x) / len(pixels))
        of_batch(0.0, AIS_STAGE)  # a pilot takes a while
        schedule = choose_schedule(decoder, x, generator=generator, temperatures=temperatures)
        count = count_progress(schedule.temperatures, stage=AIS_STAGE, progress=of_batch)
        done += len(x)
        found = anneal(
            decoder, x, schedule=schedule, chains=chains, generator=generator, progress=count
        )
        summary = summarize(found.log_weight)
        estimates = [assess(summary.column(b), name="ais") for b in range(len(x))]
        batches.append((estimates, schedule, found))
        yield _annealed_nll(batches, iwae=iwae, chains=chains, elapsed_s=time.monotonic() - began)


_Batch = tuple[list[Estimate], Schedule, Annealed]


def _annealed_nll(
    batches: list[_Batch], *, iwae: Tensor, chains: int, elapsed_s: float
) -> AnnealedNll:
    every = [estimate for estimates, _, _ in batches for estimate in estimates]
    log_p = torch.tensor([estimate.log_p for estimate in every], dtype=torch.float64)
    errors = torch.tensor([estimate.std_error for estimate in every], dtype=torch.float64)
    iwae = iwae[: len(every)]
    above, mean = average(log_p - iwae), average(log_p)
    words = [estimate.verdict for estimate in every]
    return AnnealedNll(
        images=len(every),
        chains=chains,
        temperatures=tuple(schedule.temperatures for _, schedule, _ in batches),
        value=-mean.value,
        std_error=mean.std_error,
        monte_carlo_error=float(errors.square().sum().sqrt()) / len(every),
        iwae=-float(iwae.mean()),
        above_iwae=above,
        doubtful=above.value < 0,
        images_below=int((log_p < iwae).sum()),
        verdicts={word: words.count(word) for word in ("trust", "doubt", "reject")},
        acceptance=float(torch.cat([found.acceptance for _, _, found in batches]).mean()),
        evaluations=sum(
            (schedule.evaluations + found.evaluations) * len(estimates)
            for estimates, schedule, found in batches
        ),
        elapsed_s=elapsed_s,
    )


def trained_cases(
    trained: Trained, config: EvidenceConfig, *, images: int, notice: NoticeCallback
) -> tuple[Iterator[Case], str]:
    """Offer test images of a run to `dl mc-estimate --run`, with q(z|x) as the proposal.

    A run trained on grey pixels has no density of them: its images are binarised dynamically.

    Args:
        trained: the run.
        config: estimators, device, threads and seed.
        images: how many, the first of the evaluation's fixed order.
        notice: called with sentences for the user.

    Returns:
        the cases, and the signature of what is measured on them.

    Raises:
        UsageFault: `bdmc` is among the estimators, there are not so many images, or the run was
            trained with --skip.
        DataError: the run's data set cannot be had.
    """
    if "bdmc" in config.estimators:
        raise UsageFault(
            "`bdmc` needs an image drawn from the model, and those of a run are real ones.",
            hint="Leave bdmc out of --estimators, or leave --run out.",
        )
    trained = with_true_data(trained, notice=notice)
    signature = describe(
        trained.config,
        measure="log-evidence",
        unit="nats",
        data=trained.config.data.name,
        split="test",
        images=images,
        checkpoint=trained.checkpoint,
        nll_pixels=DESCRIPTIONS["dynamic"] if trained.is_grey else None,
        **estimator_parts(config),
        epochs=trained.epochs,
        init=trained.run.origin,
        sampling_seed=config.compute.seed,
        precision="fp32",
    )
    compute = prepare(compute_config(config.compute))
    chosen = choose_images(trained, count=images, seed=config.compute.seed, notice=notice)
    return _cases(trained, chosen, compute=compute), signature


def _cases(trained: Trained, images: TestImages, *, compute: Compute) -> Iterator[Case]:
    model = trained.model.to(compute.device).eval()
    decoder = decoder_of(trained, compute=compute)
    rows = (images.numbers.tolist(), images.seen, images.dense)
    for number, seen, dense in zip(*rows, strict=True):
        with torch.no_grad():
            mean, logvar = encoded(model, seen[None].to(compute.device))
        yield Case(
            model=decoder,
            precise=decoder,
            x=dense[None].to(compute.device),
            proposal=posterior_of(model, mean, logvar=logvar),
            name=f"test-{number}",
        )


def decoder_of(trained: Trained, *, compute: Compute, of_encoded: bool = False) -> LatentModel:
    """Offer the decoder of a run, on the device its model is on.

    Args:
        trained: the run.
        compute: precision.
        of_encoded: of v, where the encoder's Gaussian is, instead of the latents z: what is the
            same but for a learned prior. Such v have no standard normal prior.

    Raises:
        UsageFault: with skip connections the decoder is shown x itself, and has no p(x|z).
    """
    config = trained.config
    if config.model.skip:
        raise UsageFault(
            f"The decoder of {trained.run.path} sees the encoder's feature maps (--skip), so it is "
            "no p(x|z) and nothing can be said of p(x).",
            hint="Choose a run that was trained without --skip.",
        )
    model = trained.model
    device = next(model.parameters()).device
    rows = CONV_ROWS if config.model.arch == "conv" else BernoulliDecoder.block_rows
    if device.type != "cpu":
        rows = GPU_ROWS
    rows = batch_of(math.prod(model.shape), most=rows)

    def decode(z: Tensor) -> Tensor:
        with compute.autocast():
            logits = model.decode_encoded(z) if of_encoded else model.decode(z)
        return logits.to(torch.float32)

    name, likelihood = trained.run.path.name, model.likelihood
    if isinstance(likelihood, Bernoulli):  # by products of matrices
        return BernoulliDecoder(
            decode=decode, latent_dim=model.latent_dim, name=name, device=device, block_rows=rows
        )
    return LikelihoodDecoder(
        decode, latent_dim=model.latent_dim, name=name, device=device, of=likelihood, rows=rows
    )


@dataclass(frozen=True, eq=False)
class LikelihoodDecoder:
    """A decoder with any likelihood: a `LatentModel`, as `BernoulliDecoder` is for Bernoulli."""

    decode: Callable[[Tensor], Tensor]
    """(N, D) → logits (N, M), differentiable."""
    _: KW_ONLY
    latent_dim: int
    name: str
    device: torch.device
    of: Likelihood
    rows: int
    """That are decoded at once when no gradient is wanted."""
    dtype: torch.dtype = torch.float32

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) in nats, (K, B), for z of shape (K, B or 1, D)."""
        points = self.rows // len(x)  # each image has its own (K, M) terms
        return in_blocks(self._block, x, z, points=points)

    def _block(self, x: Tensor, z: Tensor) -> Tensor:
        K, shared, D = z.shape
        logits = self.decode(z.reshape(K * shared, D)).view(K, shared, -1)
        return self.of.log_prob(logits.expand(K, len(x), -1), x)

    @torch.no_grad()
    def draw(self, z: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw x | z: (B, D) → (B, M)."""
        return self.of.sample(self.decode(z).cpu(), generator=generator).to(self.device)

    def ceiling(self, x: Tensor) -> Tensor:
        """Return an upper bound on log p(x | z): (B,)."""
        return torch.full(x.shape[:1], self.of.ceiling, dtype=torch.float64, device=x.device)


def encoded(model: VAE, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and logvar of what the encoder says, (N, D) in float32, of pixels (N, M).

    Raises:
        RunFailed: the encoder returned NaN.
    """
    parts = [model.encode(rows) for rows in torch.split(pixels, batch_of(pixels.shape[1]))]
    mean, logvar = (torch.cat(part).float() for part in zip(*parts, strict=True))
    bad = int((~(mean + logvar).isfinite()).any(1).sum())
    if bad:
        raise RunFailed(
            f"The encoder returned NaN or infinity for {bad} of {len(pixels)} images.",
            hint="Check its weights for NaN; an earlier --checkpoint may be sound.",
        )
    return mean, logvar


def posterior_of(model: VAE, mean: Tensor, *, logvar: Tensor) -> Proposal:
    """Offer q(z|x) of images, from what the encoder says of them, both (B, D)."""
    gaussian = DiagonalGaussian(mean, logvar)
    return gaussian if model.flow is None else FlowedGaussian(gaussian, model.flow)


@dataclass(frozen=True, eq=False)
class FlowedGaussian:
    """q(z|x) of a VAE with a learned prior: its encoder's Gaussian, carried along by the flow."""

    gaussian: DiagonalGaussian
    flow: Flow

    @torch.no_grad()
    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw (count, B, D)."""
        z: Tensor = self.flow(self.gaussian.draw(count, generator=generator))[0]
        return z

    @torch.no_grad()
    def log_density(self, z: Tensor) -> Tensor:
        """Return log q(z): (K, B, D) → (K, B)."""
        v, log_det = self.flow.inverse(z)
        return self.gaussian.log_density(v) - log_det
