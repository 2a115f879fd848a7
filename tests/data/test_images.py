""""""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcli.data import catalogue, images
from dlcli.data.catalogue import DataSet
from dlcli.data.images import load_images
from dlcli.errors import ConfigError, DataError
from tests.data.conftest import write_files


def _said() -> list[str]:
    return []


def test_mnist_comes_from_the_users_folder(
    tmp_path: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_files(tmp_path, tiny_files)
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path))
    said = _said()
    for name in ("mnist", "auto"):
        data = load_images(name, offline=True, notice=said.append)
        assert data.name == "mnist"
        assert (data.train.shape, data.test.shape) == ((5, 28, 28), (3, 28, 28))
        assert data.train.dtype == data.test.dtype == torch.uint8
        assert data.train_labels.tolist() == [0, 1, 2, 3, 4]
    assert said == []


def test_auto_takes_glyphs_with_a_notice_where_mnist_cannot_be_had(
    tiny_mnist: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "GLYPHS_TRAIN", 20)
    said = _said()
    data = load_images("auto", notice=said.append)
    assert data.name == "glyphs"
    assert "could not be fetched" in said[-1]
    assert "Taking 'glyphs' in its place." in said[-1]


def test_mnist_where_it_cannot_be_had_is_an_error(tiny_mnist: DataSet) -> None:
    with pytest.raises(DataError, match="--offline"):
        load_images("mnist", offline=True)


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_wrong_file_is_never_passed_over(
    name: str,
    tmp_path: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_files(tmp_path, tiny_files)
    wrong = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    wrong.write_bytes(wrong.read_bytes()[:-1] + b"\0")
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is not the file"):
        load_images(name, offline=True)


def test_glyphs_of_any_number_by_seed() -> None:
    data = load_images("glyphs:23")
    assert data.name == "glyphs:23"
    assert (len(data.train), len(data.test)) == (23, 5)
    assert len(data.train_labels) == 23
    other = load_images("glyphs:23:7")
    assert other.name == "glyphs:23:7"
    assert not torch.equal(data.train, other.train)
    again = load_images("glyphs:23:0")
    assert (again.name, torch.equal(again.train, data.train)) == ("glyphs:23", True)
    assert not torch.equal(data.train[:5], data.test)


@pytest.mark.parametrize(
    "name", ["glyphs:", "glyphs:0", "glyphs:-3", "glyphs:many", "glyphs:2:3:4", "glyphs:9999999"]
)
def test_a_number_of_glyphs_that_is_none_is_an_error(name: str) -> None:
    if name == "glyphs:":
        assert images._glyphs_asked_for(name) == (images.GLYPHS_TRAIN, 0)
        return
    with pytest.raises(ConfigError, match="is not a number of glyphs") as caught:
        load_images(name)
    assert "glyphs:N:SEED" in caught.value.hint


def test_sentences_are_not_images(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = DataSet(name="tatoeba", what="sentences", kind="pairs", licence="CC BY 2.0 FR")
    monkeypatch.setattr(catalogue, "DATA_SETS", (*catalogue.DATA_SETS, pairs))
    with pytest.raises(ConfigError, match="pairs of sentences, not images"):
        load_images("tatoeba")


def test_an_unknown_name_suggests_the_nearest() -> None:
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
