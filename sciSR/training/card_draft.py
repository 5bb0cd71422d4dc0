"""The card of a trained network as far as the run knows it: data, recipe, machine, time. Its table comes later."""

from __future__ import annotations

import datetime
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sciSR.files import atomic_output
from sciSR.models.files import load_model
from sciSR.training.checkpoint import State
from sciSR.training.config import TrainConfig
from sciSR.training.logs import duration
from sciSR.training.pair import Patches
from sciSR.training.run_folder import RunFolder, write_yaml

PACKAGES = ("torch", "lightning", "numpy", "safetensors")
"""Whose versions a result may depend on."""
HASHED = 50e9
"""Bytes: a few minutes of reading."""


def write_draft(run: RunFolder, config: TrainConfig, patches: Patches, state: State, fabric: Any) -> None:
    """Write ``NAME.yaml`` beside the weights."""
    root = getattr(getattr(patches, "files", None), "root", Path(config.data.root))
    model, _, digest = load_model(run.weights)
    facts = {
        "sha256": digest,
        "bytes": run.weights.stat().st_size,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "steps": state.step,
        "seconds": state.seconds,
        "validation": state.history[-1] if state.history else {},
        "hardware": hardware(fabric.device, fabric.world_size),
        "versions": versions(),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }
    card = draft(config, files_of(patches, root), facts)
    with atomic_output(run.card, overwrite=True) as temporary:
        write_yaml(temporary, card)


def draft(config: TrainConfig, files: list[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """The card as plain data.

    Parameters
    ----------
    config : TrainConfig
        Its ``card`` (summary, limits, notes, ...) goes in as it is.
    files : list of dict
        ``file``, ``sha256`` and, where known, ``licence`` and ``origin`` of each.
    facts : dict
        Of the run, see `write_draft`.

    Returns
    -------
    dict
        Without ``measured``, which `scisr evaluate` finds.
    """
    recipe = config.as_dict()
    words = recipe.pop("card")
    validation = facts["validation"]
    known = {
        "name": config.name,
        "summary": words.pop("summary", "(say in one sentence what it is for)"),
        "sha256": facts["sha256"],
        "bytes": facts["bytes"],
        "parameters": facts["parameters"],
        "licence": words.pop("licence", "BSD-3-Clause"),
        "domain": config.domain,
        "architecture": config.model.architecture,
        "scale": config.model.scale,
        "forward_model": {"name": "/".join(config.forward.kinds), **recipe["forward"]},
        "normalisation": config.normalisation,
        "consistency": {"default": config.consistency},
        "limits": words.pop("limits", ["Not evaluated yet."]),
        "data": {"files": files},
        "training": {
            "steps": facts["steps"],
            "time": f"{duration(facts['seconds'])} (hours, minutes and seconds)",
            "hardware": facts["hardware"],
            "seed": config.training.seed,
            "commit": facts["commit"],
            "versions": facts["versions"],
            "validation": {
                key: round(float(value), 6) for key, value in validation.items() if "step" not in key
            },
        },
        "recipe": recipe,
        "date": facts["date"],
    }
    return known | words


def files_of(patches: Patches, root: Path) -> list[dict[str, Any]]:
    """The files that patches come from: ``file`` (below the root), ``role``, ``sha256``, and ``licence`` and ``origin``
    where a table (``*.tsv``) at the data root states them.

    Files of more than `HASHED` bytes together are not hashed: that would take longer than it is worth.
    """
    from sciSR.evaluation.terms import read_terms, terms_of

    rows = []
    table = read_terms(root)
    for row in _listed(patches):
        terms = terms_of(row["file"], table)
        stated = {} if terms is None else {"licence": terms.stated or terms.licence, "origin": terms.origin}
        rows.append(row | stated)
    return rows


def _listed(patches: Patches) -> list[dict[str, Any]]:
    """From what a patch file says of its files, or from the files themselves."""
    if hasattr(patches, "about"):
        rows = [dict(row) for row in patches.about.get("files", [])]
        return [{"file": row["name"], **{k: row[k] for k in ("role", "sha256") if k in row}} for row in rows]
    files = getattr(patches, "files", None)
    if files is None:
        return []
    from sciSR.training.prepare import sha256

    chosen = [(role, path) for role in ("train", "validation") for path in getattr(files, role)]
    hashed = sum(path.stat().st_size for _, path in chosen) < HASHED
    return [
        {"file": path.relative_to(files.root).as_posix(), "role": role}
        | ({"sha256": sha256(path)} if hashed else {})
        for role, path in chosen
    ]


def hardware(device: torch.device, processes: int) -> str:
    """The machine in a few words."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return f"{processes} x {name}" if processes > 1 else name
    threads = torch.get_num_threads()
    kind = platform.processor() or platform.machine()
    return f"{kind}, processes: {processes}, CPU threads of each: {threads}"


def versions() -> dict[str, str]:
    """Of Python, of sciSR, and of what a result may depend on."""
    from sciSR import __version__

    found = {"sciSR": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit of sciSR's source tree; None where it is installed as a package, perhaps inside another tree."""
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40")


def _git(folder: Path, *words: str) -> str | None:
    """What git says, or None."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
