"""A user's own images: folders, archives and arrays, and what is wrong with them."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlcli.data import pixels
from dlcli.data.images import load_images
from dlcli.data.pixels import ImageData, fitted, held_out
from dlcli.data.sizes import read_size
from dlcli.engine.files import cache_folder
from dlcli.errors import ConfigError, DataError

RED, GREY = (200, 30, 40), (90, 90, 90)


def picture(
    path: Path, colour: object = RED, *, size: tuple[int, int] = (12, 9), mode: str = "RGB", **how
) -> Path:
    """Write a picture of one colour; `size` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **how)
    return path


def folder(root: Path, *names: str, colour: object = RED) -> Path:
    """Write pictures of these names, each a little different from the last."""
    for number, name in enumerate(names):
        picture(root / name, tuple(min(255, c + number) for c in colour))
    return root


def many(count: int, *, places: tuple[str, ...] = ("",)) -> list[str]:
    """Return names of pictures, in these folders by turns."""
    return [f"{places[n % len(places)]}{n:03}.png" for n in range(count)]


def load(path: Path | str, **how) -> tuple[ImageData, list[str]]:
    """Load images and what is said meanwhile."""
    said: list[str] = []
    return load_images(str(path), notice=said.append, **how), said


def test_a_folder_without_classes_has_no_labels_and_a_tenth_is_held_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(40))
    data, said = load(root)
    assert (data.shape, data.train.dtype, said) == ((9, 12, 3), torch.uint8, [])
    assert (data.train_labels, data.test_labels) == (None, None)
    assert len(data.train) + len(data.test) == 40
    assert len(data.test) == sum(held_out([name.encode() for name in many(40)])) > 0
    reds = {int(image[0, 0, 0]) for image in (*data.train, *data.test)}
    assert reds == set(range(200, 240))
    stem, _, digest = data.name.partition("#")
    assert (stem, len(digest)) == (str(root), 8)
    more = folder(tmp_path / "more/photos", *many(41))
    assert {*held(more)} - {240} == {*held(root)}
    assert load(more)[0].name.partition("#")[2] != digest


def test_a_folder_and_an_archive_of_it_are_split_alike(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(40, places=("a/", "b/")))
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "photos"))
    assert held(packed) == held(root)


def held(root: Path) -> list[int]:
    """Return the reds of the test images."""
    return [int(image[0, 0, 0]) for image in load(root)[0].test]


def test_it_is_read_once_and_found_again_by_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "photos", *many(20))
    done: list[float] = []
    first, _ = load(root, progress=lambda share, _: done.append(share))
    assert done
    shutil.copytree(root, tmp_path / "copy")
    monkeypatch.setattr("dlcli.data.user_images.read_picture", lambda *_, **__: 1 / 0)
    again, _ = load(root)
    copied, _ = load(tmp_path / "copy")
    for data in (again, copied):
        assert torch.equal(data.train, first.train)
        assert data.name.partition("#")[2] == first.name.partition("#")[2]
    with pytest.raises(DataError, match=r"20 pictures of .* cannot be read"):
        load(root, colour=False)
    monkeypatch.undo()
    assert load(first.name)[0].name == first.name
    picture(root / "000.png", GREY)
    with pytest.raises(DataError, match="has changed: its digest was") as caught:
        load(first.name)
    assert "train a new run" in caught.value.hint


def test_what_is_in_the_cache_is_mapped_and_never_written(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(20))
    data, _ = load(root)
    data.train.zero_()
    assert int(load(root)[0].train.max()) > 0


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_classes_and_parts_are_folders_as_in_image_folder(packed: bool, tmp_path: Path) -> None:
    names = ["train/cat/a.png", "train/dog/b.png", "val/dog/c.png", "test/dog/d.png"]
    root = folder(tmp_path / "pets", *names)
    (root / "train/bird").mkdir()
    (root / "notes.txt").write_text("mine")
    (root / ".hidden.png").write_bytes(b"")
    path = root
    if packed:
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "pets"))
    data, said = load(path)
    trained = zip(data.train[:, 0, 0, 0].tolist(), data.train_labels.tolist(), strict=True)
    assert sorted(trained) == [(200, 0), (201, 1), (202, 1)]
    assert (data.test[:, 0, 0, 0].tolist(), data.test_labels.tolist()) == ([203], [1])
    assert said == [
        f"{path}: 1 file without the ending of a picture passed over.",
        f"{path}: classes without a picture are left out: bird.",
    ]
    assert load(path)[1] == said
    (root / "notes.txt").unlink()
    assert packed or load(path)[1] == said[1:]


@pytest.mark.parametrize("kind", ["folder", "array"])
def test_the_first_and_the_last_images_are_of_all_classes(kind: str, tmp_path: Path) -> None:
    if kind == "folder":
        path = folder(tmp_path / "a", *(f"{'cde'[n // 30]}/{n:03}.png" for n in range(90)))
    else:
        images = np.zeros((90, 9, 12), dtype=np.uint8)
        path = save(tmp_path / "a.npz", x=images, y=np.arange(90) // 30)
    data, _ = load(path)
    assert data.train_labels is not None
    for part in (data.train_labels[:20], data.train_labels[-20:]):
        assert part.unique().tolist() == [0, 1, 2]


def test_one_folder_of_all_pictures_is_no_class(tmp_path: Path) -> None:
    data, _ = load(folder(tmp_path / "photos", *many(12, places=("summer/",))))
    assert data.train_labels is None
    mixed, _ = load(folder(tmp_path / "mixed", *many(12, places=("", "cat/"))))
    assert mixed.train_labels is None


def test_sizes_that_differ_are_asked_for_and_cropped_at_the_middle(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(10))
    wide = Image.new("RGB", (40, 10), RED)
    wide.paste((0, 0, 255), (15, 0, 25, 10))
    wide.save(root / "wide.png")
    with pytest.raises(ConfigError, match=r"9x12 pixels .* wide.png 10x40") as caught:
        load(root)
    assert "--image-size" in caught.value.hint
    data, _ = load(root, size=(8, 8))
    assert data.shape == (8, 8, 3)
    everything = torch.cat([data.train, data.test])
    assert (everything[:, 1:-1, 1:-1, 2] == 255).flatten(1).all(1).sum() == 1
    with pytest.raises(ConfigError, match="outside of 8 to 128"):
        load(folder_of(tmp_path / "large", size=(200, 200)))


def folder_of(root: Path, **how) -> Path:
    """Write ten pictures of one kind."""
    for name in many(10):
        picture(root / name, **how)
    return root


@pytest.mark.parametrize(
    ("mode", "colour", "ending", "expected"),
    [
        ("L", 77, ".png", 77),
        ("RGB", GREY, ".png", 90),
        ("1", 1, ".png", 255),
        ("I;16", 257 * 50, ".png", 50),
        ("LA", (0, 0), ".png", 255),
        ("RGBA", (*RED, 255), ".png", RED),
        ("RGBA", (0, 0, 0, 0), ".png", 255),
        ("CMYK", (0, 0, 0, 255), ".jpg", 0),
        ("P", 0, ".gif", 0),
        ("RGB", GREY, ".bmp", 90),
    ],
)
def test_every_kind_of_pixel_becomes_bytes_of_grey_or_colour(
    mode: str, colour: object, ending: str, expected: object, tmp_path: Path
) -> None:
    for number in range(10):
        picture(tmp_path / "of/one" / f"{number}{ending}", colour, mode=mode)
    data, said = load(tmp_path / "of")
    shape = (9, 12) if isinstance(expected, int) else (9, 12, 3)
    assert (data.shape, said) == (shape, [])
    assert data.train[0, 0, 0].tolist() == (
        expected if isinstance(expected, int) else list(expected)
    )


def test_one_picture_in_colour_makes_all_of_them_colour_unless_told(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(10), colour=GREY)
    picture(root / "grey.png", 7, mode="L")
    assert load(root)[0].shape == (9, 12)
    assert load(root, colour=True)[0].shape == (9, 12, 3)
    picture(root / "red.png", RED)
    assert load(root)[0].shape == (9, 12, 3)
    grey, _ = load(root, colour=False)
    luma = Image.new("RGB", (1, 1), RED).convert("L").getpixel((0, 0))
    assert luma in {int(image[0, 0]) for image in (*grey.train, *grey.test)}


def test_a_picture_is_turned_as_its_camera_says_and_an_animation_is_its_first_frame(
    tmp_path: Path,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    for name in many(10):
        picture(tmp_path / "photos" / name, exif=exif)
    assert load(tmp_path / "photos")[0].shape == (12, 9, 3)
    frames = [Image.new("RGB", (9, 9), colour) for colour in (RED, (0, 0, 255))]
    for number in range(10):
        (tmp_path / "moving").mkdir(exist_ok=True)
        frames[0].save(tmp_path / f"moving/{number}.gif", save_all=True, append_images=frames[1:])
    pixel = load(tmp_path / "moving")[0].train[0, 0, 0].tolist()
    assert pixel[0] > pixel[2]


def test_broken_files_are_named_and_left_out_and_too_many_are_an_error(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(199))
    (root / "broken.png").write_bytes((root / "000.png").read_bytes()[:50])
    for again in (root, shutil.copytree(root, tmp_path / "copy"), root):
        data, said = load(again)
        assert len(data.train) + len(data.test) == 199
        assert len(said) == 1
        assert f"{again}: 1 of 200 pictures left out: broken.png (" in said[0]
    (root / "text.jpg").write_text("no picture")
    os.symlink("nowhere", root / "link.png")
    with pytest.raises(DataError, match=r"3 of the 202 pictures of .* cannot be read: ") as caught:
        load(root)
    assert "text.jpg (it is no picture)" in str(caught.value)


def test_links_are_followed_once_and_names_may_be_any_bytes(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(12, places=("cat/", "dog/")))
    os.symlink(root, root / "cat/loop")
    os.symlink(root / "dog/001.png", root / "cat/linked.png")
    strange = os.fsencode(root) + b"/dog/caf\xe9.png"
    shutil.copy(root / "dog/001.png", strange)
    data, said = load(root)
    assert (len(data.train) + len(data.test), said) == (14, [])
    assert data.train_labels is not None
    Path(os.fsdecode(strange)).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"dog/caf\\xe9.png"):
        load(root)
    renamed = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.rename(root, renamed)
    with pytest.raises(DataError, match="is not UTF-8"):
        load(renamed)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: root.mkdir(), "0 pictures, too few"),
        (lambda root: picture(root / "one.png"), "1 picture, too few"),
        (lambda root: folder(root, *many(9, places=("test/",))), "0 pictures to train on"),
    ],
    ids=["empty", "one", "test alone"],
)
def test_a_folder_with_too_little_in_it_says_so(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "photos")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "photos")


def test_a_file_that_is_no_archive_and_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="is no folder, zip"):
        load(tmp_path / "a.zip")
    for name in ("b/", "c.npz", "d.zip"):
        with pytest.raises(ConfigError, match="is not there"):
            load(f"{tmp_path}/{name}")
    with pytest.raises(ConfigError, match="no data set named 'photoz'"):
        load("photoz")


PIXELS = np.arange(20 * 9 * 8 * 3, dtype=np.uint32).reshape(20, 9, 8, 3).astype(np.uint8)
GREYS = PIXELS[..., 0]


def save(path: Path, **arrays: object) -> Path:
    """Write arrays in the form that the ending names."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        np.save(path, *arrays.values())
    else:
        torch.save({name: torch.as_tensor(value) for name, value in arrays.items()}, path)
    return path


@pytest.mark.parametrize("ending", [".npz", ".pt"])
def test_arrays_with_a_test_set_and_labels(ending: str, tmp_path: Path) -> None:
    labels = np.arange(20) % 3
    path = save(
        tmp_path / f"a{ending}",
        x_train=PIXELS[:15],
        x_test=PIXELS[15:],
        y_train=labels[:15],
        y_test=labels[15:],
    )
    data, said = load(path)
    assert said == []
    assert np.array_equal(data.test.numpy(), PIXELS[15:])
    assert data.test_labels.tolist() == labels[15:].tolist()
    rows = {image.tobytes(): row for row, image in enumerate(PIXELS)}
    order = [rows[image.numpy().tobytes()] for image in data.train]
    assert (sorted(order), order == sorted(order)) == ([*range(15)], False)
    assert data.train_labels.tolist() == labels[order].tolist()


@pytest.mark.parametrize(("given", "lacking"), [("train", "test"), ("test", "train")])
def test_labels_of_one_part_alone_are_left_out_with_a_notice(
    given: str, lacking: str, tmp_path: Path
) -> None:
    labels = {f"y_{given}": np.zeros(10, dtype=int)}
    path = save(tmp_path / "a.npz", x_train=PIXELS[:10], x_test=PIXELS[10:], **labels)
    for _ in range(2):
        data, said = load(path)
        assert (data.train_labels, data.test_labels) == (None, None)
        assert said == [f"{path}: y_{given} is left out, as there is no y_{lacking}."]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREYS, GREYS),
        (GREYS[..., None], GREYS),
        (GREYS[:, None], GREYS),
        (np.moveaxis(PIXELS, 3, 1), PIXELS),
        (np.repeat(GREYS[..., None], 3, axis=3), GREYS),
        (PIXELS / 255, PIXELS),
        ((PIXELS / 255).astype(np.float32), PIXELS),
        (GREYS > 128, (GREYS > 128) * np.uint8(255)),
    ],
    ids=["grey", "NHW1", "N1HW", "N3HW", "equal", "float64", "float32", "bool"],
)
def test_one_array_of_any_layout_has_a_tenth_of_its_rows_held_out(
    array: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    data, _ = load(save(tmp_path / "a.npy", x=array))
    test = np.array(held_out([str(row).encode() for row in range(20)]))
    assert np.array_equal(in_order(data.train.numpy()), in_order(expected[~test]))
    assert np.array_equal(data.test.numpy(), expected[test])


def in_order(images: np.ndarray) -> np.ndarray:
    """Sort images by their bytes."""
    return np.stack(sorted(images, key=lambda image: image.tobytes()))


def test_arrays_are_resized_and_brought_to_grey_or_colour(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", x=PIXELS)
    assert load(path, size=(10, 12))[0].shape == (10, 12, 3)
    grey, _ = load(path, colour=False)
    test = np.array(held_out([str(row).encode() for row in range(20)]))
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in PIXELS[~test]]
    assert np.array_equal(in_order(grey.train.numpy()), in_order(np.stack(expected)))


@pytest.mark.parametrize(
    ("arrays", "message", "hint"),
    [
        ({"x": PIXELS.astype(np.float32)}, "floats from 0 to 255", "Divide by 255"),
        ({"x": PIXELS / 127.5 - 1}, "floats from -1 to 1", r"\(x \+ 1\) / 2"),
        ({"x": np.where(PIXELS > 9, np.nan, 0.0)}, "holds NaN, and pixels", "remove NaN"),
        (
            {"x": np.r_[GREYS[:1].repeat(1000, 0) / 255, [np.full(GREYS[0].shape, np.nan)]]},
            "NaN",
            "",
        ),
        ({"x": GREYS.astype(np.uint16)}, "uint16, and pixels are", "x / 257"),
        ({"x": PIXELS.astype(complex)}, "complex128, and pixels are", "real numbers"),
        ({"x": PIXELS.astype(np.int64)}, "int64, and pixels are uint8", "astype"),
        ({"x": GREYS[0]}, "no array of images", r"x_train and x_test.*\(N, H, W\)"),
        ({"a": GREYS, "b": GREYS}, "or several", "x_train and x_test"),
        ({"x_test": GREYS}, "0 images to train on", "x_train"),
        ({"x": GREYS[:1]}, "1 image to train on", "Add images"),
        ({"x": GREYS[:0]}, "0 images to train on", "Add images"),
        ({"x": PIXELS[..., :2]}, "is not of images", "1 or 3 channels"),
        ({"x_train": GREYS, "x_test": PIXELS}, "9x8 and x_test", "one form"),
        ({"x_train": GREYS, "y_train": np.arange(3)}, "one whole number", "Leave it out"),
        ({"x_train": GREYS, "y_train": np.arange(20) - 1}, "holds -1 to 18", "class numbers"),
        ({"x_train": GREYS, "y_train": np.arange(20) * 999}, "0 to 9,999", "Leave it out"),
        ({"x": np.zeros((9, 4, 4), np.uint8)}, "4x4 pixels .* outside", "--image-size"),
    ],
)
def test_arrays_that_are_no_images_are_refused_with_the_remedy(
    arrays: dict[str, np.ndarray], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        load(save(tmp_path / "a.npz", **arrays))
    assert __import__("re").search(hint, caught.value.hint)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([object()]))
    torch.save({"x": Path("a")}, tmp_path / "a.pt")
    for name in ("a.npy", "a.pt"):
        with pytest.raises(DataError, match="cannot be read as"):
            load(tmp_path / name)


@pytest.mark.parametrize("ending", ["npy", "npz", "pt"])
def test_text_named_as_arrays_is_refused_in_words_of_our_own(ending: str, tmp_path: Path) -> None:
    (path := tmp_path / f"a.{ending}").write_text("no arrays\n")
    with pytest.raises(DataError) as caught:
        load(path)
    reason = "it is damaged, of another format, or holds Python objects."
    assert caught.value.message == f"{path} cannot be read as {ending}: {reason}"


@pytest.mark.parametrize(
    ("text", "size"),
    [("auto", None), ("32", (32, 32)), ("20x48", (20, 48)), ("20×48", (20, 48))],
)
def test_a_size_is_a_side_or_height_by_width(text: str, size: object) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "7", "129", "8x", "x8", "20x200", "-8", "3.5", "٣٢"])
def test_another_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--image-size"):
        read_size(text)


def test_resizing_keeps_what_is_constant_and_goes_by_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.full((5, 20, 30, 3), 77, dtype=torch.uint8)
    monkeypatch.setattr(pixels, "_BLOCK", 2)
    assert fitted(images, size=(9, 8), colour=None).unique().tolist() == [77]
    assert fitted(images, size=(40, 50), colour=False).shape == (5, 40, 50)
    halves = torch.zeros(1, 8, 16, dtype=torch.uint8)
    halves[..., 4:12] = 200  # all that a square keeps
    assert fitted(halves, size=(8, 8), colour=None).unique().tolist() == [200]


def test_an_archive_is_opened_once_however_many_pictures_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "photos", *many(20))
    shutil.make_archive(str(root), "zip", root)
    opened: list[object] = []
    read = zipfile.ZipFile._RealGetContents  # where the list of what it holds is read

    def counted(archive: zipfile.ZipFile) -> None:
        opened.append(archive)
        read(archive)

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", counted)
    data, _ = load(tmp_path / "photos.zip")
    assert len(data.train) + len(data.test) == 20
    assert len(opened) <= 2  # once to know what it is


def test_what_a_killed_program_left_in_the_cache_goes(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(20))
    load(root)
    (made,) = maps()
    left = made.with_name(f".{made.name}.0123.tmp")
    left.mkdir()
    load(root)
    assert made.is_dir()
    assert not left.exists()


def test_what_was_read_before_the_files_changed_goes_and_may_still_be_in_use(
    tmp_path: Path,
) -> None:
    root, other = folder(tmp_path / "photos", *many(20)), folder(tmp_path / "other", *many(9))
    before, _ = load(root)
    small, _ = load(root, size=(8, 8))
    load(other)
    assert len(maps()) == 3
    picture(root / "more.png", GREY)
    load(root)
    assert len(maps()) == 2
    assert int(before.train.max()) == 219
    assert small.train.shape[1:] == (8, 8, 3)


def maps() -> list[Path]:
    """List what is in the cache."""
    return [path for path in (cache_folder() / "images").iterdir() if path.is_dir()]


def test_a_second_process_says_that_it_waits_for_the_first(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", *many(20))
    said: list[str] = []
    second = threading.Thread(target=lambda: load_images(str(root), notice=said.append))

    def start_second(share: float, _what: str) -> None:
        if not share:
            second.start()
            while second.is_alive() and not said:
                time.sleep(0.01)

    load(root, progress=start_second)
    second.join()
    assert said == [f"Waiting for another process that is reading {root}."]


def test_an_archive_may_have_strange_members(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), RED).save(buffer, "png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../up.png", "/root.png", "__MACOSX/x.png", "a/b/c.png", "d.png"):
            archive.writestr(name, buffer.getvalue())
    data, said = load(tmp_path / "a.zip")
    assert (len(data.train) + len(data.test), said) == (4, [])
