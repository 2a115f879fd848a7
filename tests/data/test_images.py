"""Images by name, and torchvision where its compiled part does not fit this torch."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from dlcli.data import catalogue, images, vision
from dlcli.data.images import load_images
from dlcli.data.shapes import draw_factors, render
from dlcli.errors import ConfigError, DataError
from tests.data.conftest import FILES, Tiny, checks_of, lay_out, mnist_files, packed

RAW = "MNIST/raw/"


def test_mnist_comes_from_the_users_folder(tiny: Tiny, own: Path) -> None:
    lay_out(own, FILES["mnist"])
    said: list[str] = []
    for name in ("mnist", "auto"):
        data = load_images(name, offline=True, notice=said.append)
        assert data.name == "mnist"
        for pixels, labels, half, count in (
            (data.train, data.train_labels, "train", 5),
            (data.test, data.test_labels, "t10k", 3),
        ):
            assert (pixels.shape, pixels.dtype) == ((count, 28, 28), torch.uint8)
            content = FILES["mnist"][f"MNIST/raw/{half}-images-idx3-ubyte"]
            assert pixels.numpy().tobytes() == content[16:]
            assert (labels.tolist(), labels.dtype) == ([*range(count)], torch.int64)
    assert said == []


def test_another_set_in_mnists_form_has_its_own_files_and_name(
    tiny: Tiny, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = mnist_files("Other/raw")
    other = dataclasses.replace(tiny["mnist"], name="other", files=checks_of(files))
    monkeypatch.setattr(catalogue, "DATA_SETS", (*catalogue.DATA_SETS, other))
    lay_out(own, FILES["mnist"])
    with pytest.raises(DataError, match="'other' is not in"):
        load_images("other", offline=True)
    lay_out(own, files)
    assert load_images("other", offline=True).name == "other"


def test_auto_takes_glyphs_with_a_notice_where_mnist_cannot_be_had(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "DRAWN_TRAIN", 20)
    said: list[str] = []
    assert load_images("auto", notice=said.append).name == "glyphs"
    assert "could not be fetched" in said[-1]
    assert "Taking 'glyphs' in its place." in said[-1]
    with pytest.raises(DataError, match="--offline"):
        load_images("mnist", offline=True)


@pytest.mark.parametrize(
    ("old", "new"), [("-idx", "-idx"), ("-idx", ".idx")], ids=["packed", "packed, with a dot"]
)
def test_mnist_may_be_packed_and_named_as_other_programs_do(
    old: str, new: str, tiny: Tiny, own: Path
) -> None:
    plain = lay_out(own / "plain", FILES["mnist"])
    files = {f"{n.replace(old, new)}.gz": packed(data) for n, data in FILES["mnist"].items()}
    lay_out(own, files)
    data = load_images("mnist", offline=True)
    assert data.test_labels.tolist() == [0, 1, 2]
    assert data.train.numpy().tobytes() == FILES["mnist"][f"{RAW}train-images-idx3-ubyte"][16:]
    (own / next(iter(files))).write_bytes(packed(b"other"))
    with pytest.raises(DataError, match=r"images.idx3-ubyte\.gz is not the file"):
        load_images("mnist", offline=True)
    for name in FILES["mnist"]:  # with a dot, not packed; what is packed is not looked at
        (plain / name).rename(own / name.replace("-idx", ".idx"))
    assert load_images("mnist", offline=True).test_labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_wrong_file_is_never_passed_over(name: str, tiny: Tiny, own: Path) -> None:
    wrong = lay_out(own, FILES["mnist"]) / "MNIST/raw/t10k-images-idx3-ubyte"
    wrong.write_bytes(wrong.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is not the file"):
        load_images(name, offline=True)


def test_glyphs_of_any_number_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    data, other = load_images("glyphs:23"), load_images("glyphs:23:7")
    assert (data.name, other.name) == ("glyphs:23", "glyphs:23:7")
    assert (len(data.train), len(data.train_labels), len(data.test)) == (23, 23, 5)
    assert not torch.equal(data.train, other.train)
    assert not torch.equal(data.train[:5], data.test)
    again = load_images("glyphs:23:0")
    assert (again.name, torch.equal(again.train, data.train)) == ("glyphs:23", True)
    monkeypatch.setattr(images, "DRAWN_TRAIN", 20)
    assert load_images("glyphs:").name == "glyphs"
    assert load_images("glyphs::7").name == "glyphs:20:7"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        *(
            (f"glyphs:{wrong}", "is not a number of glyphs", "glyphs:N:SEED")
            for wrong in ("0", "-3", "many", "2:3:4", "9999999")
        ),
        ("shapes:0", "is not a number of shapes", "shapes:N:SEED"),
        ("tatoeba", "pairs of sentences, not images", "glyphs, shapes"),
        ("glyph", "no data set named 'glyph'", "did you mean 'glyphs'?"),
    ],
)
def test_what_holds_no_images_is_refused(name: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_images(name)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["a.en,b.fr", "pairs.tsv", "pairs.tsv:de-cs"])
def test_sentences_that_are_there_are_no_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("a.en", "b.fr", "pairs.tsv"):
        Path(file).write_text("Hello.\n")
    with pytest.raises(ConfigError, match=f"{name} is .* not images") as caught:
        load_images(name)
    assert f"`dl nmt train --data {name}`" in caught.value.hint
    Path("b.fr").unlink()
    with pytest.raises(ConfigError, match=r"a.en,b.fr is not there"):
        load_images("a.en,b.fr")


def test_sets_in_mnists_form_may_stay_packed(
    tiny: Tiny, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{name}.gz": packed(data) for name, data in mnist_files("FashionMNIST/raw").items()}
    entry = dataclasses.replace(tiny["fashion-mnist"], files=checks_of(files))
    monkeypatch.setattr(catalogue, "DATA_SETS", (entry,))
    lay_out(own, files)
    data = load_images("fashion-mnist", offline=True)
    content = mnist_files()["MNIST/raw/train-images-idx3-ubyte"]
    assert data.train.numpy().tobytes() == content[16:]
    assert (data.name, data.test_labels.tolist()) == ("fashion-mnist", [0, 1, 2])


def emnist_zip(split: str) -> bytes:
    """Pack MNIST's files in small as EMNIST has them."""
    files = mnist_files("gzip")
    members = {
        name.replace("t10k", "test").replace("gzip/", f"gzip/emnist-{split}-"): data
        for name, data in files.items()
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.gz", packed(data))
    return buffer.getvalue()


def test_emnists_images_are_turned(tiny: Tiny, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = {"EMNIST/raw/gzip.zip": emnist_zip("letters")}
    entries = [
        dataclasses.replace(tiny[f"emnist-{split}"], files=checks_of(archive))
        for split in ("letters", "digits")
    ]
    monkeypatch.setattr(catalogue, "DATA_SETS", tuple(entries))
    lay_out(own, archive)
    data = load_images("emnist-letters", offline=True)
    stored = torch.frombuffer(
        bytearray(mnist_files()["MNIST/raw/train-images-idx3-ubyte"][16:]), dtype=torch.uint8
    ).view(5, 28, 28)
    for image, turned in zip(stored, data.train, strict=True):
        for row in (0, 5):
            assert torch.equal(turned[row], image[:, row])
    assert data.test_labels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="no sound gzip/emnist-digits-train"):
        load_images("emnist-digits", offline=True)


def test_embedded_sets_are_drawn_at_any_size() -> None:
    for size in ((8, 8), (16, 16), (20, 48), (64, 64), (128, 40)):
        glyphs, drawn = load_images("glyphs:40", size=size), load_images("shapes:12", size=size)
        assert glyphs.train.shape == (40, *size)
        assert drawn.train.shape == (12, *size, 3)
        assert torch.equal(glyphs.train_labels, load_images("glyphs:40").train_labels)
        ink = (glyphs.train.float() / 255).mean() * size[0] * size[1] / min(size) ** 2
        assert float(ink) == pytest.approx(0.13, abs=0.04)  # as much of the shorter side's square


def test_shapes_have_six_factors_by_seed() -> None:
    data = load_images("shapes:300")
    assert (data.name, data.shape) == ("shapes:300", (32, 32, 3))
    assert data.train_labels.unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(load_images("shapes:30").train, data.train[:30])
    assert not torch.equal(load_images("shapes:30:1").train, data.train[:30])
    factors = draw_factors(1, generator=torch.Generator().manual_seed(0))
    still = render(factors)
    for name in ("shape", "hue", "size", "x", "y", "angle"):
        value = getattr(factors, name)
        other = (value + 1) % 4 if name == "shape" else (value + 0.2) % 1
        assert not torch.equal(render(dataclasses.replace(factors, **{name: other})), still)
    grey = load_images("shapes:300", colour=False)
    assert grey.train.shape == (300, 32, 32)


def test_the_real_mnist(real_data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(real_data_dir))
    data = load_images(offline=True)
    assert data.name == "mnist"
    assert (data.train.shape, data.test.shape) == ((60_000, 28, 28), (10_000, 28, 28))
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.train.double().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)


_IMPORT = """
from dlcli.data.vision import torchvision_module
print(torchvision_module("torchvision.datasets.mnist").MNIST.__name__)
"""
_WORKING = """
import torch
from dlcli.data import vision
kept = torch.library.Library("torchvision", "DEF")
def load(path):  # declares its operators, as the compiled part does: doing so again would fail
    for name in ("nms", "qnms"):
        kept.define(name + vision._SIGNATURE)
    print("loaded", path.rsplit("_", 1)[1][0])
torch.ops.load_library = load
print(vision.prepare(), vision.prepare())
"""
_ELSEWHERE = """
import torch
from dlcli.data import vision
vision.compiled_part_loads()  # where it fits, torchvision has declared them itself
vision.compiled_part_loads = lambda: False
kept = torch.library.Library("torchvision", "FRAGMENT")
if not hasattr(torch.ops.torchvision, "nms"):
    kept.define("nms" + vision._SIGNATURE)
first = vision.prepare()
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
print(vision.prepare() is first)
import torchvision.datasets
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        pytest.param(_IMPORT, "MNIST\n", id="imports without a warning"),
        pytest.param(_WORKING, "loaded C\nNone None\n", id="a working one is left alone"),
        pytest.param(_ELSEWHERE, "True True\nTrue\n", id="nothing is declared twice"),
    ],
)
def test_torchvision_in_a_fresh_process(code: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


def test_a_compiled_part_that_does_not_fit_or_is_not_there_does_not_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: str) -> None:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(torch.ops, "load_library", refuse)
    assert not vision.compiled_part_loads()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not vision.compiled_part_loads()
