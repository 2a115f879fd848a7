"""The configuration files: recipes keep to the defaults or say where not, and small ones run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dlcli.engine.config import load_yaml, resolve
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


def _values(text: str) -> set[tuple[str, str, str]]:
    """Return of each line its section, its `key: value` and the default that its comment names."""
    found, section = set(), ""
    for line in text.splitlines():
        value, _, comment = line.partition("#")
        if value.strip():
            section = section if line.startswith(" ") else value.strip()
            replaced = re.search(r"\(default [^)]*\)", comment)
            found.add((section, value.strip(), replaced[0] if replaced else ""))
    return found


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_a_recipe_has_known_keys_with_the_default_or_the_one_it_says_it_replaces(
    path: Path,
) -> None:
    text = path.read_text(encoding="utf-8")
    printed = dl(_chapter(path), "train", "--config", str(path), "--print-config")
    assert printed.exit_code == 0
    assert _values(text) <= _values(printed.stdout)
    for line in text.splitlines():
        assert line.rstrip().endswith(":") or line.partition("# ")[2], line
    if _chapter(path) == "vae":  # the defaults of an architecture, and nothing else
        differ = {value for _, value, replaced in _values(text) if replaced}
        assert differ == ({"arch: conv"} if path.stem == "vae_conv" else set())
    else:
        assert text.startswith("#"), "says what it is for"


def test_a_key_that_a_recipe_leaves_out_takes_its_default() -> None:
    found = load_yaml(CONFIGS / "vae_conv.yaml")
    whole = resolve(VaeTrainConfig, [found])
    found.pop("objective")
    assert resolve(VaeTrainConfig, [found]) == whole


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
