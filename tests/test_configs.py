"""The configuration files: the whole ones say what the dataclass says, the small ones run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dlcli.cli.app import app
from dlcli.engine.config import keys, load_yaml, resolve
from dlcli.nmt.config import NmtTrainConfig, check
from dlcli.vae.config import VaeTrainConfig

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
WHOLE = sorted(CONFIGS.glob("vae_*.yaml"))
TRANSLATORS = sorted(CONFIGS.glob("nmt_*.yaml"))
SMOKE = sorted((CONFIGS / "smoke").glob("vae_*.yaml"))
SMOKE_TRANSLATORS = sorted((CONFIGS / "smoke").glob("nmt_*.yaml"))


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


@pytest.mark.parametrize("path", TRANSLATORS, ids=lambda path: path.stem)
def test_the_translators_files_are_what_print_config_says_of_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# "), "says what it is for"
    lines = text.splitlines(keepends=True)
    body = "".join(lines[next(i for i, line in enumerate(lines) if line[0] != "#") :])
    printed = CliRunner().invoke(app, ["nmt", "train", "--config", str(path), "--print-config"])
    assert printed.exit_code == 0
    assert body == printed.stdout
    check(resolve(NmtTrainConfig, [load_yaml(path)]))


def test_the_paper_s_sizes() -> None:
    config = resolve(NmtTrainConfig, [load_yaml(CONFIGS / "nmt_rnnsearch.yaml")])
    model, data = config.model, config.data
    assert (model.embedding, model.encoder_hidden, model.hidden) == (620, 1000, 1000)
    assert (model.attention_size, model.readout_size, model.readout) == (1000, 500, "maxout")
    assert model.attention_query == "previous"
    assert (data.tokenizer, data.vocabulary, data.max_length) == ("word", 30_000, 50)
    assert (config.loop.batch_size, config.loop.batch_unit) == (80, "sentences")
    assert config.optim.clip_norm == 1


@pytest.mark.parametrize("path", [*WHOLE, *TRANSLATORS], ids=lambda path: path.stem)
def test_every_key_says_what_it_means(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        is_group = line.endswith(":")
        assert is_group or len(line.partition("  # ")[2].split()) >= 1, line


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_files_load_strictly_and_say_nothing_twice(path: Path) -> None:
    found = load_yaml(path)
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == found
    if path.name.startswith("vae_"):
        config = resolve(VaeTrainConfig, [found], source=str(path))
        assert config.model.arch == path.stem.removeprefix("vae_")
    else:
        check(resolve(NmtTrainConfig, [found], source=str(path)))


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_the_small_files_run(path: Path, tmp_path: Path) -> None:
    words = ["vae", "train", "--config", str(path), "--out", "run", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["epochs"], found["data"]) == (2, "glyphs:200")
    for name in ("checkpoints/best.pt", "figures/curves.png", "figures/snapshots.png"):
        assert (tmp_path / "run" / name).is_file()


@pytest.mark.parametrize("path", SMOKE_TRANSLATORS, ids=lambda path: path.stem)
def test_the_translators_small_files_run(path: Path, tmp_path: Path) -> None:
    words = ["nmt", "train", "--config", str(path), "--out", "run", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["epochs"], found["data"]) == (2, "grammar")
    assert found["valid"]["sentences"] == 10
    for name in (f"checkpoints/{found['checkpoint']}.pt", "figures/curves.png"):
        assert (tmp_path / "run" / name).is_file()
