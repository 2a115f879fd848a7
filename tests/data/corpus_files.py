"""Small corpora in the layout of a data folder, and a catalogue that knows them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from dlcli.data import catalogue, corpora
from dlcli.data import corpora as europarl
from dlcli.data import corpora as multi30k
from dlcli.data import corpora as tatoeba
from dlcli.data.catalogue import DataSet, FileCheck

ROWS = [(f"sentence {n}.", f"phrase {n}.") for n in range(30)]

SPLITS = {
    "multi30k": ("train", "val", "test_2016_flickr", "test_2017_flickr"),
    "europarl": ("train", "valid", "test"),
}


def zipped(text: str, *, level: int = 6) -> bytes:
    """Pack a text as Tatoeba is; other levels give other archives of the same text."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr("fra-eng/fra.txt", text)
    return buffer.getvalue()


def tatoeba_text() -> str:
    """Return the pairs of ROWS as Tatoeba's file lists them."""
    return "".join(f"{english}\t{french}\n" for english, french in ROWS)


def corpus_files(name: str) -> dict[str, bytes]:
    """Return the files of a small corpus by their catalogue names; each split has its own text."""
    if name == "tatoeba":
        return {"tatoeba/fra-eng.zip": zipped(tatoeba_text())}
    files = {}
    for split in SPLITS[name]:
        for column, language in enumerate(("en", "fr")):
            text = "".join(f"{split} {row[column]}\n" for row in ROWS[:3])
            files[f"{name}/{split}.{language}.gz"] = gzip.compress(text.encode(), mtime=0)
    return files


def lay_out(folder: Path, files: dict[str, bytes]) -> None:
    """Write files under a data folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def small_catalogue(monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, DataSet]:
    """Put small corpora into the catalogue's place, fetched from under `url`."""
    text = tatoeba_text().encode()
    packed = corpus_files("tatoeba")["tatoeba/fra-eng.zip"]
    check = dataclasses.replace(
        catalogue.TATOEBA.files[0],
        size=len(text),
        digest="sha256:" + hashlib.sha256(text).hexdigest(),
        fetched="sha1:" + hashlib.sha1(packed, usedforsecurity=False).hexdigest(),
        urls=(f"{url}/tatoeba/fra-eng.zip",),
    )
    small = {
        "tatoeba": dataclasses.replace(catalogue.TATOEBA, files=(check,)),
        "multi30k": dataclasses.replace(
            catalogue.MULTI30K, files=_checks("multi30k", f"{url}/"), download_bytes=1_000
        ),
        "europarl": dataclasses.replace(
            catalogue.EUROPARL,
            files=(
                dataclasses.replace(
                    catalogue.EUROPARL.files[0], urls=(f"{url}/europarl/fr-en.tgz",)
                ),
            ),
        ),
        "europarl-dev500k": dataclasses.replace(
            catalogue.EUROPARL_DEV, files=_checks("europarl", "")
        ),
        "grammar": catalogue.GRAMMAR,
        "glyphs": catalogue.GLYPHS,
    }
    monkeypatch.setattr(catalogue, "DATA_SETS", tuple(small.values()))
    names = {"TATOEBA": "tatoeba", "EUROPARL": "europarl", "EUROPARL_DEV": "europarl-dev500k"}
    for module in (corpora, tatoeba, multi30k, europarl):
        for constant, name in names.items():
            if hasattr(module, constant):
                monkeypatch.setattr(module, constant, small[name])
    monkeypatch.setattr(tatoeba, "TATOEBA_HELD_OUT", 3)
    return small


def _checks(name: str, url: str) -> tuple[FileCheck, ...]:
    return tuple(
        FileCheck(
            name=file,
            size=len(data),
            digest="sha256:" + hashlib.sha256(data).hexdigest(),
            urls=(f"{url}{file}",) if url else (),
        )
        for file, data in corpus_files(name).items()
    )
