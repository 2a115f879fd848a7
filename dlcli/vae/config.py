"""The settings of the variational auto-encoder: network, pixels, objective, training, evaluation.

Reading this needs neither torch nor pydantic; `check` holds what ties one setting to another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from dlcli.data import catalogue
from dlcli.data.sizes import read_size
from dlcli.engine.config import STRICT, setting, setting_like
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig, Precision
from dlcli.errors import ConfigError, plural

DEFAULT_IMAGES = 1000
"""Test images that `dl vae eval` takes by default."""

Width = Annotated[int, Ge(1), Le(65_536)]
LikelihoodName = Literal["bernoulli", "continuous-bernoulli", "logistic"]


@dataclass(frozen=True, kw_only=True)
class VaeModelConfig:
    """Which network, and how large."""

    __pydantic_config__ = STRICT

    arch: Literal["mlp", "conv"] = setting(
        "mlp",
        flag="--arch",
        help="network: mlp (fully connected) or conv",
        source="assignment, Questions 9, 11",
        signature="arch",
    )
    latent_dim: Annotated[int, Ge(1), Le(100_000)] = setting(
        20,
        flag="--latent-dim",
        help="latent dimensions D",
        source="assignment, Question 9",
        signature="latent_dim",
    )
    hidden: tuple[Width, ...] = setting(
        (350,),
        flag="--hidden",
        help="mlp: units of the hidden layers, encoder order",
        source="assignment, Question 9",
        signature="hidden",
    )
    channels: tuple[Width, ...] = setting(
        (8, 16, 48, 128),
        flag="--channels",
        help="conv: encoder feature maps at 28, 14, 7 and 3 pixels, or as many as an image can be "
        "halved; beside --dense the last ones may be left out",
        signature="channels",
    )
    decoder_channels: tuple[Width, ...] = setting(
        (96, 48, 16),
        flag="--decoder-channels",
        help="conv: decoder feature maps at 4, 7 and 14 pixels, or one fewer than --channels",
        signature="decoder_channels",
    )
    prior: Literal["normal", "flow"] = setting(
        "normal",
        flag="--prior",
        help="distribution of the latents: normal, or flow (learned; takes --objective iwae, "
        "which with --k 1 is the ELBO)",
        source="assignment, Question 1; Dinh et al. 2017",
        signature="prior",
    )
    flow_layers: Annotated[int, Ge(1), Le(1_000)] = setting(
        12, flag="--flow-layers", help="flow: affine couplings", signature="prior"
    )
    flow_hidden: Width = setting(
        64, flag="--flow-hidden", help="flow: units of a coupling", signature="prior"
    )
    dense: tuple[Width, ...] = setting(
        (),
        flag="--dense",
        help="conv: units of fully connected layers at the end of the encoder",
    )
    norm: Literal["batch", "frozen", "none"] = setting(
        "batch",
        flag="--norm",
        help="conv: normalisation after each convolution; frozen keeps the statistics of the run "
        "that --init-from names",
        source="assignment, Question 11",
        signature="norm",
    )
    skip: bool = setting(
        False,
        flag="--skip/--no-skip",
        help="conv, demonstration only: skip connections, which let the network cheat",
        source="assignment, Question 11",
    )


@dataclass(frozen=True, kw_only=True)
class VaeDataConfig:
    """Which images, and what becomes of their grey pixels."""

    __pydantic_config__ = STRICT

    name: str = setting(
        "auto",
        flag="--data",
        help="images: a data set of `dl data list`, a folder of pictures, a zip archive of one, a "
        "file of arrays (npz, npy, pt), or auto (mnist where it can be had)",
        signature=None,
    )
    image_size: str = setting(
        "auto",
        flag="--image-size",
        help="pixels of a side (32), or HEIGHTxWIDTH (20x48), 8 to 128: crop at the middle and "
        "resize; auto is the images' own",
        signature="size",
    )
    colour: bool | None = setting(
        None,
        flag="--colour/--grey",
        help="pixels of three channels or of one; none is colour if any image has colour",
        signature="colour",
    )
    binarize: Literal["none", "dynamic", "fixed"] = setting(
        "none",
        flag="--binarize",
        help="pixels: none (grey targets), dynamic (drawn anew each time) or fixed (drawn once)",
        source="assignment, Question 7: grey pixels in the cross-entropy",
        signature="pixels",
    )
    validation: Annotated[int, Ge(0)] = setting(
        0,
        flag="--validation",
        help="images taken from the end of the training set to validate on",
        signature=None,
    )
    train_images: Annotated[int, Ge(0)] = setting(
        0,
        flag="--train-images",
        help="images to train on, from the first; 0 takes all",
        signature=None,
    )
    offline: bool = setting(
        False, flag="--offline/--no-offline", help="never ask the network for data", signature=None
    )


@dataclass(frozen=True, kw_only=True)
class VaeObjectiveConfig:
    """What is minimised; all amounts are nats per image."""

    __pydantic_config__ = STRICT

    objective: Literal["elbo", "iwae"] = setting(
        "elbo",
        flag="--objective",
        help="bound to maximise: elbo, or iwae with --k samples (Burda et al. 2016)",
        source="assignment, Question 7",
        signature="objective",
    )
    k: Annotated[int, Ge(1), Le(100_000)] = setting(
        1, flag="--k", help="iwae: posterior samples per image", signature="objective"
    )
    backward_samples: Annotated[int, Ge(0)] = setting(
        0,
        flag="--backward-samples",
        help="iwae: how many of the k samples gradients are taken of, drawn by their weights; "
        "0 takes all",
        source="Burda et al. 2016, section 3",
        signature="backward",
    )
    beta: Annotated[float, Ge(0), Le(1e6)] = setting(
        1.0, flag="--beta", help="elbo: weight of the KL term", source="assignment, Question 7"
    )
    beta_warmup_epochs: Annotated[float, Ge(0)] = setting(
        0.0,
        flag="--beta-warmup",
        help="elbo: epochs over which beta grows linearly from 0",
        signature="beta_warmup",
    )
    free_bits: Annotated[float, Ge(0)] = setting(
        0.0,
        flag="--free-bits",
        help="elbo: nats of KL per latent dimension that cost nothing more (Kingma et al. 2016)",
    )
    likelihood: Literal["auto", "bernoulli", "continuous-bernoulli", "logistic"] = setting(
        "auto",
        flag="--likelihood",
        help="p(x|z): bernoulli; continuous-bernoulli, a true density of grey pixels; logistic, of "
        "the 256 levels; auto is bernoulli, and of colour logistic",
        source="assignment, Question 1",
        signature="likelihood",
    )


@dataclass(frozen=True, kw_only=True)
class VaeTrainConfig:
    """All settings of `dl vae train`."""

    __pydantic_config__ = STRICT

    data: VaeDataConfig = setting(VaeDataConfig(), help="images")
    model: VaeModelConfig = setting(VaeModelConfig(), help="network")
    objective: VaeObjectiveConfig = setting(VaeObjectiveConfig(), help="what is minimised")
    optim: OptimConfig = setting(OptimConfig(), help="optimiser")
    loop: LoopConfig = setting(LoopConfig(), help="length of the training")
    compute: ComputeConfig = setting(ComputeConfig(), help="device, precision, seed")
    snapshots: tuple[Annotated[int, Ge(0)], ...] = setting(
        (0, 10, 80),
        flag="--snapshots",
        help="epochs whose pictures and checkpoint are kept; 0 is before any training; the last "
        "epoch is drawn too",
        source="assignment, Questions 10 and 11",
        signature=None,
    )


@dataclass(frozen=True, kw_only=True)
class VaeEvalConfig:
    """All settings of `dl vae eval`."""

    __pydantic_config__ = STRICT

    k: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        5000,
        flag="--k",
        help="posterior samples an image in the IWAE bound",
        source="Burda et al. 2016, section 5",
    )
    images: Annotated[int, Ge(1)] | None = setting(
        None,
        flag="--images",
        help=f"test images, drawn once and for all; none is {DEFAULT_IMAGES:,}, or all where there "
        "are fewer",
    )
    ais: bool = setting(
        False,
        flag="--ais/--no-ais",
        help="also estimate by annealed importance sampling, on some of the images",
        source="Wu et al. 2017",
    )
    ais_images: Annotated[int, Ge(1)] = setting(
        16, flag="--ais-images", help="images to anneal, the first of those evaluated"
    )
    ais_chains: Annotated[int, Ge(2), Le(10_000)] = setting(
        64, flag="--ais-chains", help="annealing chains an image; fewer than 32 are never trusted"
    )
    ais_temperatures: Annotated[int, Ge(0), Le(100_000)] = setting(
        0, flag="--ais-temperatures", help="steps from prior to posterior; 0 lets a pilot choose"
    )
    checkpoints: Literal["none", "all"] = setting(
        "none",
        flag="--checkpoints",
        help="all: ELBO, IWAE bound and their gap at every snapshot the run kept, in one figure",
        source="assignment, Question 5",
    )
    checkpoints_k: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        500, flag="--checkpoints-k", help="posterior samples an image at a snapshot"
    )
    judge: bool = setting(
        False,
        flag="--judge/--no-judge",
        help="let a classifier trained on the set's labels read generated images and say how "
        "ambiguous they are",
        source="assignment, Questions 10 and 11",
    )
    judge_images: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        10_000, flag="--judge-images", help="generated images that the judge reads"
    )
    device: str = setting_like(ComputeConfig, "device")
    precision: Precision = setting_like(
        ComputeConfig,
        "precision",
        default="fp32",
        help="of the decoder: fp32, bf16 (autocast), or auto, which is fp32",
    )
    seed: Annotated[int, Ge(0), Lt(2**63)] = setting_like(
        ComputeConfig, "seed", help="of noise and pixels: one number for every random choice"
    )
    threads: Annotated[int, Ge(0), Le(1024)] = setting_like(ComputeConfig, "threads")


def image_shape(config: VaeDataConfig) -> tuple[int, ...]:
    """Return the shape of an image, (H, W) or (H, W, 3): 28×28 grey where the settings do not say.

    Those of a run say it, unless it was begun before there were other images.
    """
    size = read_size(config.image_size) or (28, 28)
    return (*size, 3) if config.colour else size


def likelihood_of(config: VaeTrainConfig) -> LikelihoodName:
    """Return the likelihood that `auto` is."""
    if config.objective.likelihood != "auto":
        return config.objective.likelihood
    return "logistic" if config.data.colour else "bernoulli"


def with_images(config: VaeTrainConfig, shape: tuple[int, ...]) -> VaeTrainConfig:
    """Fill in what follows from the images: size, colour, likelihood, feature maps.

    Args:
        config: the settings of a training.
        shape: of an image, (H, W) or (H, W, 3).
    """
    size, colour = "x".join(map(str, shape[:2])), len(shape) == 3
    config = replace(config, data=replace(config.data, image_size=size, colour=colour))
    objective = replace(config.objective, likelihood=likelihood_of(config))
    model, usual = config.model, VaeModelConfig()
    encoder, decoder = usual_channels(stages(shape))
    if model.channels == usual.channels:
        model = replace(model, channels=encoder)
    if model.decoder_channels == usual.decoder_channels:
        model = replace(model, decoder_channels=decoder)
    return replace(config, objective=objective, model=model)


def known_images(config: VaeTrainConfig) -> VaeTrainConfig | None:
    """Fill in what follows from the images, as far as they are known before they are loaded.

    Returns:
        None where that is only known once they are: of a user's own images.
    """
    data = config.data
    size, known = read_size(data.image_size), catalogue.image_shape(data.name)
    if size is None and known is None:
        return None
    colour = bool(known and len(known) == 3) if data.colour is None else data.colour
    H, W = size or (known or ())[:2]
    return with_images(config, (H, W, 3) if colour else (H, W))


def stages(shape: tuple[int, ...]) -> int:
    """Return how often images are halved, rounded down, until the shorter side is one pixel."""
    return min(shape[:2]).bit_length() - 1


LEAST_CHANNELS = 8


def usual_channels(depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the feature maps of encoder and decoder for a number of stages.

    They are the defaults, of 28 pixels and four stages, counted from the latents: fewer stages
    leave out those next to the image, and each further one has half of the maps, 8 at least.
    """
    usual = VaeModelConfig()
    inner, outer = list(usual.channels[::-1]), list(usual.decoder_channels)
    for maps, count in ((inner, depth), (outer, depth - 1)):
        while len(maps) < count:
            maps.append(max(LEAST_CHANNELS, maps[-1] // 2))
        del maps[count:]
    return tuple(inner[::-1]), tuple(outer)


def check(config: VaeTrainConfig) -> None:
    """Hold the settings of a training against one another.

    Raises:
        ConfigError: two of them contradict each other, or one has no effect beside the other.
    """
    read_size(config.data.image_size)
    known = known_images(config)
    _check_objective(known or config)
    _check_training(config)
    if known is not None:
        check_model(known.model, image_shape(known.data))


def _check_objective(config: VaeTrainConfig) -> None:
    objective = config.objective
    if objective.objective == "elbo" and objective.k > 1:
        raise ConfigError(
            f"--k {objective.k} has no meaning for --objective elbo.",
            hint="Add --objective iwae, or leave --k at 1.",
        )
    if objective.objective == "elbo" and config.model.prior == "flow":
        raise ConfigError(
            "--prior flow has no KL in closed form, which --objective elbo wants.",
            hint="Add --objective iwae: with --k 1 it is the ELBO with the KL of its sample.",
        )
    _check_backward_samples(config)
    if objective.objective == "iwae":
        names = {"--beta": 1.0, "--beta-warmup": 0.0, "--free-bits": 0.0}
        values = (objective.beta, objective.beta_warmup_epochs, objective.free_bits)
        for (name, neutral), value in zip(names.items(), values, strict=True):
            if value != neutral:
                raise ConfigError(
                    f"{name} {value:g} has no meaning for --objective iwae, whose KL is not apart.",
                    hint=f"Leave {name} out, or use --objective elbo.",
                )
    likelihood = likelihood_of(config)
    if likelihood != "bernoulli" and config.data.binarize != "none":
        raise ConfigError(
            f"--likelihood {likelihood} is of pixels of many levels, and --binarize "
            f"{config.data.binarize} makes them black or white.",
            hint="Use --binarize none, or --likelihood bernoulli.",
        )


def _check_backward_samples(config: VaeTrainConfig) -> None:
    objective, count = config.objective, config.objective.backward_samples
    if not count:
        return
    if objective.objective == "elbo":
        raise ConfigError(
            f"--backward-samples {count} has no meaning for --objective elbo.",
            hint="Add --objective iwae and --k, or leave it out.",
        )
    if count > objective.k:
        raise ConfigError(
            f"--backward-samples {count} is more than --k {objective.k}.",
            hint="Raise --k, or leave --backward-samples out to go back through all.",
        )
    if config.model.arch == "conv" and config.model.norm == "batch":
        raise ConfigError(
            f"--backward-samples {count} needs the same normalisation of all samples and of those "
            "chosen, and --norm batch takes each batch's own.",
            hint="Use --norm none, or --norm frozen with --init-from.",
        )


def _check_training(config: VaeTrainConfig) -> None:
    if config.model.skip and config.objective.objective == "iwae":
        raise ConfigError(
            "--skip is a demonstration for --objective elbo.",
            hint="Leave out --skip or --objective iwae.",
        )
    if config.loop.patience and not config.data.validation:
        raise ConfigError(
            f"--patience {config.loop.patience} needs a validation loss, and there is none.",
            hint="Add --validation 5000 to take images from the training set.",
        )


def check_model(config: VaeModelConfig, shape: tuple[int, ...]) -> None:
    """Hold the settings of a network against its `arch`.

    Args:
        config: which network.
        shape: of an image, (H, W) or (H, W, 3).

    Raises:
        ConfigError: a list of sizes has the wrong length, or a setting has no meaning here.
    """
    if config.prior == "flow" and config.latent_dim < 2:
        raise ConfigError(
            "--prior flow has nothing to tell one latent dimension from.",
            hint="Use --latent-dim 2 or more, or --prior normal.",
        )
    usual = VaeModelConfig()
    as_usual = (config.flow_layers, config.flow_hidden) == (usual.flow_layers, usual.flow_hidden)
    if config.prior != "flow" and not as_usual:
        raise ConfigError(
            "--flow-layers and --flow-hidden have no meaning for --prior normal.",
            hint="Add --prior flow, or leave them out (a grid over priors takes the usual sizes).",
        )
    if config.arch == "mlp":
        given = {"--skip": config.skip, f"--norm {config.norm}": config.norm != "batch"}
        given["--dense"] = bool(config.dense)
        for name in (name for name, said in given.items() if said):
            raise ConfigError(
                f"{name} has no meaning for --arch mlp, which has neither feature maps nor "
                "normalisation.",
                hint="Add --arch conv.",
            )
        if not config.hidden:
            raise ConfigError("--hidden is empty.", hint="Name at least one size, such as 350.")
        return
    sides, depth = halvings(min(shape[:2])), stages(shape)
    if config.skip and depth < 4:
        raise ConfigError(
            f"--skip is a demonstration on images of 16 pixels or more, not {min(shape[:2])}.",
            hint="Leave it out, or use a larger --image-size.",
        )
    fewest = min(2, depth) if config.dense else depth
    inner = [4, *reversed(sides[1:-2])]
    for flag, sizes, counts, where in (
        ("--channels", config.channels, (fewest, depth), sides[:-1]),
        ("--decoder-channels", config.decoder_channels, (depth - 1, depth - 1), inner),
    ):
        least, most = counts
        if not least <= len(sizes) <= most:
            *first, last = map(str, where)
            raise ConfigError(
                f"{flag} has {plural(len(sizes), 'size')} and needs "
                f"{most if least == most else f'{least} to {most}'}.",
                hint=f"Name the numbers of feature maps at {', '.join(first)} and {last} pixels.",
            )


def halvings(side: int) -> list[int]:
    """Halve a side, rounded down, until it is one pixel: 28, 14, 7, 3, 1."""
    return [side >> number for number in range(side.bit_length())]
