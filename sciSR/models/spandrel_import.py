"""Importing spandrel, which knows the architectures of community checkpoints, with or without torchvision."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

from sciSR.errors import ModelError


def import_spandrel() -> Any:
    """The module spandrel, also where torchvision is missing or broken.

    spandrel imports three names of torchvision for networks that fill in or restore faces, which are not for us; there
    they get stand-ins that refuse to be called, for the time of the import only.
    """
    if "spandrel" in sys.modules:
        return sys.modules["spandrel"]
    with _torchvision_stand_in():
        return importlib.import_module("spandrel")


@contextlib.contextmanager
def _torchvision_stand_in() -> Iterator[None]:
    if _torchvision_works():
        yield
        return

    def missing(*_: object, **__: object) -> None:
        raise ModelError("this network needs torchvision, which is not installed")

    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[0]].transforms = modules[names[1]]  # type: ignore[attr-defined]
    modules[names[1]].functional = modules[names[2]]  # type: ignore[attr-defined]
    for name in ("InterpolationMode", "rotate", "normalize"):
        setattr(modules[names[2]], name, missing)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def _torchvision_works() -> bool:
    """A torchvision built for another torch is there, but fails on import."""
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision.transforms.functional")
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        return False
    return True
