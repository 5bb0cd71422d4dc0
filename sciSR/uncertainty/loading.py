"""Error heads by task, and as files: safetensors in float16, and a card beside it with the calibration."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.uncertainty.interface import Calibration, ErrorModel

if TYPE_CHECKING:
    from sciSR.models.error_head import ErrorHead
    from sciSR.uncertainty.head import HeadModel

DEFAULT = "default"
"""Entry of a card's calibration for methods that it does not list."""
_DOMAINS = {"astronomy": "astro"}


def head_name(domain: str, forward: str, scale: int) -> str:
    """``error-astro-x2``, ``error-mr-kspace-x4``: the name that a task's head has."""
    kind = "" if domain == "astronomy" else f"-{forward}"
    return f"error-{_DOMAINS.get(domain, domain)}{kind}-x{scale}"


def load_error_model(domain: str, forward: str, scale: int, method: str) -> ErrorModel | None:
    """The model of a method's own error for a task.

    Parameters
    ----------
    domain : str
        Of the image: "astronomy", "mr".
    forward : str
        The forward model that is undone: "detector", "kspace", "gaussian".
    scale : int
    method : str
        A network's name or a classical method: which calibration.

    Returns
    -------
    ErrorModel or None
        None where no head is shipped for the task. A method that its card does not list has the calibration of the
        card's "default" entry, found on all methods together.
    """
    if domain == "astronomy" and forward not in ("", "detector"):
        return None
    head = load_head(head_name(domain, forward, scale))
    return None if head is None else replace(head, calibration=calibration_of(head.name, method))


@functools.lru_cache(maxsize=16)
def load_head(name: str) -> HeadModel | None:
    """A shipped head, not calibrated; None if there is none of the name."""
    from sciSR.models.files import error_head_paths

    path = error_head_paths().get(name)
    return None if path is None else read_head(path)


def read_head(path: Path) -> HeadModel:
    """A head from its file, not calibrated.

    Raises
    ------
    ModelError
        It can't be read, or is no error head.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from sciSR.errors import ModelError
    from sciSR.models.error_head import ErrorHead
    from sciSR.models.files import read_metadata
    from sciSR.uncertainty.head import HeadModel

    metadata = read_metadata(path) or {}
    try:
        facts = {key: json.loads(value) for key, value in metadata.items()}
        content = path.read_bytes()
        network = ErrorHead(**facts["arguments"])
        network.load_state_dict({key: value.float() for key, value in load(content).items()})
        name, normalisation = str(facts["name"]), str(facts["normalisation"])
    except (KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"no error head ({str(error).splitlines()[0]})", where=path) from error
    return HeadModel(
        name,
        hashlib.sha256(content).hexdigest(),
        network.scale,
        network.receptive_field(),
        Calibration(),
        normalisation,
        network.eval().requires_grad_(False),
    )


def save_head(path: Path, network: ErrorHead, facts: Mapping[str, Any]) -> str:
    """Write a head's weights in float16, whole or not at all.

    Parameters
    ----------
    path : Path
    network : ErrorHead
    facts : mapping
        JSON-ready: name, arguments, domain, forward_model, scale, normalisation.

    Returns
    -------
    str
        SHA-256 of the file.
    """
    from safetensors.torch import save

    from sciSR.files import atomic_output
    from sciSR.models.files import ordered

    tensors = {key: value.detach().half().cpu().contiguous() for key, value in network.state_dict().items()}
    metadata = {key: json.dumps(value, sort_keys=True) for key, value in facts.items()}
    content = ordered(save(tensors, metadata=metadata))
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def calibration_of(name: str, method: str) -> Calibration:
    """What a shipped head's card says of a method; that of a normal distribution where it says nothing."""
    found = calibrations(name)
    row = found.get(method, found.get(DEFAULT))
    if row is None:
        return Calibration()
    return Calibration(float(row["factor"]), float(row["interval_95"]), int(row["files"]), True)


@functools.lru_cache(maxsize=16)
def calibrations(name: str) -> Mapping[str, Mapping[str, Any]]:
    """All calibrations of a shipped head: by method, ``{"factor", "interval_95", "files"}``. Empty without a card."""
    from ruamel.yaml import YAML

    from sciSR.models.files import error_head_paths

    path = error_head_paths().get(name)
    card = None if path is None else path.with_suffix(".yaml")
    if card is None or not card.exists():
        return {}
    document = YAML(typ="safe", pure=True).load(card.read_text(encoding="utf-8")) or {}
    return dict((document.get("calibration") or {}).get("methods") or {})
