"""Families of command lines over damaged files: each maker writes one and says how it is read.

The damage is what broken discs, wrong programs and bored people leave in bytes and words.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from dlcli.cli.app import load
from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.config import to_dict
from dlcli.evidence.config import EvidenceConfig
from dlcli.nmt.config import NmtTrainConfig, SearchConfig
from dlcli.vae.config import VaeEvalConfig, VaeTrainConfig
from tests.cli.tiny import COMMANDS, NMT_SIZES, NMT_WHERE, TRAIN, dl_json
from tests.nmt.toy import pairs, write_run, write_tsv

NUMBERS = ["0", "-1", "1", "3", "-0", "007", "1e3", "1e999", "nan", "-inf", "2.5", "9" * 20, "0x10"]
LETTERS = ["a", "Z", "é", "ß", "œ", "中", "🙂", "e\u0301", "👩\u200d👩"]
SIGNS = ["\x00", "\x1b[2J", *"\t\r\n\ufeff\ufffd\u202e\u200b\u2028'\"\\"]
MARKS = ["-", "--", "|||", "▁", "<unk>", "</s>", "...", "a=b", "=", ",", ";", "~", "../..", "/"]
SHELL = ["%s", "{}", "$HOME", "*"]
SETTINGS = ["none", "null", "true", "no", "latest"]
WORDS = [*NUMBERS, *LETTERS, *SIGNS, *MARKS, *SHELL, "", " ", *SETTINGS]
CHUNKS = [b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b"\r\n", b"\t"]

CONFIGURED = [
    (["vae", "train"], to_dict(VaeTrainConfig())),
    (["nmt", "train"], to_dict(NmtTrainConfig())),
    (["nmt", "translate"], to_dict(SearchConfig())),
    (["vae", "eval"], to_dict(VaeEvalConfig())),
    (["mc-estimate"], to_dict(EvidenceConfig())),
]
"""Commands, and their settings as they should be."""
LEFT_OUT = (("data", "fetch"), ("vae", "gradients"))
"""One asks the network; the other computes for longer than the rest together."""
USED = [path for path in COMMANDS if path not in LEFT_OUT]
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


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]
FORMS = {"png": "png", "jpg": "jpeg", "gif": "gif", "bmp": "bmp", "tif": "tiff", "webp": "webp"}
SHOWN = [[], [], ["--image-size", "9"], ["--image-size", "20x8"], ["--grey"], ["--colour"]]


def pictures(noise: random.Random) -> list[str]:
    """A folder of pictures of all kinds, or an archive of one, some of it damaged."""
    shutil.rmtree("pictures", ignore_errors=True)
    places = noise.choice([[""], ["a/", "b/"], ["train/a/", "test/b/", "train/b/"], ["", "a/"]])
    same = noise.random() < 0.7
    for number in range(noise.choice([0, 1, 3, 12])):
        ending = noise.choice(list(FORMS))
        size = (12, 9) if same else (noise.randint(1, 40), noise.randint(1, 40))
        path = Path("pictures", noise.choice(places), f"{noise.choice(LETTERS)}{number}.{ending}")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = _picture(noise.choice(MODES), size, FORMS[ending], noise)
        path.write_bytes(mangled(data, noise) if noise.random() < 0.3 else data)
    Path("pictures").mkdir(exist_ok=True)
    name = "./pictures"
    if noise.random() < 0.3:
        name = shutil.make_archive("pictures", "zip", "pictures")
        if noise.random() < 0.5:
            Path(name).write_bytes(mangled(Path(name).read_bytes(), noise))
    return ["data", "show", name, "--n", "2", *noise.choice(SHOWN), "--json"]


def _picture(mode: str, size: tuple[int, int], form: str, noise: random.Random) -> bytes:
    buffer = io.BytesIO()
    whole = Image.new("RGB", size, (noise.randint(0, 255), 90, 9))
    try:
        (whole if mode == "RGB" else whole.convert("L").convert(mode)).save(buffer, form)
    except (OSError, ValueError):  # a form that has no such pixels
        whole.save(buffer, form)
    return buffer.getvalue()


def arrays(noise: random.Random) -> list[str]:
    """A file of arrays: wrong shapes, types and values, or damaged bytes."""
    shape = noise.choice(
        [(12, 9, 8), (12, 9, 8, 3), (12, 3, 8, 9), (12, 1, 9, 9), (9,), (0, 9, 9), ()]
    )
    kind = noise.choice(["uint8", "uint8", "float32", "int64", "bool", "complex64", "O", "U3"])
    values = np.random.default_rng(noise.getrandbits(32)).random(shape)
    values = (values * noise.choice([1, 255, -1, 300])).astype(kind)
    names = noise.choice([["x"], ["x_train"], ["x_train", "x_test"], ["x_test"], ["a", "b"]])
    held = dict.fromkeys(names, values)
    if noise.random() < 0.3:
        held["y_train"] = np.arange(noise.choice([12, 3]))
    path = Path(f"arrays.{noise.choice(['npy', 'npz', 'pt'])}")
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, **held)
    else:
        torch.save(noise.choice([held, values, list(held), {"x": torch.rand(4, 9, 9)}]), path)
    if noise.random() < 0.5:
        path.write_bytes(mangled(path.read_bytes(), noise))
    return ["data", "show", str(path), "--n", "2", *noise.choice(SHOWN), "--json"]


def corpus(noise: random.Random) -> list[str]:
    """A TSV, packed or not, or two files side by side, of any languages."""
    shape = _corpus_files(noise)
    direction = noise.choice([[], [], ["--direction", noise.choice(DIRECTIONS)]])
    name = shape if "," in shape else f"./{shape}"
    return ["data", "show", name, "--n", "2", "--json", *direction]


DIRECTIONS = [
    "en-fr",
    "de-cs",
    "cs-de",
    "zh-th",
    "de",
    "-",
    "a-b-c",
    "../x-y",
    "é-ß",
    "中-文",
    " - ",
]
SHAPES = ["a.tsv", "a.tsv.gz", "a.en,b.fr", "a.txt", "a.de,b.cs", "a.zh,b.th.gz", "a.de-cs.tsv"]
SCRIPTS = [
    "我们去北京。",
    "猫が好きです",
    "ฉันรักแมว",
    "שלום עולם",
    "नमस्ते",
    "مرحبا",
    "\u0301",
    "\u202e",
]


def _corpus_files(noise: random.Random) -> str:
    """Write the files of a corpus, most of them damaged, and return their name for `--data`."""
    sound = Path("sound/toy.tsv").read_bytes()
    shape = noise.choice(SHAPES)
    for name in shape.split(","):
        data = mangled(sound, noise) if noise.random() < 0.8 else sound
        if noise.random() < 0.4:
            words = noise.choice([[], SCRIPTS])
            rows = (f"{line(noise, words=words)}\t{line(noise, words=words)}" for _ in range(20))
            data = "\n".join(rows).encode("utf-8", "replace")
        if name.endswith(".gz"):
            data = gzip.compress(data)
            data = data if noise.random() < 0.5 else mangled(data, noise)
        Path(name).write_bytes(data)
    return shape + noise.choice(["", "", "", ":de-cs", ":x-y", ":", ":a-b-c", "#01234567"])


def languages(noise: random.Random) -> list[str]:
    """A training on such files, of languages of any name."""
    shutil.rmtree("out/trained", ignore_errors=True)
    names = ["de", "deu", "zh", "pt-BR", "qaa", "klingon", "é", "", *WORDS[:40]]
    said = ["--source-lang", noise.choice(names), "--target-lang", noise.choice(names)]
    given = noise.choice([[], said, said[:2], ["--direction", noise.choice(DIRECTIONS)]])
    tokenizer = noise.choice([[], ["--tokenizer", "word"]])
    where = [*NMT_SIZES, *NMT_WHERE, "--epochs", "1", "--out", "out/trained"]
    words = [*given, *tokenizer, *where, "--train-pairs", "9", "--max-length", "30"]
    data = f"./{_corpus_files(noise)}"
    return ["nmt", "train", "--data", data, *(word.replace("\x00", "") for word in words), "--json"]


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
    command = noise.choice(USED)
    parameters = load(command[-1], COMMANDS[command]).params
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
    "pictures": (pictures, 20, 500),
    "arrays": (arrays, 20, 500),
    "corpus": (corpus, 20, 1100),
    "languages": (languages, 8, 600),
    "alignment": (alignment, 15, 800),
    "text": (text, 10, 700),
    "command line": (words, 40, 1600),
}
"""Name → maker, cases of the default run, cases of the long run."""


def mangled(data: bytes, noise: random.Random) -> bytes:
    """Return `data` with one to three kinds of damage."""
    for _ in range(noise.randint(1, 3)):
        data = noise.choice(DAMAGES)(data, noise)
    return data


def _flipped(data: bytes, noise: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(noise.randint(1, 8) if found else 0):
        found[noise.randrange(len(found))] = noise.randrange(256)
    return bytes(found)


def _cut(data: bytes, noise: random.Random) -> bytes:
    return data[: noise.randint(0, len(data))]


def _gap(data: bytes, noise: random.Random) -> bytes:
    start = noise.randint(0, len(data))
    return data[:start] + data[start + noise.randint(0, 64) :]


def _inserted(data: bytes, noise: random.Random) -> bytes:
    at = noise.randint(0, len(data))
    return data[:at] + noise.choice([*CHUNKS, noise.randbytes(noise.randint(0, 40))]) + data[at:]


def _repeated(data: bytes, noise: random.Random) -> bytes:
    start = noise.randint(0, len(data))
    part = data[start : start + noise.randint(0, 200)]
    return data[:start] + part * noise.randint(2, 30) + data[start:]


def _declared(data: bytes, noise: random.Random) -> bytes:
    """Write an absurd length somewhere near the front, where formats keep theirs."""
    at, size = noise.randint(0, min(64, len(data))), noise.choice([4, 8])
    value = noise.choice([0, 2**31 - 1, 2**32 - 1, 2**62, noise.getrandbits(32)])
    written = (value % 256**size).to_bytes(size, noise.choice(["little", "big"]))
    return data[:at] + written + data[at + size :]


def _noise(data: bytes, noise: random.Random) -> bytes:
    return noise.randbytes(noise.randint(0, 300))


DAMAGES = (_flipped, _flipped, _cut, _gap, _inserted, _repeated, _declared, _noise)


def line(noise: random.Random, *, words: list[str] | None = None) -> str:
    """Return a line of real and absurd words, sometimes a very long one."""
    pool = WORDS + 3 * (words or [])
    count = noise.choice([0, 1, 2, 5, 9, 40]) if noise.random() < 0.98 else 600
    return noise.choice([" ", " ", "", "  "]).join(noise.choice(pool) for _ in range(count))


def value(noise: random.Random, *, depth: int = 0) -> Any:
    """Return a value that JSON can hold, of any kind and shape."""
    if depth < 3 and noise.random() < 0.3:
        inner = [value(noise, depth=depth + 1) for _ in range(noise.randint(0, 3))]
        return inner if noise.random() < 0.5 else {noise.choice(WORDS): one for one in inner}
    return noise.choice([None, True, 0, -1, 2, 10**9, 10**30, 1.5, -0.0, noise.choice(WORDS)])


def altered(tree: Any, noise: random.Random) -> Any:
    """Return a tree of dictionaries and lists with one branch lost, added or exchanged."""
    if isinstance(tree, dict) and tree and noise.random() < 0.9:
        key = noise.choice(list(tree))
        changed = dict(tree)
        fate = noise.random()
        if fate < 0.15:
            del changed[key]
        elif fate < 0.25:
            changed[noise.choice(WORDS)] = value(noise)
        else:
            changed[key] = altered(tree[key], noise)
        return changed
    if isinstance(tree, list) and tree and noise.random() < 0.7:
        place = noise.randrange(len(tree))
        return [*tree[:place], altered(tree[place], noise), *tree[place + 1 :]]
    return value(noise)


def settings_text(tree: dict[str, Any], noise: random.Random) -> str:
    """Write settings as YAML, altered or mangled, sometimes with anchors and tags."""
    if noise.random() < 0.5:
        return yaml.safe_dump(altered(tree, noise), allow_unicode=True)
    text = json.dumps(tree) if noise.random() < 0.3 else yaml.safe_dump(tree)
    lines = text.splitlines()
    place = noise.randrange(len(lines))
    marks = ["&a", "*a", "!!python/name:os.system", "<<: *a", "- ", "? ", "[", "{", "%"]
    extra = noise.choice(marks)
    lines[place] = noise.choice([extra, lines[place] + extra, extra + lines[place]])
    return "\n".join(lines)
