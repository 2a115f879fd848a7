"""Where data sets are looked for: `$DL_DATA_DIR`, then the user's cache folder.

`$DL_DATA_DIR` belongs to the user and is only read; what is fetched goes into the cache, which the
system's own variables move (`XDG_CACHE_HOME` on Linux). Both have the same layout.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "DL_DATA_DIR"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder that may hold data sets.

    Attributes:
        kind: "$DL_DATA_DIR" or "cache", as shown to the user.
        folder: absolute path; it need not exist.
    """

    kind: str
    folder: Path

    @property
    def ours(self) -> bool:
        """Whether the tool fetched what is there, and may therefore replace it."""
        return self.kind == "cache"


def data_dir() -> Place | None:
    """Return the user's own data folder, or None where `$DL_DATA_DIR` is unset or empty."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    return Place(kind=f"${VARIABLE}", folder=Path(value).expanduser().absolute())


def cache() -> Place:
    """Return the folder that fetched data sets are kept in."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("dl", appauthor=False)) / "data"
    return Place(kind="cache", folder=folder.absolute())


def places() -> tuple[Place, ...]:
    """Return the places to look in, first to last."""
    own = data_dir()
    return (cache(),) if own is None else (own, cache())
