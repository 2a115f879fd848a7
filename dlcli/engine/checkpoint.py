"""A run's weights: checkpoints, exported models, and how a network is built from either.

Checkpoints are written whole, checked before they are believed, and loaded without running code. A
checkpoint is what `torch.save` writes, followed by a trailer:

    <zip file of torch.save> <JSON: format, kind, size, sha256> <its length, 4 bytes> DLCHKPT1

A zip file is found from its end but tolerates a tail, so `torch.load(path, weights_only=True)`
reads it directly; our reader looks at the trailer first and unpickles nothing before the checksum
and the format version agree. An exported run has `model.safetensors` beside its `config.yaml`
instead of checkpoints: weights that carry no code, no optimiser and no way to resume.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.overrides import TorchFunctionMode

from dlcli.engine.config import load_yaml
from dlcli.engine.files import write_whole
from dlcli.engine.runs import RunFolder, create_run
from dlcli.errors import CheckpointError, UsageFault

FORMAT_VERSION = 1
MAGIC = b"DLCHKPT1"
MAX_TRAILER = 4096
ALIGNED = 64
"""Bytes at whose multiples torch puts tensors; of others, sums may be taken in another order."""
EXPORTED = "exported"
"""The name under which an exported run gives its weights."""
AVERAGE = "average"
"""The checkpoint of averaged weights, which is kept only where it is a run's result."""
EXPORT_FORMAT = "1"
EXPORTED_RECORD = (
    *("kind", "title", "status", "seed", "result", "signature", "metrics"),
    *("command", "started", "machine", "git", "device", "precision", "threads", "processes"),
)
"""What an export keeps of run.json."""
FOLDER_FLAGS = ("--out", "-o", "--resume")
"""Flags whose value is a folder of the machine that trained."""

N = TypeVar("N", bound=nn.Module)

_CHANGED = "The file was changed: use another checkpoint of the run, or train again."


def save_checkpoint(path: Path, state: dict[str, Any], *, kind: str) -> None:
    """Write `state` to `path`, atomically.

    Args:
        path: the file; its folder must exist.
        state: tensors, numbers, strings, lists and dictionaries only.
        kind: which program part can read it, such as `vae`.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with buffer.getbuffer() as view:  # no copy: a large network is held once, not three times
        trailer = json.dumps(
            {
                "format": FORMAT_VERSION,
                "kind": kind,
                "size": len(view),
                "sha256": hashlib.sha256(view).hexdigest(),
            }
        ).encode()
    buffer.write(trailer + len(trailer).to_bytes(4, "little") + MAGIC)
    with buffer.getbuffer() as view:
        write_whole(path, view)


def load_checkpoint(path: Path, *, kind: str) -> dict[str, Any]:
    """Read and check a checkpoint; its tensors are on the CPU.

    Args:
        path: the file.
        kind: what it must be a checkpoint of.

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
            state = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
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
            f"The checkpoint {path} is of a run of kind {trailer.get('kind')}, not {kind}.",
            hint=f"Choose one of kind {kind}: `dl runs list` shows them.",
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


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """Settings and weights of a trained network."""

    name: str
    """`best`, `last`, `epoch-0010` or `exported`."""
    path: Path
    config: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    """Name → float32 tensor on the CPU, in the forms of `Module.state_dict`."""


def load_model(run: RunFolder, *, kind: str, checkpoint: str | None = None) -> SavedModel:
    """Read the settings and weights of a run.

    Args:
        run: a run folder.
        kind: what it must be a run of, such as `vae`.
        checkpoint: `last`, `best`, `average`, `epoch-0010`, `exported`; None is the run's result.

    Raises:
        UsageFault: the run has no checkpoint of that name.
        CheckpointError: its result is missing, or what there is is damaged or of another kind.
    """
    name = checkpoint or result_name(run)
    if name == EXPORTED:
        return _load_exported(run, kind=kind)
    path = run.checkpoint(name)
    kept = sorted(file.stem for file in run.checkpoints.glob("*.pt"))
    if checkpoint is not None and kept and not path.is_file():
        raise UsageFault(
            f"{run.path} has no checkpoint '{checkpoint}'.", hint=f"Choose from {', '.join(kept)}."
        )
    state = load_checkpoint(path, kind=kind)
    config, weights = state.get("config"), state.get("model")
    if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
        raise CheckpointError(f"The checkpoint {path} holds no model.", hint="Choose another run.")
    return SavedModel(name=name, path=path, config=config, weights=weights)


def result_name(run: RunFolder) -> str:
    """Name what holds a run's result: `average`, else `best`, `last`, a snapshot, the export."""
    for name in (AVERAGE, "best", "last"):
        if run.checkpoint(name).is_file():
            return name
    epochs = snapshot_epochs(run)
    if epochs:
        return snapshot_name(epochs[-1])
    return EXPORTED if run.exported_file.is_file() else "last"


def snapshot_name(epoch: int) -> str:
    """Return the name of the checkpoint kept after `epoch` epochs."""
    return f"epoch-{epoch:04d}"


def snapshot_epochs(run: RunFolder) -> list[int]:
    """List the epochs whose checkpoints a run has kept, in order."""
    epochs = (snapshot_epoch(path) for path in run.checkpoints.glob("epoch-*.pt"))
    return sorted(epoch for epoch in epochs if epoch is not None)


def snapshot_epoch(path: Path) -> int | None:
    """Return the epoch of a kept checkpoint's path, or None for `last` and `best`."""
    number = path.stem.removeprefix("epoch-")
    return int(number) if path.stem.startswith("epoch-") and number.isdigit() else None


def build_from(build: Callable[[], N], weights: Mapping[str, Any], *, source: str) -> N:
    """Build the network that weights are of, and give it these.

    It is built where tensors have a shape and take no room, and is not initialised: settings may
    ask for a network larger than any memory, whatever the weights beside them are of.

    Args:
        build: builds the network from the settings beside the weights.
        weights: see `SavedModel.weights`.
        source: where they are from, for the message.

    Raises:
        CheckpointError: the weights are those of another network.
    """
    with torch.device("meta"), _WithoutNormalDraws():
        network = build()
    wanted = network.state_dict()
    forms = {name: _form(tensor) for name, tensor in wanted.items()}
    if {name: _form(value) for name, value in weights.items()} != forms:
        raise _of_another_network(source, hint=_CHANGED)
    network.load_state_dict(
        {name: _placed(weights[name], like=tensor) for name, tensor in wanted.items()}, assign=True
    )
    return network


def _placed(weight: torch.Tensor, *, like: torch.Tensor) -> torch.Tensor:
    """Return a weight in memory of its own, laid out as the network has it."""
    alone = weight.untyped_storage().nbytes() == weight.nbytes and not weight.data_ptr() % ALIGNED
    if alone and (weight.dtype, weight.stride()) == (like.dtype, like.stride()):
        return weight
    return torch.empty_strided(like.size(), like.stride(), dtype=like.dtype).copy_(weight)


class _WithoutNormalDraws(TorchFunctionMode):
    """Leave tensors as they are where they would be drawn: without data, that is slow.

    For a tensor without data, `normal_` imports torch's compiler, which takes two seconds.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is nn.init.normal_:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _form(value: object) -> tuple[tuple[int, ...], bool] | None:
    """Return the shape of a tensor and whether it holds real numbers."""
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(value.shape), value.is_floating_point()


def load_weights_into(
    network: nn.Module, weights: Mapping[str, Any], *, source: str, hint: str
) -> None:
    """Load a run's weights.

    Args:
        network: takes them.
        weights: see `SavedModel.weights`.
        source: where they are from, for the message.
        hint: what to do where they do not fit.

    Raises:
        CheckpointError: they are those of another network.
    """
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError):
        raise _of_another_network(source, hint=hint) from None


def load_checkpoint_into(network: nn.Module, run: RunFolder, *, kind: str, checkpoint: str) -> None:
    """Load the weights of one of a run's own checkpoints; see `load_model`."""
    saved = load_model(run, kind=kind, checkpoint=checkpoint)
    load_weights_into(network, saved.weights, source=str(saved.path), hint=_CHANGED)


def _of_another_network(source: str, *, hint: str) -> CheckpointError:
    return CheckpointError(f"The weights in {source} are not those of this network.", hint=hint)


def _load_exported(run: RunFolder, *, kind: str) -> SavedModel:
    path = run.exported_file
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The weights {path} cannot be read: {error}.",
            hint="Export the run again, or reinstall the package if it came with it.",
        ) from None
    if about.get("kind") != kind or about.get("format") != EXPORT_FORMAT:
        raise CheckpointError(
            f"The weights {path} are of kind '{about.get('kind')}', format {about.get('format')}; "
            f"this needs '{kind}', format {EXPORT_FORMAT}.",
            hint="Choose another run, or update dlcli.",
        )
    whole = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    return SavedModel(name=EXPORTED, path=path, config=load_yaml(run.config_file), weights=whole)


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    size: int
    """Bytes of all files."""


def export_run(
    run: RunFolder,
    *,
    out: Path,
    describe_data: Callable[[str], str],
    half: bool = True,
    checkpoint: str | None = None,
) -> Export:
    """Write a run's result as a folder that every `--run` takes, without optimiser or code.

    Args:
        run: a trained run.
        out: the folder to make.
        describe_data: says what a data set holds, by its name.
        half: whether to store matrices and kernels as float16.
        checkpoint: see `dlcli.engine.checkpoint.load_model`.

    Raises:
        UsageFault: the folder exists, or the run says of no kind what it is.
        CheckpointError: the weights cannot be read.
        RunFailed: the folder cannot be written.
    """
    record = run.record()
    kind = record.get("kind")
    if not isinstance(kind, str):
        raise UsageFault(
            f"{run.path} does not say what kind of run it is.", hint="Its run.json is damaged."
        )
    saved = load_model(run, kind=kind, checkpoint=checkpoint)
    folder = create_run("export", out=out, force=False, if_taken="Choose another --out.")
    for empty in (folder.checkpoints, folder.figures):
        empty.rmdir()
    for file in [run.config_file, *sorted(run.path.glob("tokenizer*"))]:
        shutil.copyfile(file, folder.path / file.name)
    save_exported(folder, saved.weights, kind=kind, half=half)
    kept = {name: record[name] for name in EXPORTED_RECORD if name in record}
    if run.origin is not None:
        kept["init_from"] = run.origin
    if "command" in kept:
        kept["command"] = _command(kept["command"])
    if isinstance(kept.get("result"), Mapping):
        kept["result"] = {k: v for k, v in kept["result"].items() if k != "run"}
    folder.update_record(**kept, exported={"checkpoint": saved.name, "half": half})
    write_whole(
        folder.path / "README.md",
        card(record=record, half=half, describe_data=describe_data).encode(),
    )
    files = tuple(sorted(path for path in folder.path.iterdir() if path.is_file()))
    return Export(folder=folder.path, files=files, size=sum(file.stat().st_size for file in files))


def save_exported(
    folder: RunFolder, weights: Mapping[str, torch.Tensor], *, kind: str, half: bool
) -> None:
    """Write `model.safetensors`, whole or not at all.

    Args:
        folder: where to.
        weights: name → tensor.
        kind: what the weights are of.
        half: whether matrices and kernels are stored as float16. What has fewer than two
            dimensions (biases, normalisation statistics) takes no room and keeps its precision.
    """
    stored = {}
    for name, tensor in weights.items():
        halved = half and tensor.is_floating_point() and tensor.dim() > 1
        kept = tensor.half() if halved else tensor
        stored[name] = kept.clone(memory_format=torch.contiguous_format)
    data = save(stored, metadata={"kind": kind, "format": EXPORT_FORMAT})
    write_whole(folder.exported_file, data)


def card(*, record: Mapping[str, Any], half: bool, describe_data: Callable[[str], str]) -> str:
    """Write a model card from a run's record: what it is, how it was trained, what it reaches."""
    machine, result = record.get("machine", {}), record.get("result", {})
    data = str(result.get("data", "unknown"))
    place = f"{record.get('device')}, {machine.get('platform')}, {record.get('threads')} threads"
    facts = {
        "Data": describe_data(data),
        "Command": f"`{' '.join(_command(record.get('command', [])))}`, settings in `config.yaml`",
        **_resumed(record),
        "Trained": f"{record.get('started')}, {result.get('train_s', 0) / 3600:.2f} hours of "
        f"updates in {record.get('precision')} ({place}, torch {machine.get('torch')})",
        "Weights": f"{'float16' if half else 'float32'} matrices, float32 elsewhere",
        "Signature": f"`{record.get('signature')}`",
    }
    lines = [
        f"# {record.get('title', record.get('kind'))}",
        "",
        *(f"- **{name}:** {fact}" for name, fact in facts.items()),
        "",
        "| measured | |",
        "|---|---|",
        *(f"| {name} | {_number(value)} |" for name, value in record.get("metrics", {}).items()),
        "",
    ]
    return "\n".join(lines)


def _resumed(record: Mapping[str, Any]) -> dict[str, str]:
    """Say with which commands a training was resumed, each of them once."""
    parts = record.get("resumed")
    known = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    later = [" ".join([*_command(part.get("command", [])), "--resume RUN"]) for part in known]
    said = "; ".join(f"`{command}`" for command in dict.fromkeys(later))
    return {"Resumed with": said} if said else {}


def _command(words: Sequence[object]) -> list[str]:
    """Return a recorded command as anyone would type it: `dl …`, without this machine's folders."""
    kept: list[str] = []
    skip = True  # the first word is the program's path
    for word in map(str, words):
        if not skip and word not in FOLDER_FLAGS and not word.startswith("--out="):
            kept.append(word)
        skip = word in FOLDER_FLAGS
    return ["dl", *kept]


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
