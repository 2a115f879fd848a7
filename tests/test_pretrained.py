"""The packaged models: found by name, stand in where nothing was trained, and are whole.

Right after installation, with no run of one's own and no network, commands have a model.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dlcli
from dlcli import pretrained
from dlcli.engine.checkpoint import load_model
from dlcli.engine.runs import find_run
from dlcli.errors import UsageFault
from dlcli.nmt.translator import Translator
from dlcli.vae.generation import ImageModel
from tests.cli.tiny import dl, dl_json
from tests.processes import ROOT

FAMOUS = "The agreement on the European Economic Area was signed in August 1992."
FRENCH = "L'accord sur la zone économique européenne a été signé en août 1992."
BACKWARDS = {"4-6", "5-5", "6-4"}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the packaged models, and an empty working folder."""
    for name, kind in (("vae-conv", "vae"), ("toy-one", "toy")):
        (tmp_path / "shelf" / name).mkdir(parents=True)
        (tmp_path / "shelf" / name / "config.yaml").write_text("{}\n")
        (tmp_path / "shelf" / name / "run.json").write_text(f'{{"kind": "{kind}"}}')
    monkeypatch.setattr(pretrained, "_root", lambda: tmp_path / "shelf")
    return tmp_path / "shelf"


def test_python_loads_a_packaged_model_by_its_name() -> None:
    images = dlcli.load("vae-mlp")
    assert isinstance(images, ImageModel)
    assert images.generate(3).shape == (3, 28, 28)
    translator = dlcli.load("pretrained:nmt-grammar")
    assert isinstance(translator, Translator)
    assert translator.translate([FAMOUS])[0].translation == FRENCH


def test_python_loads_a_run_by_its_folder_or_as_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageFault, match="no trained run"):
        dlcli.load("latest")
    Path("runs").mkdir()
    shutil.copytree(pretrained.folder("vae-mlp") or "", "runs/mine")
    for name in ("latest", "mine", tmp_path / "runs" / "mine"):
        found = dlcli.load(name)
        assert isinstance(found, ImageModel)
        assert found.trained.run.path == tmp_path / "runs" / "mine"
    with pytest.raises(UsageFault, match="vae-bset") as caught:
        dlcli.load("vae-bset")
    assert "vae-best" in caught.value.hint


def test_is_found_by_name(shelf: Path) -> None:
    assert find_run("pretrained:toy-one", kind="toy").path == shelf / "toy-one"
    assert pretrained.names() == ["toy-one", "vae-conv"]


def test_stands_in_where_there_is_no_run_of_its_kind(shelf: Path) -> None:
    assert find_run(None, kind="vae").path == shelf / "vae-conv"
    with pytest.raises(UsageFault, match="no trained nmt run"):
        find_run(None, kind="nmt")


def test_is_not_what_latest_means(shelf: Path) -> None:
    with pytest.raises(UsageFault, match="no trained vae run"):
        find_run("latest", kind="vae")


def test_a_run_of_ones_own_comes_first(shelf: Path) -> None:
    own = Path("runs/mine")
    shutil.copytree(shelf / "vae-conv", own)
    (own / "model.safetensors").write_bytes(b"")
    assert find_run(None, kind="vae").path == own.absolute()


def test_an_unknown_name_names_the_nearest(shelf: Path) -> None:
    with pytest.raises(UsageFault, match="no packaged model 'vae-cnv'") as caught:
        find_run("pretrained:vae-cnv", kind="vae")
    assert "vae-conv" in caught.value.hint


def test_of_another_kind_is_refused(shelf: Path) -> None:
    with pytest.raises(UsageFault, match="of kind vae, and this command needs one of kind nmt"):
        find_run("pretrained:vae-conv", kind="nmt")


@pytest.mark.parametrize("name", ["", "..", "../shelf/toy-one", "vae-conv/"])
def test_a_name_never_leads_out_of_the_package(shelf: Path, name: str) -> None:
    with pytest.raises(UsageFault, match="no packaged model"):
        find_run(f"pretrained:{name}")


def test_its_pictures_go_to_the_working_folder(shelf: Path) -> None:
    assert find_run("pretrained:vae-conv").gallery == Path("runs/pictures")
    (shelf / "toy-one" / "checkpoints").mkdir()
    assert find_run("pretrained:toy-one").gallery == shelf / "toy-one" / "figures"


def test_the_packaged_models_are_whole() -> None:
    for name in pretrained.names():
        folder = pretrained.folder(name)
        assert folder is not None
        kind = find_run(f"pretrained:{name}").record()["kind"]
        assert load_model(find_run(f"pretrained:{name}"), kind=kind).weights
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert all(word in card for word in ("Data:", "licence", "Command:", "Signature:"))
    sizes = [path.stat().st_size for path in Path(pretrained.__file__).parent.rglob("*")]
    assert sum(sizes) < 30e6


def _attend(*words: str) -> dict[str, Any]:
    return dl_json("nmt", "attend", FAMOUS, *words)


def test_attend_shows_the_sentence_of_the_paper_against_the_diagonal() -> None:
    result = _attend()
    assert "conomique européen" in result["translation"]
    assert set(result["alignment"].split()) >= BACKWARDS
    assert [Path(file).parent for file in result["files"]] == [Path.cwd() / "runs/pictures"]


@pytest.mark.parametrize("run", ["nmt-en-fr", "nmt-grammar"])
def test_also_with_the_paper_s_translation(run: str) -> None:
    result = _attend("--run", f"pretrained:{run}", "--target", FRENCH)
    assert set(result["alignment"].split()) >= BACKWARDS


def test_the_grammar_s_own_sentence() -> None:
    assert _attend("--run", "pretrained:nmt-grammar")["translation"] == FRENCH


def test_three_dots_are_a_word_like_any_other() -> None:
    found = dl_json("nmt", "attend", "The agreement ...")
    assert found["source"][:3] == ["The", "agreement", "..."]


def test_translate_warns_of_words_it_has_never_seen() -> None:
    words = ["nmt", "translate", "--run", "pretrained:nmt-grammar"]
    found = dl(*words, "The axolotl sleeps.")
    assert found.exit_code == 0
    assert "never seen: 1 of 1" in found.stderr
    assert "never seen" not in dl(*words, FAMOUS).stderr


@pytest.mark.parametrize("command", [["vae", "generate", "--n", "4"], ["sample", "--n", "3"]])
def test_generate_and_sample_draw_digits(command: list[str]) -> None:
    files = [Path(file) for file in dl_json(*command)["files"]]
    assert files
    assert {file.parent for file in files} == {Path.cwd() / "runs/pictures"}
    assert all(file.stat().st_size for file in files)


def test_models_are_loaded_without_what_takes_seconds_to_import() -> None:
    code = """
import sys, dlcli.nmt.trained, dlcli.vae.trained
for chapter in (dlcli.vae, dlcli.nmt):
    chapter.trained.find_trained(None, notice=lambda _: None)
print(sorted({"torch._dynamo", "sympy", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
