"""Damage: bytes and words as broken discs, wrong programs and bored people leave them."""

from __future__ import annotations

import json
import random
from typing import Any

import yaml

NUMBERS = ["0", "-1", "1", "3", "-0", "007", "1e3", "1e999", "nan", "-inf", "2.5", "9" * 20, "0x10"]
LETTERS = ["a", "Z", "é", "ß", "œ", "中", "🙂", "e\u0301", "👩\u200d👩"]
SIGNS = ["\x00", "\x1b[2J", *"\t\r\n\ufeff\ufffd\u202e\u200b\u2028'\"\\"]
MARKS = ["-", "--", "|||", "▁", "<unk>", "</s>", "...", "a=b", "=", ",", ";", "~", "../..", "/"]
SHELL = ["%s", "{}", "$HOME", "*"]
SETTINGS = ["none", "null", "true", "no", "latest"]
WORDS = [*NUMBERS, *LETTERS, *SIGNS, *MARKS, *SHELL, "", " ", *SETTINGS]
CHUNKS = [b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b"\r\n", b"\t"]


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
