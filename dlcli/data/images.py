"""Images by name or path; see `dlcli.data.pixels` for what comes out."""

from __future__ import annotations

import functools
import gzip
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dlcli.data.catalogue import (
    DataSet,
    FileCheck,
    is_image_path,
    is_path,
    named,
    names_of,
    split_path,
)
from dlcli.data.download import fetch, true_name
from dlcli.data.glyphs import SIDE, draw_glyphs
from dlcli.data.pixels import ImageData, refitted
from dlcli.data.shapes import SIDE as SHAPES_SIDE
from dlcli.data.shapes import draw_factors, render
from dlcli.data.sizes import Size
from dlcli.data.storage import find, open_file, place_of, to_stderr
from dlcli.data.user_images import load_user_images
from dlcli.data.vision import torchvision_module
from dlcli.engine.events import NoticeCallback, ProgressCallback, no_progress
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError, DataError

DRAWN_TRAIN = 10_000
"""Training images of an embedded set that is named without a number."""
_TEST_SHARE = 5  # one test image for every five training images
_MOST_DRAWN = 1_000_000  # glyphs: 784 MB of pixels


def load_images(
    name: str = "auto",
    *,
    size: Size | None = None,
    colour: bool | None = None,
    offline: bool = False,
    notice: NoticeCallback = to_stderr,
    progress: ProgressCallback = no_progress,
) -> ImageData:
    """Load a data set of images.

    Args:
        name: a set of the catalogue, such as "mnist"; "glyphs", "glyphs:N" (N training digits and
            N/5 test digits) or "glyphs:N:SEED", and "shapes" likewise; the path of a folder of
            pictures, of a zip archive of one, or of a file of arrays (npz, npy, pt); "auto" is
            mnist where it can be had, else glyphs with a notice.
        size: height and width; None is the images' own.
        colour: False makes grey images, True colour ones, None keeps what they are.
        offline: never use the network.
        notice: called with one sentence where the user should know something.
        progress: called while a user's images are read for the first time.

    Raises:
        ConfigError: there is no data set of images of that name, or its images have no one size.
        DataError: it cannot be had, or a file of it is wrong.
    """
    if is_image_path(name):
        return load_user_images(name, size=size, colour=colour, notice=notice, progress=progress)
    if is_path(name):
        _refuse_path(name)
    name = true_name(name, kind="images", offline=offline, notice=notice)
    data_set = named(name, kind="images")
    if data_set.kind != "images":
        raise ConfigError(
            f"The data set '{name}' holds {data_set.kind} of sentences, not images.",
            hint=f"Use {', '.join(names_of('images'))}, or a folder of pictures.",
        )
    if data_set.reader in DRAWN:
        data = _drawn(data_set.reader, *_count_and_seed(name), size)
    else:
        folder = find(data_set) or fetch(data_set, offline=offline, notice=notice)
        data = READERS[data_set.reader](data_set, folder.path)
    return refitted(data, size=size, colour=colour)


def _refuse_path(name: str) -> None:
    """Say why a path holds no images.

    Raises:
        ConfigError: there is nothing at it, or sentences.
        DataError: something else is.
    """
    files = [Path(word).expanduser() for word in split_path(name)[0].split(",")]
    if all(file.is_file() for file in files) and (len(files) == 2 or files[0].suffix == ".tsv"):
        what = "two texts" if len(files) == 2 else "a table of sentences"
        raise ConfigError(
            f"{name} is {what}, not images.",
            hint=f"Train a translator on it: `dl nmt train --data {name}`.",
        )
    there = Path(name).expanduser().exists()
    raise (DataError if there else ConfigError)(
        f"{name} {'is no folder, zip archive or array file of images' if there else 'is not there'}"
        ".",
        hint="Name a folder of PNG or JPEG files, a zip archive of one, or an .npz, .npy or .pt "
        f"file; or a data set by name: {', '.join(names_of('images'))}.",
    )


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
        content = file.read()
        plain.write_bytes(gzip.decompress(content) if check.name.endswith(".gz") else content)
        yield plain


def read_emnist(data_set: DataSet, folder: Path) -> ImageData:
    """Read one split of EMNIST's archive; its images are stored transposed, and turned here.

    Letters are labelled 1 to 26 there and 0 to 25 here.
    """
    idx = torchvision_module("torchvision.datasets.mnist")
    path = place_of(folder, data_set.files[0].name)
    tensors = []
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as place:
        for half in ("train", "test"):
            for what, read in (
                ("images-idx3", idx.read_image_file),
                ("labels-idx1", idx.read_label_file),
            ):
                member = f"gzip/{data_set.name}-{half}-{what}-ubyte.gz"
                plain = Path(place) / "plain"
                try:
                    plain.write_bytes(gzip.decompress(archive.read(member)))
                except (KeyError, OSError, EOFError, zlib.error, zipfile.BadZipFile):
                    raise DataError(
                        f"{path} has no sound {member}.",
                        hint=f"Fetch it again with `dl data fetch {data_set.name}`.",
                    ) from None
                tensors.append(read(str(plain)))
    train, train_labels, test, test_labels = tensors
    first = int(train_labels.min())
    return ImageData(
        name=data_set.name,
        train=train.transpose(1, 2).contiguous(),
        train_labels=train_labels - first,
        test=test.transpose(1, 2).contiguous(),
        test_labels=test_labels - first,
    )


READERS: dict[str, Callable[[DataSet, Path], ImageData]] = {"idx": read_idx, "emnist": read_emnist}
"""How the files of a set become images, by the name that its catalogue entry gives."""


def _count_and_seed(name: str) -> tuple[int, int]:
    """Read count and seed from "glyphs", "glyphs:N" or "glyphs:N:SEED"."""
    stem, *rest = name.split(":")
    count, seed = [*rest, "", ""][:2]
    well_formed = all(not text or text.isdecimal() for text in (count, seed))
    number = int(count or DRAWN_TRAIN) if well_formed else 0
    if not 1 <= number <= _MOST_DRAWN or name.count(":") > 2:
        raise ConfigError(
            f"'{name}' is not a number of {stem}.",
            hint=f"Write {stem}, {stem}:N or {stem}:N:SEED, N from 1 to {_MOST_DRAWN:,}.",
        )
    return number, int(seed or 0)


Drawing = tuple[torch.Tensor, torch.Tensor]
"""Images and labels."""


def _glyphs(count: int, stream: torch.Generator, size: Size | None) -> Drawing:
    return draw_glyphs(count, generator=stream, size=size or (SIDE, SIDE))


def _shapes(count: int, stream: torch.Generator, size: Size | None) -> Drawing:
    factors = draw_factors(count, generator=stream)
    return render(factors, size=size or (SHAPES_SIDE, SHAPES_SIDE)), factors.shape


DRAWN: dict[str, Callable[[int, torch.Generator, Size | None], Drawing]] = {
    "glyphs": _glyphs,
    "shapes": _shapes,
}
"""The embedded sets, drawn at any size."""


@functools.lru_cache(maxsize=1)
def _drawn(stem: str, count: int, seed: int, size: Size | None) -> ImageData:
    """Draw an embedded set; its name has only what is not the default."""
    name = stem if count == DRAWN_TRAIN and not seed else f"{stem}:{count}"
    splits = {"train": count, "test": -(-count // _TEST_SHARE)}
    train, test = (
        DRAWN[stem](number, generator(seed, stem, split), size) for split, number in splits.items()
    )
    return ImageData(
        name=f"{name}:{seed}" if seed else name,
        train=train[0],
        train_labels=train[1],
        test=test[0],
        test_labels=test[1],
    )
