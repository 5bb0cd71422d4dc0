"""Weights files (safetensors with the spec in their metadata) and their cards."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import nn

from sciSR.errors import ModelError, SciSRWarning, Terminated
from sciSR.files import atomic_output
from sciSR.models.spec import ModelSpec, receptive_field

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
ERRORS = "error-"
"""What the names of error heads begin with: they tell how wrong a model is, and upscale nothing."""
PICKLES = (".pth", ".pt", ".ckpt")
"""Suffixes of torch's own files."""
_SHA256 = re.compile(rb"^sha256:\s*['\"]?([0-9a-f]{64})\b", re.MULTILINE)
_ABSURD = 100_000
"""How many times the weights the product of a network's numbers may be; 2,000 of one of ours."""
ARCHITECTURES = {
    "ConditionalECBSR": "sciSR.models.ecbsr:ConditionalECBSR",
    "ECBSR": "sciSR.models.ecbsr:ECBSR",
    "EDSR": "sciSR.models.edsr:EDSR",
    "ESPCN": "sciSR.models.espcn:ESPCN",
    "FSRCNN": "sciSR.models.fsrcnn:FSRCNN",
    "LapSRN": "sciSR.models.lapsrn:LapSRN",
    "SPAN": "sciSR.models.span:SPAN",
    "SRCNN": "sciSR.models.srcnn:SRCNN",
    "SRResNet": "sciSR.models.srresnet:SRResNet",
    "SparseCoding": "sciSR.models.sparse_coding:SparseCoding",
    "ThroughPlane": "sciSR.models.through_plane:ThroughPlane",
    "VDSR": "sciSR.models.vdsr:VDSR",
}
"""Our networks: name and where the class is; a module is imported when its network is wanted."""


def architecture(name: str) -> Callable[..., nn.Module]:
    """Constructor of an architecture: ours, or one that a package registered under the entry points
    ``scisr.models``."""
    if name in ARCHITECTURES:
        module, _, attribute = ARCHITECTURES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    found = {point.name: point for point in entry_points(group="scisr.models")}
    if name in found:
        try:
            return found[name].load()
        except Terminated:
            raise
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"architecture {name}: its plugin {found[name].value} fails to load ({error})"
            ) from error
    known = ", ".join(sorted({*ARCHITECTURES, *found}))
    raise ModelError(f"architecture {name!r} is unknown (known: {known}); install the plugin that has it")


def save_model(
    path: str | Path, model: nn.Module, spec: ModelSpec, extra: Mapping[str, str] | None = None
) -> None:
    """Write weights and spec; float32, contiguous, whole or not at all (temporary file and rename).

    Parameters
    ----------
    path : str or Path
    model : torch.nn.Module
    spec : ModelSpec
    extra : mapping of str to str, optional
        More metadata, e.g. the configuration that it was trained with.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().float().cpu().contiguous() for key, value in model.state_dict().items()}
    content = ordered(save(tensors, metadata={**(extra or {}), **spec.to_metadata()}))
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_bytes(content)


def ordered(content: bytes) -> bytes:
    """A safetensors file with its metadata in order, so that the same weights give the same bytes: the library
    writes them in an order of chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of eight
    return len(text).to_bytes(8, "little") + text + content[end:]


def build(spec: ModelSpec) -> nn.Module:
    """The network that a spec describes, with fresh weights."""
    constructor = architecture(spec.architecture)
    arguments = dict(spec.arguments)
    taken = inspect.signature(constructor).parameters
    if "scale" in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        arguments["scale"] = spec.scale
    return constructor(**arguments)


def at_scale(spec: ModelSpec, scale: int | None) -> ModelSpec:
    """The spec for one of the factors that the weights serve.

    Raises
    ------
    ModelError
        The weights do not serve it.
    """
    if scale is None or scale == spec.scale:
        return spec
    if scale not in spec.factors:
        able = ", ".join(f"x{each}" for each in spec.factors)
        raise ModelError(f"model {spec.name} refines by {able}, not by {scale}")
    return replace(spec, scale=scale)


def load_model(
    path: str | Path, device: str = "cpu", scale: int | None = None
) -> tuple[nn.Module, ModelSpec, str]:
    """Read a network.

    Parameters
    ----------
    path : str or Path
        A weights file (ours, or a community checkpoint that spandrel knows), or the name of a shipped model or of one
        of the user's.
    device : str
        Where to put it.
    scale : int, optional
        Which of its factors to build it for, if the weights serve several; its own by default.

    Returns
    -------
    model : torch.nn.Module
        In evaluation mode, without gradients.
    spec : ModelSpec
        For that scale.
    sha256 : str
        Hexadecimal digest of the file, for the provenance record.
    """
    named, path = path, model_path(path)
    metadata = read_metadata(path)
    if is_community(path, metadata):
        from sciSR.models.community import load_community

        network, spec, digest = load_community(path)
        at_scale(spec, scale)
        return network.to(device), spec, digest
    spec = at_scale(ModelSpec.from_metadata(metadata, str(path.name)), scale)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    _check_digest(path, digest, by_name=str(path) != str(named))
    try:
        tensors = load(content)
        _check_size(spec, tensors, path)
        model = build(spec)
        model.load_state_dict(tensors)
        _check_reach(spec, model, path)
        if spec.scales:  # a network on fine pixels reaches less far in coarse ones at a larger scale
            spec = replace(spec, receptive_field=math.ceil(receptive_field(model)))
    except SafetensorError as error:
        raise ModelError(f"not a readable safetensors file ({error})", where=path) from error
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{path.name}: its weights don't fit {spec.architecture}{spec.arguments} ({reason})"
        ) from error
    model = model.to(device).eval().requires_grad_(False)
    return model, spec, digest


def _check_digest(path: Path, digest: str, *, by_name: bool) -> None:
    """Hold the weights against the SHA-256 that the card beside them tells.

    Of a model known by name, shipped or added, another digest is an error; of a file given by its path, which may have
    been trained on since its card was written, a warning.

    Raises
    ------
    ModelError
    """
    card = path.with_suffix(".yaml")
    if not card.is_file():
        return
    told = _SHA256.search(card.read_bytes()[: 1 << 20])
    if told is None or told[1].decode() == digest:
        return
    if by_name:
        raise ModelError(
            "is damaged or another file: its SHA-256 is not the one that its card tells",
            where=path,
            remedy="install it again ('scisr models add --overwrite' for your own)",
        )
    warnings.warn(
        f"{path}: its SHA-256 is not the one that the card beside it tells: damaged, or trained on since",
        SciSRWarning,
        stacklevel=3,
    )


def _check_size(spec: ModelSpec, tensors: Mapping[str, Any], path: Path) -> None:
    """Hold what the metadata declares against the weights, before memory is taken for a network: a few bytes may ask
    for one of any size.

    Raises
    ------
    ModelError
    """
    held = sum(tensor.numel() for tensor in tensors.values())
    counts = sorted(_counts(spec.arguments))
    asked = math.prod(counts) * (counts[-1] if counts else 1)  # features x features x blocks
    if asked <= held:  # nothing large
        return
    if asked > _ABSURD * held:
        raise ModelError(f"its arguments {spec.arguments} ask for more than {held} weights"[:300], where=path)
    import torch

    try:
        with torch.device("meta"):  # shapes without memory; takes a second of imports
            needed = sum(tensor.numel() for tensor in build(spec).state_dict().values())
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"its arguments {spec.arguments} fit no network ({error})"[:300], where=path
        ) from error
    if needed > held:
        raise ModelError(
            f"{path.name}: its weights don't fit {spec.architecture}{spec.arguments}: {held} numbers of {needed}"
        )


def _counts(value: Any) -> Iterator[int]:
    """All whole numbers above 1 in arguments."""
    if isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _counts(each)
    elif isinstance(value, int) and value > 1:
        yield value


def _check_reach(spec: ModelSpec, model: nn.Module, path: Path) -> None:
    """A declared reach is what tiles are widened by: one far beyond the network's own only costs memory.

    Raises
    ------
    ModelError
    """
    try:
        own = receptive_field(model)
    except ModelError:  # a layer of a plugin whose reach nobody knows
        return
    if spec.receptive_field > 4 * own + 64:
        raise ModelError(
            f"receptive_field is {spec.receptive_field}, {spec.architecture} reaches {own} pixels", where=path
        )


def read_metadata(path: Path) -> dict[str, str] | None:
    """What a weights file says about itself; None for files that are no safetensors.

    Raises
    ------
    ModelError
        There is no such file, or it is damaged.
    """
    try:
        if path.suffix.lower() in PICKLES:
            path.stat()
            return None
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except FileNotFoundError as error:
        raise ModelError(
            "no such weights file", where=path, remedy="'scisr models' lists the known ones"
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"not a readable safetensors file ({error})", where=path) from error


def is_community(path: Path, metadata: dict[str, str] | None) -> bool:
    """Whether a file holds weights of someone else's network: no metadata of ours.

    Raises
    ------
    ModelError
        It does, and spandrel, which knows such networks, is not installed.
    """
    if metadata is not None and "architecture" in metadata:
        return False
    if importlib.util.find_spec("spandrel") is None:
        raise ModelError(
            "no sciSR model: its metadata has no architecture",
            where=path,
            remedy="for a community checkpoint: pip install --no-deps spandrel einops",
        )
    return True


def model_path(name: str | Path) -> Path:
    """Path of a model given by path, or by the name of a shipped one or of one of the user's."""
    from sciSR.models.user_models import user_paths

    path = Path(name)
    if path.suffix.lower() in (".safetensors", *PICKLES):
        return path
    known = user_paths() | shipped_paths()
    if str(name) in known:
        return known[str(name)]
    raise ModelError(
        f"model {str(name)!r} is unknown (known: {', '.join(sorted(known)) or 'none'})",
        remedy="or give the path of a .safetensors file",
    )


def shipped_paths() -> dict[str, Path]:
    """Weights files of the shipped models, by name; error heads are none."""
    return {stem: path for stem, path in _weights().items() if not stem.startswith(ERRORS)}


def error_head_paths() -> dict[str, Path]:
    """Weights files of the shipped error heads, by name."""
    return {stem: path for stem, path in _weights().items() if stem.startswith(ERRORS)}


def _weights() -> dict[str, Path]:
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def list_models() -> list[ModelSpec]:
    """Specs of all shipped models, by name; reads headers only."""
    return [ModelSpec.from_metadata(read_metadata(path), path.name) for path in shipped_paths().values()]


def load_spec(name: str | Path) -> ModelSpec:
    """Spec of one model, by path or by name; of ours it reads the header only."""
    path = model_path(name)
    metadata = read_metadata(path)
    if is_community(path, metadata):
        from sciSR.models.community import load_community

        return load_community(path)[1]
    return ModelSpec.from_metadata(metadata, path.name)


def load_card(name: str | Path) -> dict[str, Any]:
    """The YAML card beside a weights file: data, licences, recipe, limits, measured table. Empty if it has
    none.

    Raises
    ------
    UsageError
        It is no YAML, or larger than any card.
    """
    from sciSR.yaml_file import parse

    path = model_path(name).with_suffix(".yaml")
    return parse(path, examples="'scisr models' needs a card or none")[0] if path.exists() else {}
