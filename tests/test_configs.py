"""The configuration files: the whole ones are what --print-config says, the small ones run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dlcli.engine.config import keys, load_yaml, resolve
from dlcli.nmt.config import NmtTrainConfig, check
from dlcli.vae.config import VaeTrainConfig
from tests.cli.tiny import dl, dl_json

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
WHOLE = sorted(CONFIGS.glob("*.yaml"))
SMOKE = sorted((CONFIGS / "smoke").glob("*.yaml"))


def _chapter(path: Path) -> str:
    return path.stem.partition("_")[0]


def test_both_networks_have_both_files() -> None:
    for files in (WHOLE, SMOKE):
        vaes = [path.name for path in files if _chapter(path) == "vae"]
        assert vaes == ["vae_conv.yaml", "vae_mlp.yaml"]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_the_whole_files_are_what_print_config_says(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    body = [line for line in lines if not line.startswith("#")]
    if _chapter(path) == "vae":  # the defaults, and nothing else
        assert body == lines
        words = ["vae", "train", "--arch", path.stem.removeprefix("vae_")]
    else:
        assert body != lines, "says what it is for"
        words = ["nmt", "train", "--config", str(path)]
    printed = dl(*words, "--print-config")
    assert printed.exit_code == 0
    assert "".join(body) == printed.stdout
    for line in body:
        assert line.rstrip().endswith(":") or line.partition("  # ")[2].split(), line


def test_the_whole_files_have_every_key() -> None:
    for path in WHOLE:
        config = VaeTrainConfig if _chapter(path) == "vae" else NmtTrainConfig
        assert _leaves(load_yaml(path)) == {key.path for key in keys(config)}


def _leaves(data: dict[str, object], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in data.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_files_load_strictly_and_say_nothing_twice(path: Path) -> None:
    found = load_yaml(path)
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == found
    if _chapter(path) == "vae":
        config = resolve(VaeTrainConfig, [found], source=str(path))
        assert config.model.arch == path.stem.removeprefix("vae_")
    else:
        check(resolve(NmtTrainConfig, [found], source=str(path)))


def test_the_paper_s_sizes() -> None:
    config = resolve(NmtTrainConfig, [load_yaml(CONFIGS / "nmt_rnnsearch.yaml")])
    model, data = config.model, config.data
    assert (model.embedding, model.encoder_hidden, model.hidden) == (620, 1000, 1000)
    assert (model.attention_size, model.readout_size, model.readout) == (1000, 500, "maxout")
    assert model.attention_query == "previous"
    assert (data.tokenizer, data.vocabulary, data.max_length) == ("word", 30_000, 50)
    assert (config.loop.batch_size, config.loop.batch_unit) == (80, "sentences")
    assert config.optim.clip_norm == 1


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_the_small_files_run(path: Path) -> None:
    chapter = _chapter(path)
    found = dl_json(chapter, "train", "--config", str(path), "--out", "run")
    data = {"vae": "glyphs:200", "nmt": "grammar"}[chapter]
    assert (found["epochs"], found["data"]) == (2, data)
    assert Path("run/figures/curves.png").is_file()
    if chapter == "vae":
        assert Path("run/checkpoints/best.pt").is_file()
        assert Path("run/figures/snapshots.png").is_file()
    else:
        assert Path(f"run/checkpoints/{found['checkpoint']}.pt").is_file()
        assert found["valid"]["sentences"] == 10
