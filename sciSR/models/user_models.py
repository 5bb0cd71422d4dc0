"""The user's own models: a folder of weights files that are known by name, like the shipped ones."""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciSR.errors import ModelError, SciSRWarning, UsageError
from sciSR.files import atomic_output
from sciSR.models.spec import ModelSpec
from sciSR.provenance import file_sha256

VARIABLE = "SCISR_MODELS"
"""Environment variable that names the folder."""

RESERVED = ("auto", "nearest", "linear", "cubic", "lanczos", "fourier")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def user_folder() -> Path:
    """Where the user's models lie: ``$SCISR_MODELS``, or the platform's folder for a user's data.

    Returns
    -------
    Path
        It need not exist. Linux: ``$XDG_DATA_HOME/sciSR/models``, ``~/.local/share`` by default (XDG Base Directory
        Specification); macOS: ``~/Library/Application Support``; Windows: ``%LOCALAPPDATA%``.
    """
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        told = Path(os.environ.get("XDG_DATA_HOME", ""))
        base = told if told.is_absolute() else Path.home() / ".local" / "share"
    return base / "sciSR" / "models"


def user_paths() -> dict[str, Path]:
    """Weights files of the user's models, by name."""
    return {path.stem: path for path in sorted(user_folder().glob("*.safetensors"))}


def known_names() -> set[str]:
    """Names that a method or a model can be called by here: found without importing torch, for checks of plans."""
    shipped = Path(__file__).resolve().parent.parent / "weights"
    files = (path.stem for path in shipped.glob("*.safetensors") if not path.stem.startswith("error-"))
    return {*RESERVED, *files, *user_paths()}


def add_model(path: str | Path, name: str | None = None, *, overwrite: bool = False) -> Path:
    """Check a weights file and take it, with the card beside it, into the user's folder.

    Parameters
    ----------
    path : str or Path
        Written by `sciSR.models.files.save_model`; ``NAME.yaml`` beside it is its card.
    name : str, optional
        What it will be called; by default the name in its metadata. Another name is written into the copy.
    overwrite : bool
        Replace a model of the user's with this name.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    ModelError
        The file does not keep what its spec promises, or its name is impossible, shipped, or taken.
    """
    from sciSR.models.files import shipped_paths
    from sciSR.models.validate import check_model

    path = Path(path)
    if not path.is_file():
        raise ModelError("no such file", where=path)
    if path.suffix != ".safetensors":
        raise ModelError(
            "no .safetensors file",
            where=path,
            remedy="community checkpoints are given to --model as they are",
        )
    spec = check_model(path)  # refuses what has no metadata of ours
    name = name or spec.name
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise ModelError(f"{name!r} can't name a model", remedy="give --name: letters, digits and . _ + -")
    if name in shipped_paths():
        raise ModelError(f"{name} is the name of a shipped model", remedy="give --name another")
    target = user_folder() / f"{name}.safetensors"
    if target.exists() and not overwrite:
        raise ModelError(
            f"you have a model {name} already", where=target, remedy="give --overwrite, or --name"
        )
    card = _read_card(path.with_suffix(".yaml"))
    target.parent.mkdir(parents=True, exist_ok=True)
    if name == spec.name:
        with atomic_output(target, overwrite=True) as temporary:
            shutil.copyfile(path, temporary)
    else:
        _copy_renamed(path, target, replace(spec, name=name))
    _write_card(card, target)
    return target


def remove_model(name: str) -> Path:
    """Delete one of the user's models, and its card.

    Raises
    ------
    ModelError
        The user has no such model; shipped ones can't be removed.
    """
    from sciSR.models.files import shipped_paths

    path = user_paths().get(name)
    if path is None:
        reason = "is shipped, and stays" if name in shipped_paths() else "is none of your models"
        known = ", ".join(user_paths()) or "none"
        raise ModelError(f"{name!r} {reason} (yours: {known})", where=user_folder())
    path.unlink()
    path.with_suffix(".yaml").unlink(missing_ok=True)
    return path


def _copy_renamed(path: Path, target: Path, spec: ModelSpec) -> None:
    """The same tensors with another name in the metadata."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, "pt") as file:
        metadata = {**file.metadata(), **spec.to_metadata()}
    with atomic_output(target, overwrite=True) as temporary:
        save_file(load_file(path), temporary, metadata=metadata)


def _read_card(path: Path) -> Any:
    """A card with its comments and order; None if there is none."""
    if not path.is_file():
        return None
    from ruamel.yaml import YAML

    from sciSR.yaml_file import parse

    try:
        parse(path)  # refuses, before comments and order are looked at, what is no card or grows without end
        return YAML().load(path.read_text(encoding="utf-8"))
    except UsageError as error:
        raise ModelError(f"the card is not readable YAML ({error.what})", where=error.where) from error
    except Exception as error:  # what the reader that keeps comments takes otherwise
        raise ModelError(f"the card is not readable YAML ({error})", where=path) from error


def _write_card(card: Any, target: Path) -> None:
    """The card beside the copy; name, checksum and size in it are the copy's."""
    beside = target.with_suffix(".yaml")
    if card is None:
        beside.unlink(missing_ok=True)  # of a model that was replaced
        return
    from ruamel.yaml import YAML

    card.update({"name": target.stem, "sha256": file_sha256(target), "bytes": target.stat().st_size})
    yaml = YAML()
    yaml.width = 120
    with atomic_output(beside, overwrite=True) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        yaml.dump(card, stream)


def list_user_models() -> list[ModelSpec]:
    """Specs of the user's models, by name; reads headers only, and warns of files that are none."""
    from sciSR.models.files import read_metadata

    specs = []
    for path in user_paths().values():
        try:
            specs.append(replace(ModelSpec.from_metadata(read_metadata(path), path.name), name=path.stem))
        except ModelError as error:
            warnings.warn(f"one of your models is left out: {error}", SciSRWarning, stacklevel=2)
    return specs
