"""The configuration files: the whole ones say what the dataclass says, the small ones run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dlcli.cli.app import app
from dlcli.engine.config import keys, load_yaml, resolve
from dlcli.vae.config import VaeTrainConfig

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
WHOLE = sorted(CONFIGS.glob("vae_*.yaml"))
SMOKE = sorted((CONFIGS / "smoke").glob("vae_*.yaml"))


def _leaves(data: dict[str, object], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in data.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found


def test_both_networks_have_both_files() -> None:
    names = ["vae_conv.yaml", "vae_mlp.yaml"]
    assert [path.name for path in WHOLE] == [path.name for path in SMOKE] == names


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_the_whole_files_are_what_print_config_says(path: Path) -> None:
    arch = path.stem.removeprefix("vae_")
    printed = CliRunner().invoke(app, ["vae", "train", "--arch", arch, "--print-config"])
    assert printed.exit_code == 0
    assert path.read_text(encoding="utf-8") == printed.stdout
    assert _leaves(load_yaml(path)) == {key.path for key in keys(VaeTrainConfig)}


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_every_key_says_what_it_means(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        is_group = line.endswith(":")
        assert is_group or len(line.partition("  # ")[2].split()) >= 1, line


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_files_load_strictly_and_say_nothing_twice(path: Path) -> None:
    found = load_yaml(path)
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == found
    if path.name.startswith("vae_"):
        config = resolve(VaeTrainConfig, [found], source=str(path))
        assert config.model.arch == path.stem.removeprefix("vae_")


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_the_small_files_run(path: Path, tmp_path: Path) -> None:
    words = ["vae", "train", "--config", str(path), "--out", "run", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["epochs"], found["data"]) == (2, "glyphs:200")
    for name in ("checkpoints/best.pt", "figures/curves.png", "figures/snapshots.png"):
        assert (tmp_path / "run" / name).is_file()
