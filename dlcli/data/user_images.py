"""A user's own images: a folder of pictures, a zip archive of one, or a file of arrays.

They are read once, checked, brought to one size and written into the cache as one file of uint8
pixels, which every later run maps into memory: 200,000 images of 64×64 in colour are 2.5 GB on
disk, of which a batch reads its own rows. A source whose names, sizes and times are the same is
found there again.

A source says what it is (`stamp`), and writes its images one split after the other (`write`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.data.catalogue import ARRAY_SUFFIXES, PATH_DIGEST, PICTURE_SUFFIXES
from dlcli.data.pixels import ImageData, cropped, fitted, hash_of, held_out
from dlcli.data.sizes import Size, check_size
from dlcli.engine.events import NoticeCallback, ProgressCallback, no_progress
from dlcli.engine.files import cache_folder, locked_in_turn
from dlcli.errors import ConfigError, DataError, UsageFault, plural

VERSION = 4
"""Of how images are read: raised where that changes, so that no old file is taken for a new."""
MOST_BROKEN = 0.01
"""Share of files that may be left out."""
MOST_FILE_BYTES = 500_000_000
NAMED = 3
"""Files that a sentence names; more are counted."""
Bytes = NDArray[np.uint8]


def load_user_images(
    name: str,
    *,
    size: Size | None,
    colour: bool | None,
    notice: NoticeCallback,
    progress: ProgressCallback = no_progress,
) -> ImageData:
    """Load images from a path; they are memory-mapped from the cache.

    The set's name carries a digest of the files (`/home/me/photos#1f2e3d4c`), so that a signature
    says what was measured, and files that have changed since are noticed.

    Args:
        name: the path, perhaps with the digest of an earlier reading.
        size: height and width; None is the images' own, if all agree.
        colour: None is colour if any image has colour.
        notice: called with a sentence where files are left out, and where another process is
            reading the same ones.
        progress: called while they are read for the first time.

    Raises:
        ConfigError: the images are of different sizes, or of one that no network takes.
        DataError: they cannot be read, too many files are broken, or they have changed.
    """
    earlier = PATH_DIGEST.search(name)
    path = Path(PATH_DIGEST.sub("", name)).expanduser().absolute()
    source = _source(path)
    of = {"source": str(path), "stamp": f"{VERSION}:{source.stamp().hex()}"}
    made = hashlib.sha256(f"{size}:{colour}:{of['stamp']}".encode()).hexdigest()[:24]
    place = cache_folder() / "images" / made
    lock = place.with_name(f".{made}.lock")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked_in_turn(lock, work=f"reading {path}", notice=notice) as held:
            for left in place.parent.glob(f".{made}.*.tmp") if held else ():
                shutil.rmtree(left, ignore_errors=True)  # of a program that was killed
            if not (place / "about.json").is_file():
                _make(source, place, of=of, size=size, colour=colour, progress=progress)
                _remove_replaced(place.parent, of=of)
            about = json.loads((place / "about.json").read_text(encoding="utf-8"))
            data = _mapped(place, about, name=f"{path}#{about['digest']}")
    except OSError as error:
        raise DataError(
            f"{error.filename2 or error.filename or place} could not be written or read: "
            f"{error.strerror or error}.",
            hint="Free some space or remove what is in its place; XDG_CACHE_HOME moves the cache.",
        ) from None
    for sentence in [*about["notices"], *source.notices()]:
        notice(f"{path}: {sentence}")
    digest = about["digest"]
    if earlier and earlier[1] != digest:
        raise DataError(
            f"{path} has changed: its digest was {earlier[1]} and is {digest}.",
            hint="Put the old files back, or train a new run on what is there now.",
        )
    return data


def is_same_path(given: str, known: str) -> bool:
    """Say whether a path is that of a set's name, which has a digest too."""
    plain = PATH_DIGEST.sub("", known)
    return plain != known and str(Path(given).expanduser().absolute()) == plain


def _mapped(place: Path, about: Mapping[str, Any], *, name: str) -> ImageData:
    count, train = about["train"] + about["test"], about["train"]
    # Copy-on-write: torch wants memory that it may write, and nothing of it reaches the file.
    shape = (count, *about["shape"])
    pixels = torch.from_numpy(
        np.memmap(place / "pixels", dtype=np.uint8, mode="c", shape=shape).view(np.ndarray)
    )
    labels = None
    if about["labels"]:
        labels = torch.from_numpy(np.load(place / "labels.npy", allow_pickle=False))
    return ImageData(
        name=name,
        train=pixels[:train],
        train_labels=None if labels is None else labels[:train],
        test=pixels[train:],
        test_labels=None if labels is None else labels[train:],
    )


@dataclass(kw_only=True)
class Written:
    """What a source has written."""

    shape: tuple[int, ...]
    train: int
    test: int
    labels: list[int] | None
    digest: str
    notices: list[str]
    """Sentences about what was left out."""


class Source(Protocol):
    """Where a user's images come from."""

    def stamp(self) -> bytes:
        """Return what changes when the images do, without reading them."""

    def notices(self) -> Iterator[str]:
        """Yield sentences about what is passed over, without reading the images."""

    def write(
        self, file: BinaryIO, *, size: Size | None, colour: bool | None, progress: ProgressCallback
    ) -> Written:
        """Write the pixels of all images, those for training first."""


def _make(
    source: Source,
    place: Path,
    *,
    of: Mapping[str, str],
    size: Size | None,
    colour: bool | None,
    progress: ProgressCallback,
) -> None:
    """Fill a folder of the cache: whole, or not there."""
    workshop = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    workshop.mkdir()
    try:
        with (workshop / "pixels").open("w+b") as file:
            found = source.write(file, size=size, colour=colour, progress=progress)
        about = {
            **of,
            "shape": found.shape,
            "train": found.train,
            "test": found.test,
            "labels": found.labels is not None,
            "digest": found.digest,
            "notices": found.notices,
        }
        if found.labels is not None:
            np.save(workshop / "labels.npy", np.array(found.labels, dtype=np.int64))
        (workshop / "about.json").write_text(json.dumps(about), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)  # what an older program left half done
        os.replace(workshop, place)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _remove_replaced(folder: Path, *, of: Mapping[str, str]) -> None:
    """Remove what was read from a path before it changed, unless the system refuses.

    On POSIX systems a process that has it mapped keeps it.
    """
    for file in folder.glob("[!.]*/about.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            about = json.loads(file.read_text(encoding="utf-8"))
            if about["source"] == of["source"] and about["stamp"] != of["stamp"]:
                shutil.rmtree(file.parent)


def _source(path: Path) -> Source:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(
            f"The name {shown} is not UTF-8 and cannot be kept in a run's settings.",
            hint="Rename it; names inside a folder may be anything.",
        ) from None
    if path.is_dir():
        return _Pictures(path, _in_folder(path))
    if not path.is_file():
        raise ConfigError(f"{path} is not there.", hint="Check the path.")
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return _Arrays(path)
    return _Pictures(path, _in_archive(path))


# Pictures: a folder, or a zip archive of one


@dataclass(frozen=True, kw_only=True)
class _File:
    """One file of a folder or an archive."""

    parts: tuple[str, ...]
    """Of its name below the folder."""
    stamp: str
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        return "/".join(self.parts)

    @property
    def is_picture(self) -> bool:
        return PurePosixPath(self.parts[-1]).suffix.lower() in PICTURE_SUFFIXES

    @property
    def shown(self) -> str:
        return os.fsencode(self.name).decode("utf-8", "backslashreplace")


def _in_folder(root: Path) -> tuple[list[_File], set[tuple[str, ...]]]:
    """List the files of a folder, links followed once, and its subfolders; hidden ones are not."""
    files: list[_File] = []
    folders: set[tuple[str, ...]] = set()
    seen: set[str] = set()
    for place, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not _is_hidden(name))
        above = Path(place).relative_to(root).parts
        folders.add(above)
        for name in names:
            if _is_hidden(name):
                continue
            path = os.path.join(place, name)
            try:
                state = os.stat(path)
                mark = f"{state.st_size}:{state.st_mtime_ns}:{stat.S_IFMT(state.st_mode)}"
            except OSError:  # a link to nothing
                mark = "none"
            files.append(_File(parts=(*above, name), stamp=mark, read=_reader(path)))
    return files, folders - {()}


def _reader(path: str) -> Callable[[], bytes]:
    def read() -> bytes:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise OSError("it is no regular file")
        if state.st_size > MOST_FILE_BYTES:
            raise OSError("it is too large")
        return Path(path).read_bytes()

    return read


def _in_archive(path: Path) -> tuple[list[_File], set[tuple[str, ...]]]:
    """List the files and folders of a zip archive."""
    files: dict[tuple[str, ...], _File] = {}
    folders: set[tuple[str, ...]] = set()
    try:
        archive = zipfile.ZipFile(path)  # stays open, for its list takes long to read where it is
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is no zip archive that can be read: {error}.", hint="Pack the folder again."
        ) from None
    for member in archive.infolist():
        parts = PurePosixPath(member.filename).parts
        if not parts or any(map(_is_hidden, parts)) or "__MACOSX" in parts:
            continue
        if member.is_dir():
            folders.add(parts)
            continue
        folders |= {parts[:depth] for depth in range(1, len(parts))}
        mark = f"{member.file_size}:{member.CRC}"
        files[parts] = _File(parts=parts, stamp=mark, read=_member_reader(archive, member))
    return list(files.values()), folders


def _member_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        if member.file_size > MOST_FILE_BYTES:
            raise OSError("it is too large")
        return archive.read(member)

    return read


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name != ".."


TEST, TRAIN = "test", ("train", "val", "valid", "validation")
"""Folders at the top that are parts and not classes; what is not of the test is trained on."""


class _Pictures:
    """Files of pictures, in torchvision's ImageFolder layout or in none."""

    def __init__(self, path: Path, listed: tuple[list[_File], set[tuple[str, ...]]]) -> None:
        files, folders = listed
        self.path = path
        pictures = sorted((file for file in files if file.is_picture), key=_order)
        self.others = len(files) - len(pictures)
        if len(pictures) < 2:
            raise DataError(
                f"{path} has {plural(len(pictures), 'picture')}, too few to train and test on.",
                hint=f"Pictures end in {', '.join(sorted(PICTURE_SUFFIXES))}.",
            )
        depth = _shared_depth(pictures)
        tops = {file.parts[depth] for file in pictures if len(file.parts) > depth + 1}
        self.has_parts = TEST in tops
        places = [file.parts[depth:-1] for file in pictures]
        if self.has_parts or "train" in tops:
            tested = [bool(place) and place[0] == TEST for place in places]
            places = [p[1:] if p and p[0] in (TEST, *TRAIN) else p for p in places]
            folders = {p[:depth] + p[depth + 1 :] for p in folders if len(p) > depth + 1}
        names = [os.fsencode("/".join(file.parts[depth:])) for file in pictures]
        if not self.has_parts:  # a folder and an archive of it are split alike
            tested = held_out(names)
        classes = sorted({place[0] for place in places if place}, key=os.fsencode)
        labelled = len(classes) > 1 and all(places)
        empty = {p[depth] for p in folders if len(p) == depth + 1} - set(classes)
        self.empty = sorted(empty) if labelled else []
        numbers = {name: number for number, name in enumerate(classes)}
        labels = [numbers[place[0]] if labelled else -1 for place in places]
        # Not by name: the first images and the last ones would be of one class each.
        rows = sorted(zip(tested, map(hash_of, names), range(len(pictures)), strict=True))
        self.rows = [(pictures[i], labels[i], test) for test, _, i in rows]
        self.labelled = labelled

    def stamp(self) -> bytes:
        hashed = hashlib.sha256()
        for file, _, _ in self.rows:
            hashed.update(os.fsencode(f"{file.name}\0{file.stamp}\0"))
        return hashed.digest()

    def write(
        self, file: BinaryIO, *, size: Size | None, colour: bool | None, progress: ProgressCallback
    ) -> Written:
        hashed, broken = hashlib.sha256(), _Broken(self.path, total=len(self.rows))
        first: tuple[str, Size] | None = None
        coloured, counts, labels = False, {False: 0, True: 0}, []
        for number, (one, label, test) in enumerate(self.rows):
            if number % 64 == 0:
                progress(number / len(self.rows), f"{number:,} of {len(self.rows):,} pictures")
            try:
                content = one.read()
                hashed.update(_framed(os.fsencode(one.name)) + _framed(content))
                pixels = read_picture(content, size=size, colour=colour)
            except Exception as error:  # what readers of damaged pictures raise has no end
                broken.add(one.shown, error)
                continue
            own = (pixels.shape[0], pixels.shape[1])
            if first is None:
                first = one.shown, own
                check_size(own, what=f"{self.path}, {one.shown}")
            elif first[1] != own:
                raise ConfigError(
                    f"The pictures of {self.path} have different sizes: {first[0]} has "
                    f"{_words(first[1])} pixels (height x width) and {one.shown} {_words(own)}.",
                    hint="Add --image-size, such as 64: each is cropped at its middle and resized.",
                )
            coloured = coloured or (pixels.ndim == 3 and _has_colour(pixels))
            file.write(pixels.tobytes())
            counts[test] += 1
            labels.append(label)
        broken.refuse_if_many()
        if first is None or not all(counts.values()):
            raise DataError(
                f"{self.path} has {plural(counts[False], 'picture')} to train on and "
                f"{counts[True]} to test.",
                hint="Put pictures into both train/ and test/, or leave the folders out.",
            )
        if colour is None and not coloured:
            _drop_colour(file, pixels=first[1][0] * first[1][1])
        shape = first[1] if colour is False or not (colour or coloured) else (*first[1], 3)
        return Written(
            shape=shape,
            train=counts[False],
            test=counts[True],
            labels=labels if self.labelled else None,
            digest=hashed.hexdigest()[:8],
            notices=broken.notices,
        )

    def notices(self) -> Iterator[str]:
        if self.others:
            yield f"{plural(self.others, 'file')} without the ending of a picture passed over."
        if self.empty:
            shown = ", ".join(
                os.fsencode(n).decode("utf-8", "backslashreplace") for n in self.empty
            )
            yield f"classes without a picture are left out: {shown}."


def _order(file: _File) -> bytes:
    return os.fsencode(file.name)


def _words(size: Sequence[int]) -> str:
    return "x".join(map(str, size[:2]))


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _shared_depth(files: Sequence[_File]) -> int:
    """Return how many folders all files lie in together, `train` and `test` not among them."""
    places = [file.parts[:-1] for file in files]
    depth = 0
    while all(len(place) > depth for place in places):
        name = places[0][depth]
        if name in (TEST, *TRAIN) or any(place[depth] != name for place in places):
            break
        depth += 1
    return depth


class _Broken:
    """Files that cannot be read: named, counted, and too many of them an error."""

    def __init__(self, path: Path, *, total: int) -> None:
        self.path, self.total, self.count = path, total, 0
        self.examples: list[str] = []

    def add(self, name: str, error: Exception) -> None:
        self.count += 1
        if len(self.examples) < NAMED:
            self.examples.append(f"{name} ({_reason(error)[:80]})")

    def refuse_if_many(self) -> None:
        if self.count > MOST_BROKEN * self.total:
            raise DataError(
                f"{self.count:,} of the {self.total:,} pictures of {self.path} cannot be read: "
                f"{self._words()}.",
                hint=f"Repair or remove them; up to {MOST_BROKEN:.0%} are left out with a notice.",
            )

    @property
    def notices(self) -> list[str]:
        if not self.count:
            return []
        return [f"{self.count:,} of {self.total:,} pictures left out: {self._words()}."]

    def _words(self) -> str:
        more = self.count - len(self.examples)
        return "; ".join(self.examples) + (f"; and {more:,} more" if more else "")


WHITE = (255, 255, 255, 255)


def read_picture(content: bytes, *, size: Size | None, colour: bool | None) -> Bytes:
    """Read the pixels of one picture: (H, W) where `colour` is False, else (H, W, 3).

    It is turned as its EXIF data say, laid on white where it is transparent, and of an animation
    the first frame is taken. 16-bit grey is brought to 8 bits, and CMYK to RGB.

    Args:
        content: of a file, in a form that torchvision's ImageFolder reads, or GIF.
        size: see `cropped`; None keeps its own.
        colour: whether grey pixels are wanted; None is as True.
    """
    from PIL import Image, ImageOps

    forms = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
    with Image.open(io.BytesIO(content), formats=forms) as opened:
        if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or 2**28):
            raise ValueError("it has too many pixels")
        if size is not None:  # a JPEG is decoded at a half, quarter or eighth where that suffices
            opened.draft(None, (2 * max(size), 2 * max(size)))
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            wide = np.asarray(image).astype(np.float64) / 257
            image = Image.fromarray(wide.round().clip(0, 255).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("its pixels are floats")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
        image = image.convert("L" if colour is False else "RGB")
        return np.asarray(image if size is None else cropped(image, size))


def read_pictures(paths: Sequence[Path], *, size: Size, colour: bool) -> Tensor:
    """Read picture files at one size: (N, H, W), or (N, H, W, 3) in colour, uint8.

    Raises:
        UsageFault: one cannot be read.
    """
    found = []
    for path in paths:
        try:
            found.append(read_picture(path.read_bytes(), size=size, colour=colour))
        except Exception as error:  # what readers of damaged pictures raise has no end
            raise UsageFault(
                f"The picture {path} cannot be read: {_reason(error)}.",
                hint="Name a PNG or JPEG file.",
            ) from None
    return torch.from_numpy(np.stack(found))


def _reason(error: Exception) -> str:
    """Say in one short line what went wrong."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no picture"  # Pillow's own sentence names an object of Python
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


def _has_colour(pixels: Bytes) -> bool:
    return bool((pixels != pixels[..., :1]).any())


def _drop_colour(file: BinaryIO, *, pixels: int) -> None:
    """Keep one of three equal channels, block after block, in place."""
    block, read, written = 3 * pixels * 256, 0, 0
    while True:
        file.seek(read)
        content = file.read(block)
        if not content:
            break
        read += len(content)
        file.seek(written)
        written += file.write(content[::3])
    file.truncate(written)


# Arrays: npz, npy, pt

LABELS = ("y_train", "y_test")
KEYS = "x_train and x_test, or one array; labels are y_train and y_test"
SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels C"
MOST_CLASSES = 10_000
_ROWS = 1000


class _Arrays:
    """Images in one file of arrays."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> bytes:
        state = self.path.stat()
        return os.fsencode(f"{self.path.suffix}:{state.st_size}:{state.st_mtime_ns}:{self.path}")

    def notices(self) -> Iterator[str]:
        yield from ()

    def write(
        self, file: BinaryIO, *, size: Size | None, colour: bool | None, progress: ProgressCallback
    ) -> Written:
        train, test = self._parts()
        parts = [_mixed(train), test]
        total = sum(len(part.rows) for part in parts)
        if colour is None:
            colour = any(part.has_colour() for part in parts)
        done = 0
        shape: tuple[int, ...] = ()
        for part in parts:
            for start in range(0, len(part.rows), _ROWS):
                progress(done / total, f"{done:,} of {total:,} images")
                block = fitted(part.block(start), size=size, colour=colour)
                check_size(block.shape[1:], what=str(self.path))
                shape = tuple(block.shape[1:])
                file.write(block.contiguous().numpy().tobytes())
                done += len(block)
        labelled = [part.labels is not None for part in parts]
        labels = [part.labels[part.rows] for part in parts] if all(labelled) else None
        one, other = LABELS if labelled[0] else LABELS[::-1]
        alone = any(labelled) and not all(labelled)
        with self.path.open("rb") as whole:
            digest = hashlib.file_digest(whole, "sha256").hexdigest()[:8]
        return Written(
            shape=shape,
            train=len(parts[0].rows),
            test=len(parts[1].rows),
            labels=None if labels is None else np.concatenate(labels).tolist(),
            digest=digest,
            notices=[f"{one} is left out, as there is no {other}."] if alone else [],
        )

    def _parts(self) -> list[_Part]:
        """Return training and test images; without a test set, a tenth of the rows is one."""
        held = self._read()
        count = len(held["x_train"]) if "x_train" in held else 0
        if count < (1 if "x_test" in held else 2):
            raise DataError(
                f"{self.path} has {plural(count, 'image')} to train on, too few.",
                hint="Add images." if "x_train" in held else f"It needs {KEYS}.",
            )
        train = self._part("train", held)
        if "x_test" not in held:
            apart = np.array(held_out([str(row).encode() for row in range(count)]))
            return [replace(train, rows=np.flatnonzero(apart == test)) for test in (False, True)]
        test = self._part("test", held)
        shapes = [part.images.shape[1:] for part in (train, test)]
        if shapes[0] != shapes[1]:
            raise DataError(
                f"{self.path}: x_train holds images of {_words(shapes[0])} and x_test of "
                f"{_words(shapes[1])} pixels, or only one of them colour.",
                hint="Bring them to one form.",
            )
        return [train, test]

    def _read(self) -> dict[str, Any]:
        """Return the arrays of the file by their names; images of one array are `x_train`."""
        try:
            held = {name: array for name, array in self._arrays().items() if array.ndim}
        except Exception as error:  # what readers of damaged files raise has no end
            reason = error.strerror if isinstance(error, OSError) else None
            raise DataError(
                f"{self.path} cannot be read as {self.path.suffix[1:]}: "
                f"{reason or 'it is damaged, of another format, or holds Python objects'}.",
                hint="Save it again with numpy or torch; Python objects are not read.",
            ) from None
        if "x_train" in held or "x_test" in held:
            return held
        images = [name for name, array in held.items() if array.ndim >= 3]
        if len(images) != 1:
            found = ", ".join(f"{n} {a.shape}" for n, a in held.items())
            raise DataError(
                f"{self.path} holds no array of images, or several: {found or 'nothing'}.",
                hint=f"It needs {KEYS}. Images are {SHAPES}.",
            )
        labels = held.get("y_train", held.get("y"))
        return {"x_train": held[images[0]]} | ({} if labels is None else {"y_train": labels})

    def _arrays(self) -> dict[str, Any]:
        suffix = self.path.suffix.lower()
        if suffix == ".pt":
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            named = saved if isinstance(saved, Mapping) else {"x": saved}
            arrays = {
                str(name): value.detach().numpy() if isinstance(value, Tensor) else value
                for name, value in named.items()
            }
            return {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
        if suffix == ".npy":
            return {"x": np.load(self.path, mmap_mode="r", allow_pickle=False)}
        # Opened here: numpy leaves a damaged file open.
        with self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def _part(self, split: str, held: Mapping[str, Any]) -> _Part:
        """Return the images of a split, channels last, and their labels if there are any."""
        images, labels = held[f"x_{split}"], held.get(f"y_{split}")
        shape = tuple(images.shape)
        if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
            images = np.moveaxis(images, 1, 3)
        if images.ndim == 4 and images.shape[3] == 1:
            images = images[..., 0]
        sound = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        if not sound or not len(images) or min(images.shape[1:3]) < 1:
            raise DataError(
                f"{self.path}: x_{split} has the shape {shape}, which is not of images.",
                hint=f"Images are {SHAPES}.",
            )
        _check_values(images, what=f"{self.path}: x_{split}")
        if labels is not None:
            labels = np.asarray(labels)
            if labels.size != len(images) or labels.dtype.kind not in "iu":
                raise DataError(
                    f"{self.path}: y_{split} has the shape {labels.shape} and the type "
                    f"{labels.dtype}, and labels are one whole number for each image.",
                    hint="Leave it out, or save class numbers.",
                )
            labels = labels.reshape(-1)
            if labels.min() < 0 or labels.max() >= MOST_CLASSES:
                raise DataError(
                    f"{self.path}: y_{split} holds {labels.min()} to {labels.max()}, and classes "
                    f"are numbered from 0 to {MOST_CLASSES - 1:,}.",
                    hint="Leave it out, or save class numbers.",
                )
        return _Part(images, labels, np.arange(len(images)))


@dataclass(frozen=True)
class _Part:
    """Some rows of an array of images."""

    images: Any
    labels: Any
    rows: NDArray[np.int64]

    def block(self, start: int) -> Tensor:
        """Return some images as uint8."""
        raw = self.images[self.rows[start : start + _ROWS]]
        if raw.dtype == np.uint8:
            return torch.from_numpy(np.array(raw))
        scale = 255 if raw.dtype.kind in "fb" else 1
        return torch.from_numpy(np.rint(raw.astype(np.float64) * scale).astype(np.uint8))

    def has_colour(self) -> bool:
        """Say whether any of the images has."""
        starts = range(0, len(self.rows), _ROWS)
        return self.images.ndim == 4 and any(_has_colour(self.block(i).numpy()) for i in starts)


def _mixed(part: _Part) -> _Part:
    """Order rows by a hash of their numbers.

    In a file sorted by class the first images and the last ones would be of one class each.
    """
    order = sorted(part.rows.tolist(), key=lambda row: hash_of(str(row).encode()))
    return replace(part, rows=np.array(order))


def _check_values(images: Any, *, what: str) -> None:
    """Refuse values that are neither bytes nor floats in [0, 1].

    Raises:
        DataError: says how to bring them there.
    """
    if images.dtype.kind not in "fb" and images.dtype != np.uint8:
        raise DataError(
            f"{what} holds {images.dtype}, and pixels are uint8 or floats in [0, 1].",
            hint='Save it with .astype("uint8") where its values are 0 to 255, and as '
            '(x / 257).astype("uint8") where they are 0 to 65535.'
            if images.dtype.kind in "iu"
            else "Save real numbers of one of these types.",
        )
    if images.dtype.kind != "f":
        return
    blocks = range(0, len(images), _ROWS)
    ends = [(images[i : i + _ROWS].min(), images[i : i + _ROWS].max()) for i in blocks]
    low, high = float(np.min(ends)), float(np.max(ends))  # NaN if any is
    if low >= 0 and high <= 1:
        return
    remedies = {
        low >= 0 and high <= 255: 'Divide by 255, or save them with .astype("uint8").',
        -1 <= low < 0 and high <= 1: "Save (x + 1) / 2.",
    }
    found = "NaN" if np.isnan(low) else f"floats from {low:g} to {high:g}"
    raise DataError(
        f"{what} holds {found}, and pixels are floats in [0, 1] or uint8.",
        hint=remedies.get(True, "Scale them to [0, 1], and remove NaN and infinity."),
    )
