from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dlcli.data import mnist as vision


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
