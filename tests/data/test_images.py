"""Images by name, and torchvision where its compiled part does not fit this torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlcli.data import catalogue, images, vision
from dlcli.data.catalogue import DATA_SETS
from dlcli.data.images import load_images
from dlcli.errors import ConfigError, DataError
from tests.data.conftest import FILES, Tiny, checks_of, lay_out, mnist_files


def test_every_entry_names_a_reader() -> None:
    for data_set in DATA_SETS:
        if data_set.kind == "images":
            assert data_set.embedded or data_set.reader in images.READERS


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
    monkeypatch.setattr(images, "GLYPHS_TRAIN", 20)
    said: list[str] = []
    assert load_images("auto", notice=said.append).name == "glyphs"
    assert "could not be fetched" in said[-1]
    assert "Taking 'glyphs' in its place." in said[-1]
    with pytest.raises(DataError, match="--offline"):
        load_images("mnist", offline=True)


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
    monkeypatch.setattr(images, "GLYPHS_TRAIN", 20)
    assert load_images("glyphs:").name == "glyphs"
    assert load_images("glyphs::7").name == "glyphs:20:7"


@pytest.mark.parametrize(
    "name", ["glyphs:0", "glyphs:-3", "glyphs:many", "glyphs:2:3:4", "glyphs:9999999"]
)
def test_a_number_of_glyphs_that_is_none_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a number of glyphs") as caught:
        load_images(name)
    assert "glyphs:N:SEED" in caught.value.hint


def test_what_holds_no_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="pairs of sentences, not images"):
        load_images("tatoeba")
    with pytest.raises(ConfigError) as caught:
        load_images("glyph")
    assert "did you mean 'glyphs'?" in caught.value.hint


def test_the_real_mnist(real_data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(real_data_dir))
    data = load_images(offline=True)
    assert data.name == "mnist"
    assert (data.train.shape, data.test.shape) == ((60_000, 28, 28), (10_000, 28, 28))
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.train.double().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_torchvision_imports_in_a_fresh_process_without_a_warning() -> None:
    done = _run(
        "from dlcli.data.vision import torchvision_module\n"
        "print(torchvision_module('torchvision.datasets.mnist').MNIST.__name__)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "MNIST\n", "")


def test_a_working_torchvision_is_left_alone() -> None:
    # The compiled part declares its operators while it is loaded; declaring them again would fail.
    done = _run(
        "import torch\n"
        "from dlcli.data import vision\n"
        "kept = torch.library.Library('torchvision', 'DEF')\n"
        "def load(path):\n"
        "    for name in ('nms', 'qnms'):\n"
        "        kept.define(name + vision._SIGNATURE)\n"
        "    print('loaded', path.rsplit('_', 1)[1][0])\n"
        "torch.ops.load_library = load\n"
        "print(vision.prepare())\n"
        "print(vision.prepare())"
    )
    assert (done.returncode, done.stdout) == (0, "loaded C\nNone\nNone\n"), done.stderr


def test_operators_declared_by_another_package_are_not_declared_again() -> None:
    done = _run(
        "import torch\n"
        "from dlcli.data import vision\n"
        "vision.compiled_part_loads = lambda: False\n"
        "kept = torch.library.Library('torchvision', 'FRAGMENT')\n"
        "if not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    kept.define('nms' + vision._SIGNATURE)\n"
        "library = vision.prepare()\n"
        "print(hasattr(torch.ops.torchvision, 'nms'), hasattr(torch.ops.torchvision, 'qnms'))\n"
        "import torchvision.datasets"
    )
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_both_operators_are_declared_once_a_process() -> None:
    assert vision.prepare() is vision.prepare()
    assert hasattr(torch.ops.torchvision, "nms")
    assert hasattr(torch.ops.torchvision, "qnms")


def test_a_compiled_part_that_does_not_fit_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(torch.ops, "load_library", refuse)
    assert not vision.compiled_part_loads()


def test_no_torchvision_is_no_compiled_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not vision.compiled_part_loads()
