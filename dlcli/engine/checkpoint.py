"""Checkpoints: written whole, checked before they are believed, loaded without running code.

A checkpoint is what `torch.save` writes, followed by a trailer:

    <zip file of torch.save> <JSON: format, kind, size, sha256> <its length, 4 bytes> DLCHKPT1

A zip file is found from its end but tolerates a tail, so `torch.load(path, weights_only=True)`
reads it directly; our reader looks at the trailer first and unpickles nothing before the checksum
and the format version agree.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from dlcli.engine.files import write_whole
from dlcli.errors import CheckpointError

FORMAT_VERSION = 1
MAGIC = b"DLCHKPT1"
MAX_TRAILER = 4096


def save_checkpoint(path: Path, state: dict[str, Any], *, kind: str) -> None:
    """Write `state` to `path`, atomically.

    Args:
        path: the file; its folder must exist.
        state: tensors, numbers, strings, lists and dictionaries only.
        kind: which program part can read it, such as `vae`.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    trailer = json.dumps(
        {
            "format": FORMAT_VERSION,
            "kind": kind,
            "size": buffer.tell(),
            "sha256": hashlib.sha256(buffer.getbuffer()).hexdigest(),
        }
    ).encode()
    buffer.write(trailer + len(trailer).to_bytes(4, "little") + MAGIC)
    write_whole(path, buffer.getbuffer())  # a view: a large network is held once, not three times


def load_checkpoint(path: Path, *, kind: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read and check a checkpoint.

    Args:
        path: the file.
        kind: what it must be a checkpoint of.
        device: where its tensors go (`map_location`).

    Raises:
        CheckpointError: it is missing, cut off, changed, of another kind, from a newer version, or
            holds anything but tensors and plain values.
    """
    try:
        kind_of_file = stat.S_IFMT(path.stat().st_mode)
        if kind_of_file not in (stat.S_IFREG, stat.S_IFDIR):  # a pipe waits, a device never ends
            raise CheckpointError(f"The checkpoint {path} is not a regular file.", hint=_REPLACE)
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read: {error.strerror}.",
            hint="Check the path, or train again.",
        ) from None
    payload = _checked_payload(data, path=path, kind=kind)
    try:
        _refuse_bomb(payload, path=path)
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(io.BytesIO(payload), weights_only=True, map_location=device)
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except Exception:  # whatever a crafted pickle makes torch stumble over
        raise CheckpointError(
            f"The checkpoint {path} holds something other than tensors and plain values.",
            hint="It was not loaded, since that could run code; use a checkpoint written by dl.",
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(f"The checkpoint {path} holds no run.", hint=_REPLACE)
    return state


_REPLACE = "Use another checkpoint of the run (last.pt, best.pt or an epoch-*.pt), or train again."


def _refuse_bomb(payload: bytes, *, path: Path) -> None:
    """Refuse a zip file whose entries would unpack to far more than they take here."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        inflated = sum(entry.file_size for entry in archive.infolist())
    if inflated > 2 * len(payload) + 1_000_000:
        raise CheckpointError(
            f"The checkpoint {path} declares more data than it holds.", hint=_REPLACE
        )


def _checked_payload(data: bytes, *, path: Path, kind: str) -> bytes:
    trailer = _trailer(data)
    if trailer is None:
        raise CheckpointError(
            f"{path} is not a whole dl checkpoint: its end is missing.", hint=_REPLACE
        )
    if trailer.get("format") != FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint {path} has format {trailer.get('format')}, and this dl reads format "
            f"{FORMAT_VERSION}.",
            hint="Upgrade dl to the version that wrote it.",
        )
    payload = data[: trailer["size"]] if isinstance(trailer.get("size"), int) else b""
    if hashlib.sha256(payload).hexdigest() != trailer.get("sha256"):
        raise CheckpointError(
            f"The checkpoint {path} is damaged: its checksum does not agree.", hint=_REPLACE
        )
    if trailer.get("kind") != kind:
        raise CheckpointError(
            f"The checkpoint {path} is of a {trailer.get('kind')} run, not of a {kind} run.",
            hint=f"Choose a {kind} run: `dl runs list` shows them.",
        )
    return payload


def _trailer(data: bytes) -> dict[str, Any] | None:
    tail = len(MAGIC) + 4
    if len(data) < tail or not data.endswith(MAGIC):
        return None
    length = int.from_bytes(data[-tail : -len(MAGIC)], "little")
    if not 0 < length <= min(MAX_TRAILER, len(data) - tail):
        return None
    try:
        found = json.loads(data[-tail - length : -tail])
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("size") != len(data) - tail - length:
        return None
    return found
