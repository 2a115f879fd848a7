"""Pixels by name: one uint8 tensor a split, from which batches are cut without per-image work."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dlcli.data.catalogue import DataSet, FileCheck, named, names_of
from dlcli.data.download import fetch, true_name
from dlcli.data.glyphs import draw_glyphs
from dlcli.data.storage import find, open_file, place_of, to_stderr
from dlcli.data.vision import torchvision_module
from dlcli.engine.events import NoticeCallback
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError

GLYPHS_TRAIN = 10_000
_TEST_SHARE = 5  # one test digit for every five training digits
_MOST_GLYPHS = 1_000_000  # 784 MB of pixels


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set of grey images in memory.

    Attributes:
        name: the true name, as it goes into signatures (never "auto").
        train: (N, 28, 28) uint8 training pixels, 0 the background and 255 full ink.
        train_labels: (N,) int64.
        test: (M, 28, 28) uint8 test pixels.
        test_labels: (M,) int64.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_images(
    name: str = "auto", *, offline: bool = False, notice: NoticeCallback = to_stderr
) -> ImageData:
    """Load a data set of images by name.

    Args:
        name: "mnist"; "glyphs", "glyphs:N" (N training digits and N/5 test digits) or
            "glyphs:N:SEED"; "auto" is mnist where it can be had, else glyphs with a notice.
        offline: never use the network.
        notice: called with one sentence where the user should know something.

    Raises:
        ConfigError: there is no data set of images of that name.
        DataError: it cannot be had, or a file of it is wrong.
    """
    name = true_name(name, kind="images", offline=offline, notice=notice)
    data_set = named(name)
    if data_set.kind != "images":
        raise ConfigError(
            f"The data set '{name}' holds {data_set.kind} of sentences, not images.",
            hint=f"Use {', '.join(names_of('images'))}.",
        )
    if data_set.reader == "glyphs":
        return _glyphs(*_count_and_seed(name))
    folder = find(data_set) or fetch(data_set, offline=offline, notice=notice)
    return READERS[data_set.reader](data_set, folder.path)


def read_idx(data_set: DataSet, folder: Path) -> ImageData:
    """Read four files in MNIST's form (IDX), which were checked, with torchvision.

    The catalogue names images and labels of the training set, then those of the test set.
    """
    idx = torchvision_module("torchvision.datasets.mnist")
    tensors = []
    for check, read in zip(
        data_set.files, (idx.read_image_file, idx.read_label_file) * 2, strict=True
    ):
        with _unpacked(place_of(folder, check.name), check) as path:
            tensors.append(read(str(path)))
    train, train_labels, test, test_labels = tensors
    return ImageData(
        name=data_set.name,
        train=train,
        train_labels=train_labels,
        test=test,
        test_labels=test_labels,
    )


@contextmanager
def _unpacked(path: Path, check: FileCheck) -> Iterator[Path]:
    """Give torchvision a file that is not packed; it reads no other."""
    if path.suffix != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, open_file(path, check) as (file, _):
        plain = Path(folder) / "plain"
        plain.write_bytes(file.read())
        yield plain


READERS: dict[str, Callable[[DataSet, Path], ImageData]] = {"idx": read_idx}
"""How the files of a set become images, by the name that its catalogue entry gives."""


def _count_and_seed(name: str) -> tuple[int, int]:
    """Read count and seed from "glyphs", "glyphs:N" or "glyphs:N:SEED"."""
    count, seed = [*name.split(":")[1:], "", ""][:2]
    well_formed = all(not text or text.isdecimal() for text in (count, seed))
    number = int(count or GLYPHS_TRAIN) if well_formed else 0
    if not 1 <= number <= _MOST_GLYPHS or name.count(":") > 2:
        raise ConfigError(
            f"'{name}' is not a number of glyphs.",
            hint=f"Write glyphs, glyphs:N or glyphs:N:SEED, N from 1 to {_MOST_GLYPHS:,}.",
        )
    return number, int(seed or 0)


@functools.lru_cache(maxsize=1)
def _glyphs(count: int, seed: int) -> ImageData:
    """Draw the digits; their name has only what is not the default."""
    name = "glyphs" if count == GLYPHS_TRAIN and not seed else f"glyphs:{count}"
    train, train_labels = draw_glyphs(count, generator=generator(seed, "glyphs", "train"))
    test, test_labels = draw_glyphs(
        -(-count // _TEST_SHARE), generator=generator(seed, "glyphs", "test")
    )
    return ImageData(
        name=f"{name}:{seed}" if seed else name,
        train=train,
        train_labels=train_labels,
        test=test,
        test_labels=test_labels,
    )
