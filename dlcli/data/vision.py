"""The one place that imports torchvision.

A torchvision wheel carries a compiled part, built for one exact torch. Where torch is a CPU build
and torchvision the registry's (CUDA) build, that part cannot load, and `import torchvision` then
fails with "operator torchvision::nms does not exist": its Python code describes two operators that
are not declared. The tool needs only the pure-Python parts, so the two operators are declared here,
without any implementation, before the first import - and only then: where the compiled part loads,
torchvision is left as it is.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
from types import ModuleType
from typing import Any

import torch

_torch: Any = torch  # torch.library and torch.ops carry no types
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def torchvision_module(name: str) -> ModuleType:
    """Import a module of torchvision, such as `"torchvision.datasets.mnist"`.

    Raises:
        ImportError: torchvision is not installed.
    """
    prepare()
    return importlib.import_module(name)


@functools.cache
def prepare() -> object:
    """Make `import torchvision` possible, once a process.

    Returns:
        The library that declares the missing operators (the cache keeps it alive, for the
        declarations end with it), or None where nothing had to be declared.
    """
    if compiled_part_loads():
        return None
    missing = [name for name in _OPERATORS if not hasattr(_torch.ops.torchvision, name)]
    if not missing:  # another package has come to the same idea first
        return None
    library = _torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(name + _SIGNATURE)
    return library


def compiled_part_loads() -> bool:
    """Say whether torchvision's compiled part fits this torch: load it, as torchvision does."""
    package = importlib.util.find_spec("torchvision")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        details = (
            importlib.machinery.ExtensionFileLoader,
            importlib.machinery.EXTENSION_SUFFIXES,
        )
        found = importlib.machinery.FileFinder(folder, details).find_spec("_C")
        if found is not None and found.origin is not None:
            try:
                _torch.ops.load_library(found.origin)
            except (ImportError, OSError):
                return False
            return True
    return False
