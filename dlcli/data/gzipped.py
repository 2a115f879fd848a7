"""Parallel text in two gzip files a split, as corpora are published; the splits are given."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from dlcli.data.lines import Tally, read_lines, side_by_side
from dlcli.data.pairs import Pairs
from dlcli.errors import DataError


def read_gzipped(stem: Path, *, tally: Tally) -> Pairs:
    """Read `STEM.en.gz` and `STEM.fr.gz`.

    Raises:
        DataError: one of them is no gzip file, or they differ in length.
    """
    paths = [stem.with_name(f"{stem.name}.{language}.gz") for language in ("en", "fr")]
    try:
        with gzip.open(paths[0]) as english, gzip.open(paths[1]) as french:
            files = [cast(BinaryIO, file) for file in (english, french)]
            sides = [read_lines(file, name=stem.name) for file in files]
            return Pairs.of(side_by_side(*sides, tally=tally, names=f"{stem}.{{en,fr}}.gz"))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{stem}.{{en,fr}}.gz cannot be read ({error}).",
            hint="Run `dl data verify` to see which file is wrong.",
        ) from None
