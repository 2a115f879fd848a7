"""The wheel, and not only the checkout, carries the packaged models and can use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dlcli import pretrained
from tests.processes import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def _python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=env, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = _python("-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    if built.returncode and "No matching distribution found for hatchling" in built.stderr:
        pytest.skip("the build backend cannot be had")
    assert built.returncode == 0, built.stderr
    return next(folder.glob("dlcli-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The package from the wheel alone, in a folder that goes before this checkout."""
    folder = wheel.parent / "site"
    done = _python("-m", "pip", "install", "--no-deps", "--target", str(folder), str(wheel))
    assert done.returncode == 0, done.stderr
    return folder


def test_it_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "dlcli"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert set(listed.stdout.split()) <= inside
    assert not [name for name in inside if not name.startswith("dlcli/")]
    assert wheel.stat().st_size < 32e6


def test_its_models_are_used_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    given = {"PYTHONPATH": str(installed), "HOME": str(tmp_path)}
    code = "import dlcli; from dlcli import pretrained; print(dlcli.__file__, *pretrained.names())"
    file, *names = _python("-c", code, **given).stdout.split()
    assert Path(file).is_relative_to(installed)
    assert names == pretrained.names()
    for name in names:
        record = json.loads((installed / f"dlcli/pretrained/{name}/run.json").read_text())
        words = (
            ["vae", "generate", "--n", "1", "--out", "a.png"]
            if record["kind"] == "vae"
            else ["nmt", "translate", "The agreement was signed.", "--device", "cpu"]
        )
        words += ["--run", f"pretrained:{name}", "--json"]
        done = _python("-m", "dlcli", *words, **given)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
