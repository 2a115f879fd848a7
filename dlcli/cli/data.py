"""`dl data`: list, fetch, verify, path, show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcli.cli.options import OfflineFlag, complete_data, plain
from dlcli.display.console import Consoles
from dlcli.display.images import PictureRows
from dlcli.display.progress import DownloadProgress, FractionProgress
from dlcli.display.tables import ResultTable, size
from dlcli.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from dlcli.data.pixels import ImageData
    from dlcli.data.storage import FileState, Listing, SetState

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A data set, as in `dl data list`.", autocompletion=complete_data
    ),
]


@plain
def list_(consoles: Consoles) -> None:
    """List the data sets: what each is, where it is on this machine, its licence.

    Examples:
        dl data list
    """
    from dlcli.data.storage import listing

    found = listing()
    rows = [
        [
            row.data_set.name,
            row.where or "not here",
            size(row.data_set.size) if row.data_set.size else "",
            row.data_set.what,
            row.data_set.licence,
        ]
        for row in found
    ]
    table = ResultTable(["name", "where", "size", "what", "licence"], rows, spare=["licence"])
    consoles.result({"data_sets": [_listed(row) for row in found]}, table)


@plain
def fetch(
    consoles: Consoles,
    *,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Which data sets.", autocompletion=complete_data),
    ],
    offline: OfflineFlag = False,
) -> None:
    """Fetch data sets into the cache, checked; what is here already stays as it is.

    Examples:
        dl data fetch mnist
    """
    from dlcli.data.catalogue import named
    from dlcli.data.download import fetch as download

    fetched = []
    for data_set in [named(name) for name in names]:
        with DownloadProgress(consoles, label=data_set.name) as progress:
            folder = download(data_set, offline=offline, notice=consoles.notice, progress=progress)
        inside = folder.files_of(data_set)
        fetched.append({"name": data_set.name, "where": folder.kind, "path": inside})
    lines = [f"{row['name']:16} {row['path']}" for row in fetched]
    consoles.result({"data_sets": fetched}, *lines)


@plain
def verify(
    consoles: Consoles,
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Which data sets. (default: all that are here)",
            autocompletion=complete_data,
        ),
    ] = None,
) -> None:
    """Read every file of the data sets that are here and check it; exit code 3 if one is wrong.

    Examples:
        dl data verify
        dl data verify mnist
    """
    from dlcli.data.storage import verify as check

    states = check(names or ())
    good = all(state.state == "ok" for state in states)
    lines = [f"{file.state:8} {file.path}{_found(file)}" for s in states for file in s.files]
    result = {"ok": good, "data_sets": [_verified(state) for state in states]}
    consoles.result(result, *(lines or ["No data set with files is on this machine."]))
    if not good:
        bad = sorted({state.name for state in states if state.state != "ok"})
        consoles.warning(
            f"Not as it should be: {', '.join(bad)}. `dl data fetch` repairs the cache."
        )
        raise typer.Exit(CheckFailed.exit_code)


@plain
def path(consoles: Consoles, *, name: NameArgument) -> None:
    """Print the folder that holds a data set's files, which are checked before.

    Examples:
        dl data path mnist
    """
    from dlcli.data.storage import path as find

    found = find(name)
    consoles.result({"name": name, "path": found}, str(found))


@plain
def show_(
    consoles: Consoles,
    *,
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=complete_data,
            metavar="NAME",
            help="A data set, as in `dl data list`, other languages (tatoeba:deu-eng), several "
            "corpora (europarl+tatoeba), a TSV or two files (a.de,b.en), a folder of pictures, "
            "a zip archive of one, or a file of arrays (npz, npy, pt).",
        ),
    ] = "auto",
    n: Annotated[
        int, typer.Option("--n", min=1, max=1000, help="How many images or pairs of sentences.")
    ] = 20,
    split: Annotated[
        str, typer.Option("--split", help="Which part: train, test, of pairs also valid.")
    ] = "train",
    direction: Annotated[
        str | None,
        typer.Option(
            "--direction",
            help="Of pairs: what comes first, such as fr-en. (default: the corpus's own)",
        ),
    ] = None,
    image_size: Annotated[
        str,
        typer.Option(
            "--image-size",
            help="Of images: a side in pixels (32) or HEIGHTxWIDTH; auto is their own.",
        ),
    ] = "auto",
    colour: Annotated[
        bool | None,
        typer.Option(
            "--colour/--grey", help="Of images. (default: colour if any image has colour)"
        ),
    ] = None,
    offline: OfflineFlag = False,
) -> None:
    """Show the first images of a data set with their labels, or its first pairs of sentences.

    Examples:
        dl data show glyphs --n 8
        dl data show shapes --n 4 --image-size 16
        dl data show grammar --n 3
    """
    from dlcli.data.catalogue import holds_pairs
    from dlcli.data.images import load_images
    from dlcli.data.sizes import read_size

    if holds_pairs(name):
        _show_pairs(consoles, name, n=n, split=split, direction=direction, offline=offline)
    else:
        if split not in ("train", "test"):
            raise ConfigError(f"Images have no split '{split}'.", hint="They have train and test.")
        with FractionProgress(consoles, label="reading") as progress:
            data = load_images(
                name,
                size=read_size(image_size),
                colour=colour,
                offline=offline,
                notice=consoles.notice,
                progress=progress,
            )
        _show_images(consoles, data, n=n, split=split)


def _show_images(consoles: Consoles, data: ImageData, *, n: int, split: str) -> None:
    images = (data.train if split == "train" else data.test)[:n]
    given = data.train_labels if split == "train" else data.test_labels
    labels = None if given is None else given[:n].tolist()
    result = {
        "data": data.name,
        "split": split,
        "shape": data.shape,
        "count": len(images),
        "labels": labels,
    }
    words = f"{data.name} {split}: {'no labels' if labels is None else ' '.join(map(str, labels))}"
    consoles.result(result, PictureRows(images.numpy()), words)


def _show_pairs(
    consoles: Consoles, name: str, *, n: int, split: str, direction: str | None, offline: bool
) -> None:
    from dlcli.data.corpora import load_corpus

    few = n if split == "train" else 0  # of a corpus that is made, no more than is shown
    corpus = load_corpus(
        name, direction=direction, offline=offline, notice=consoles.notice, train_pairs=few
    )
    shown = corpus.split(split).first(n)
    rows = [{"source": s, "target": t} for s, t in zip(shown.source, shown.target, strict=True)]
    for row, links in zip(rows, shown.links or (), strict=False):
        row["links"] = links
    result = {
        "data": corpus.name,
        "split": split,
        "languages": corpus.languages,
        "count": len(shown),
        "pairs": rows,
        "sizes": corpus.sizes,
        "dropped": corpus.dropped,
    }
    lines = ["\t".join(map(str, row.values())) for row in rows]
    consoles.result(result, *lines)
    whole = corpus.sizes.get(split, len(corpus.split(split)))
    consoles.notice(f"{corpus.name} {split}: {len(shown):,} of {whole:,} pairs.")


def _listed(row: Listing) -> dict[str, Any]:
    return {
        "name": row.data_set.name,
        "what": row.data_set.what,
        "kind": row.data_set.kind,
        "languages": row.data_set.languages,
        "where": row.where or None,
        "path": row.folder,
        "size_bytes": row.data_set.size,
        "download_bytes": row.data_set.download_bytes,
        "licence": row.data_set.licence,
        "sources": list(row.data_set.sources),
    }


def _verified(state: SetState) -> dict[str, Any]:
    files = [
        {
            "path": file.path,
            "state": file.state,
            "expected": file.expected,
            "found": file.found or None,
        }
        for file in state.files
    ]
    return {"name": state.name, "where": state.folder.kind, "state": state.state, "files": files}


def _found(file: FileState) -> str:
    return f": expected {file.expected}; found {file.found}" if file.state == "wrong" else ""
