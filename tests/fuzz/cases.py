"""Families of command lines over damaged files: each maker writes one and says how it is read."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from dlcli.cli.app import GROUPS, TOP, load
from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.config import to_dict
from dlcli.evidence.config import EvidenceConfig
from dlcli.nmt.config import NmtTrainConfig, SearchConfig
from dlcli.vae.config import VaeEvalConfig, VaeTrainConfig
from tests.cli.tiny import TRAIN, dl_json
from tests.fuzz.mangling import WORDS, altered, line, mangled, settings_text
from tests.nmt.toy import pairs, write_run, write_tsv

CONFIGURED = [
    (["vae", "train"], to_dict(VaeTrainConfig())),
    (["nmt", "train"], to_dict(NmtTrainConfig())),
    (["nmt", "translate"], to_dict(SearchConfig())),
    (["vae", "eval"], to_dict(VaeEvalConfig())),
    (["mc-estimate"], to_dict(EvidenceConfig())),
]
"""Commands, and their settings as they should be."""
LEFT_OUT = (["data", "fetch"], ["vae", "gradients"])
"""One asks the network; the other computes for longer than the rest together."""
COMMANDS = [[name] for name in TOP] + [
    [group, name]
    for group, (_, entries) in GROUPS.items()
    for name in entries
    if [group, name] not in LEFT_OUT
]
PLACES = ["sound/vae", "vae-x", "nmt", "sound", "sound/toy.txt", "pretrained:vae-conv", "cpu"]
VALUES = [*WORDS, *PLACES, "glyphs:40", "glyphs:-1", "png", "1,2", "2,x", "Σ"]

Maker = Callable[[random.Random], list[str]]
DRAW = ["--n", "1", "--out", "out/picture.png", "--json"]
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte")
SENTENCES = pairs(0, 40)


def workshop(folder: Path) -> None:
    """Write what the makers damage: runs, exports, corpora, alignments and raw images."""
    dl_json(*TRAIN, "--out", str(folder / "sound/vae"))
    write_run(folder / "sound/nmt")
    for kind in ("vae", "nmt"):
        sound = str(folder / "sound" / kind)
        dl_json("runs", "export", sound, "--out", f"{sound}-x")
        for name in (kind, f"{kind}-x"):
            shutil.copytree(folder / "sound" / name, folder / name)
    write_tsv(folder / "sound/toy.tsv", count=60)
    (folder / "sound/toy.txt").write_text("The cat sees the dog.\n\nNobody.\n")
    (folder / "data/MNIST/raw").mkdir(parents=True)
    (folder / "out").mkdir()


def settings(noise: random.Random) -> list[str]:
    """Settings in YAML, of any command that takes them."""
    command, sound = noise.choice(CONFIGURED)
    Path("settings.yaml").write_text(settings_text(sound, noise), errors="surrogatepass")
    if noise.random() < 0.3:
        Path("settings.yaml").write_bytes(mangled(Path("settings.yaml").read_bytes(), noise))
    return [*command, "--config", "settings.yaml", "--print-config", "--json"]


def assignments(noise: random.Random) -> list[str]:
    """Settings on the command line."""
    command, sound = noise.choice(CONFIGURED)
    group = noise.choice(list(sound))
    inner = sound[group] if isinstance(sound[group], dict) else {"": 0}
    key = noise.choice([group, f"{group}.{noise.choice(list(inner))}", *WORDS[-8:]])
    text = noise.choice(
        [f"{key}={line(noise)[:300]}", f"{key}=[{line(noise)[:50]}", line(noise)[:99]]
    )
    return [*command, f"--set={text}", "--print-config", "--json"]


def raw_checkpoint(noise: random.Random) -> list[str]:
    """A checkpoint with damaged bytes."""
    kind = noise.choice(["vae", "nmt"])
    sound = Path("sound", kind, "checkpoints/last.pt").read_bytes()
    Path(kind, "checkpoints/last.pt").write_bytes(mangled(sound, noise))
    return _use(kind, noise)


def sealed_checkpoint(noise: random.Random) -> list[str]:
    """A checkpoint whose content was changed by someone who can seal it: any of its values."""
    kind = noise.choice(["vae", "nmt"])
    state = load_checkpoint(Path("sound", kind, "checkpoints/last.pt"), kind=kind)
    save_checkpoint(Path(kind, "checkpoints/last.pt"), _changed_state(state, noise), kind=kind)
    return _use(kind, noise)


def _changed_state(state: dict[str, Any], noise: random.Random) -> dict[str, Any]:
    if noise.random() < 0.5:
        found: dict[str, Any] = altered(state, noise)
        return found if isinstance(found, dict) else {"model": found}
    weights = dict(state["model"])
    name = noise.choice(list(weights))
    weight = weights[name]
    other = [weight.double(), weight.flatten(), weight.to(torch.complex64), torch.empty(0)]
    giant = torch.zeros(1).expand(10**6, 10**6)
    weights[name] = noise.choice([*other, torch.full_like(weight, float("nan")), giant])
    return {**state, "model": weights}


def resumed(noise: random.Random) -> list[str]:
    """A training that goes on from a changed checkpoint."""
    sound = Path("sound/vae")
    Path("out").mkdir(exist_ok=True)
    shutil.rmtree("out/run", ignore_errors=True)
    shutil.copytree(sound, "out/run")
    state = load_checkpoint(sound / "checkpoints/last.pt", kind="vae")
    save_checkpoint(Path("out/run/checkpoints/last.pt"), altered(state, noise), kind="vae")
    if noise.random() < 0.3:
        file = noise.choice(["metrics.jsonl", "run.json"])
        Path("out/run", file).write_bytes(mangled((sound / file).read_bytes(), noise))
    return ["vae", "train", "--resume", "out/run", "--epochs", "3", "--json"]


def exported(noise: random.Random) -> list[str]:
    """An exported run, one of its files damaged."""
    kind = noise.choice(["vae", "nmt"])
    sound, folder = Path("sound", f"{kind}-x"), Path(f"{kind}-x")
    for file in sound.iterdir():
        shutil.copyfile(file, folder / file.name)
    file = noise.choice([f for f in sound.iterdir() if f.name != "README.md"])
    if file.suffix in (".json", ".yaml") and noise.random() < 0.5:
        tree = altered(yaml.safe_load(file.read_text()), noise)
        text = json.dumps(tree) if file.suffix == ".json" else yaml.safe_dump(tree)
        (folder / file.name).write_text(text, errors="surrogatepass")
    else:
        (folder / file.name).write_bytes(mangled(file.read_bytes(), noise))
    if noise.random() < 0.1:
        return ["runs", noise.choice(["show", "compare"]), str(folder), "--json"]
    return _use(folder.name, noise)


def images(noise: random.Random) -> list[str]:
    """Raw files of MNIST: headers that promise other sizes than there are."""
    for name in (*IDX, "t10k-labels-idx1-ubyte"):
        count = noise.choice([0, 3, 60_000, 2**31])
        shape = (count, 28, 28) if "images" in name else (count,)
        head = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
        Path("data/MNIST/raw", name).write_bytes(mangled(head + noise.randbytes(999), noise))
    command = noise.choice([["verify", "mnist"], ["show", "mnist", "--offline"], ["path", "mnist"]])
    return ["data", *command, "--json"]


def corpus(noise: random.Random) -> list[str]:
    """A TSV, packed or not, or two files side by side."""
    sound = Path("sound/toy.tsv").read_bytes()
    shape = noise.choice(["a.tsv", "a.tsv.gz", "a.en,b.fr", "a.txt"])
    for name in shape.split(","):
        data = mangled(sound, noise)
        if noise.random() < 0.3:
            data = "\n".join(f"{line(noise)}\t{line(noise)}" for _ in range(20)).encode(
                "utf-8", "replace"
            )
        if name.endswith(".gz"):
            data = gzip.compress(data)
            data = data if noise.random() < 0.5 else mangled(data, noise)
        Path(name).write_bytes(data)
    return ["data", "show", shape if "," in shape else f"./{shape}", "--n", "2", "--json"]


def alignment(noise: random.Random) -> list[str]:
    """Pairs of sentences and the links between them."""
    count = noise.randint(1, 3)
    rows = [
        noise.choice([f"{s} ||| {t}", line(noise, words=["|||"])]) for s, t in _sample(noise, count)
    ]
    links = ["0-0", "1-1", "0p2", "5-0", "1-", "-1-0", "999999999-0", "٣-٣", "0-0-0", "p", "1P1"]
    gold = [" ".join(noise.choices(links[: noise.choice([2, 3, 11])], k=4)) for _ in rows]
    _write_lines("pairs.txt", rows, noise)
    _write_lines("gold.txt", gold[: noise.choice([count, count, count - 1])], noise)
    more = noise.choice([[], ["--shift"], ["--gold-index", "1"], ["--text", "running"]])
    files = ["--run", "sound/nmt", "--pairs", "pairs.txt", "--gold", "gold.txt"]
    return ["nmt", "align", *files, *more, "--json"]


def text(noise: random.Random) -> list[str]:
    """Text to translate, and to look at."""
    known = [word for s, _ in _sample(noise, 3) for word in s.split()]
    if noise.random() < 0.3:
        words = line(noise, words=known)[:200].replace("\x00", "")
        return ["nmt", "attend", *SMALL, "--out", "out/a.json", "--json", "--", words]
    _write_lines("text.txt", [line(noise, words=known)[:400] for _ in range(3)], noise)
    return ["nmt", "translate", *SMALL, "--input", "text.txt", "--json"]


SMALL = ["--run", "sound/nmt", "--max-length", "8", "--beam", "2", "--device", "cpu"]


def words(noise: random.Random) -> list[str]:
    """Command lines of real commands and flags with absurd values."""
    command = noise.choice(COMMANDS)
    entry = TOP.get(command[0]) or GROUPS[command[0]][1][command[1]]
    parameters = load(command[-1], entry).params
    given: list[str] = []
    for one in noise.choices(parameters, k=noise.randint(0, 3)):
        flag = next((flag for flag in one.opts if flag.startswith("--")), "")
        given += [flag] if flag not in ("", "--debug", "--help") else []
        if not getattr(one, "is_flag", False):
            inside = "out/" if flag in ("--out", "--plot") else ""
            given.append(inside + noise.choice(VALUES))
    has = {flag for one in parameters for flag in getattr(one, "opts", [])}
    first = ["--print-config"] if "--print-config" in has else []
    first += ["--out", "out/picture.png"] if "--out" in has else []
    first += ["--offline"] if "--offline" in has else []
    return [*command, "--json", *first, *(word.replace("\x00", "") for word in given)]


def _use(run: str, noise: random.Random) -> list[str]:
    if run.startswith("vae"):
        command = noise.choice([["vae", "generate"], ["sample"]])
        return [*command, "--run", run, *DRAW]
    return ["nmt", "translate", "--run", run, *SMALL[2:], "--input", "sound/toy.txt", "--json"]


def _sample(noise: random.Random, count: int) -> list[tuple[str, str]]:
    return noise.sample(list(zip(SENTENCES.source, SENTENCES.target, strict=True)), count)


def _write_lines(name: str, lines: list[str], noise: random.Random) -> None:
    data = "\n".join(lines).encode("utf-8", "replace")
    Path(name).write_bytes(mangled(data, noise) if noise.random() < 0.2 else data)


MAKERS: dict[str, tuple[Maker, int, int]] = {
    "settings": (settings, 40, 1700),
    "assignments": (assignments, 40, 1300),
    "raw checkpoint": (raw_checkpoint, 15, 900),
    "sealed checkpoint": (sealed_checkpoint, 15, 1100),
    "resumed": (resumed, 8, 400),
    "export": (exported, 15, 1000),
    "images": (images, 15, 500),
    "corpus": (corpus, 20, 1100),
    "alignment": (alignment, 15, 800),
    "text": (text, 10, 700),
    "command line": (words, 40, 1600),
}
"""Name → maker, cases of the default run, cases of the long run."""
