"""The variational auto-encoder: networks, objective, training, evaluation, generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcli.lazy import exports

if TYPE_CHECKING:
    from dlcli.vae.config import VaeModelConfig as VaeModelConfig
    from dlcli.vae.config import VaeTrainConfig as VaeTrainConfig
    from dlcli.vae.evaluation import Evaluation as Evaluation
    from dlcli.vae.evaluation import evaluate as evaluate
    from dlcli.vae.gallery import Gallery as Gallery
    from dlcli.vae.gallery import Reconstruction as Reconstruction
    from dlcli.vae.gallery import decode_gallery as decode_gallery
    from dlcli.vae.generation import generate as generate
    from dlcli.vae.generation import posterior_means as posterior_means
    from dlcli.vae.generation import prior_latents as prior_latents
    from dlcli.vae.generation import reconstruct as reconstruct
    from dlcli.vae.gradients import GradientComparison as GradientComparison
    from dlcli.vae.gradients import compare_gradient_estimators as compare_gradient_estimators
    from dlcli.vae.model import VAE as VAE
    from dlcli.vae.model import build_model as build_model
    from dlcli.vae.objective import kl_standard_normal as kl_standard_normal
    from dlcli.vae.result import TrainResult as TrainResult
    from dlcli.vae.snapshots import snapshots_of as snapshots_of
    from dlcli.vae.trained import Trained as Trained
    from dlcli.vae.trained import find_trained as find_trained
    from dlcli.vae.trained import load_trained as load_trained
    from dlcli.vae.training import train as train
    from dlcli.vae.walks import interpolate as interpolate
    from dlcli.vae.walks import plane as plane
    from dlcli.vae.walks import traverse as traverse

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "VAE": "dlcli.vae.model",
        "Evaluation": "dlcli.vae.evaluation",
        "Gallery": "dlcli.vae.gallery",
        "GradientComparison": "dlcli.vae.gradients",
        "Reconstruction": "dlcli.vae.gallery",
        "TrainResult": "dlcli.vae.result",
        "Trained": "dlcli.vae.trained",
        "VaeModelConfig": "dlcli.vae.config",
        "VaeTrainConfig": "dlcli.vae.config",
        "build_model": "dlcli.vae.model",
        "compare_gradient_estimators": "dlcli.vae.gradients",
        "decode_gallery": "dlcli.vae.gallery",
        "evaluate": "dlcli.vae.evaluation",
        "find_trained": "dlcli.vae.trained",
        "generate": "dlcli.vae.generation",
        "interpolate": "dlcli.vae.walks",
        "kl_standard_normal": "dlcli.vae.objective",
        "load_trained": "dlcli.vae.trained",
        "plane": "dlcli.vae.walks",
        "posterior_means": "dlcli.vae.generation",
        "prior_latents": "dlcli.vae.generation",
        "reconstruct": "dlcli.vae.generation",
        "snapshots_of": "dlcli.vae.snapshots",
        "train": "dlcli.vae.training",
        "traverse": "dlcli.vae.walks",
    },
)
