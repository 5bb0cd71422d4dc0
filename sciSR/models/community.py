"""Networks of the community: checkpoints of any single-image architecture that spandrel knows, made to fit the engine.

They were trained on pictures with values from 0 to 1, most of them in colour. Here one plane is given to every channel
and the mean of the channels is taken back; values are neither clamped on the way in nor on the way out.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import math
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.errors import ModelError, SciSRWarning
from sciSR.models.gradient_reach import gradient_reach
from sciSR.models.spandrel_import import import_spandrel
from sciSR.models.spec import ModelSpec

HALO = 32
"""Input pixels around a tile of a network whose reach is larger than what is affordable."""
_TRIAL = 96
"""Pixels a side of the image on which the reach is looked for: up to 47 are found."""


@dataclass(frozen=True)
class Fit:
    """How a domain's normalised values become those of a picture, and what goes with it.

    ``picture = (z + low) / width``.
    """

    normalisation: str
    low: float
    width: float
    consistency: str


FITS = {
    # asinh((x - sky) / 2 sigma): from 7 sigma below the sky to 3 million above
    "astronomy": Fit("sky", 2.0, 17.0, "blockmean"),
    # 1 % to 99.5 % quantile: 0 to 1, with room on both sides
    "mr": Fit("range", 0.05, 1.25, "kspace"),
    "ct": Fit("unit", 0.0, 1.0, "none"),
}
"""By domain of the image."""
OTHERWISE = Fit("unit", 0.0, 1.0, "blockmean")
"""For images of no domain: their own least and greatest value are 0 and 1, as in pictures."""


class CommunityNetwork(nn.Module):
    """One plane through a network for pictures, ``[B, 1, h, w]`` -> ``[B, 1, s h, s w]``.

    Parameters
    ----------
    network : nn.Module
    call : callable
        ``call(network, picture)``: what spandrel knows about running it, without its clamp.
    scale, channels : int
    size : spandrel.SizeRequirements
    """

    as_it_is = True
    """The engine leaves layers and memory layout alone: strangers' code may look at them."""

    def __init__(self, network: nn.Module, call: Any, scale: int, channels: int, size: Any) -> None:
        super().__init__()
        self.network, self.call, self.scale, self.channels, self.size = network, call, scale, channels, size
        self.fit = OTHERWISE

    def forward(self, x: Tensor) -> Tensor:
        high, wide = x.shape[-2:]
        picture = (x.float() + self.fit.low) / self.fit.width
        right, below = self.size.get_padding(wide, high)
        if right or below:
            picture = F.pad(picture, (0, right, 0, below), mode="replicate")
        out = self.call(self.network, picture.expand(-1, self.channels, -1, -1).contiguous())
        out = out[0] if isinstance(out, tuple | list) else out
        out = out[..., : self.scale * high, : self.scale * wide].float().mean(1, keepdim=True)
        return out * self.fit.width - self.fit.low


def fitted(network: nn.Module, spec: ModelSpec, domain: str) -> tuple[nn.Module, ModelSpec]:
    """A community network made ready for a domain, and the spec that goes with it; others as they are."""
    if not isinstance(network, CommunityNetwork):
        return network, spec
    ready = copy.copy(network)  # the same layers; another image may be of another domain
    ready.fit = fit = FITS.get(domain, OTHERWISE)
    return ready, replace(spec, normalisation=fit.normalisation, consistency=fit.consistency)


def load_community(path: Path) -> tuple[CommunityNetwork, ModelSpec, str]:
    """Read a checkpoint.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or torch's ``.pth``, ``.pt``, ``.ckpt`` as long as it holds tensors only.

    Returns
    -------
    network : CommunityNetwork
    spec : ModelSpec
        With the reach that was measured, and `exact_tiling` only if all of it fits into a halo.
    sha256 : str

    Raises
    ------
    ModelError
        Unsafe, damaged, of an unknown architecture, or no super-resolution of one image.
    """
    stat = path.stat()
    return _load(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1)
def _load(path: Path, time: int, size: int) -> tuple[CommunityNetwork, ModelSpec, str]:
    content = path.read_bytes()
    spandrel = import_spandrel()
    try:
        found = spandrel.MAIN_REGISTRY.load(spandrel.canonicalize_state_dict(_tensors(path, content)))
    except spandrel.UnsupportedModelError as error:
        raise ModelError(
            "spandrel knows no architecture with these weights",
            where=path,
            remedy="https://github.com/chaiNNer-org/spandrel lists those that it knows",
        ) from error
    except (RuntimeError, KeyError, ValueError, TypeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"its weights fit no network ({reason})", where=path) from error
    _check_kind(found, path)
    call = getattr(found, "_call_fn", None) or (lambda model, picture: model(picture))
    model = found.model.float().eval().requires_grad_(False)
    network = CommunityNetwork(model, call, found.scale, found.input_channels, found.size_requirements)
    _choose_layout(network)
    return network, _spec(network, found, path), hashlib.sha256(content).hexdigest()


def _choose_layout(network: CommunityNetwork) -> None:
    """Convolutions are fastest with channels last; networks that can't, or then give other values, keep theirs."""
    x = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(x)
        network.to(memory_format=torch.channels_last)
        try:
            if torch.allclose(network(x), expected, rtol=1e-4, atol=1e-5):
                return
        except RuntimeError:
            pass
    network.to(memory_format=torch.contiguous_format)


def _check_kind(found: Any, path: Path) -> None:
    name = found.architecture.name
    if found.purpose != "SR" or found.scale < 2:
        raise ModelError(
            f"{name} of purpose {found.purpose}, scale {found.scale}, is no super-resolution", where=path
        )
    if found.input_channels not in (1, 3) or found.output_channels not in (1, 3):
        raise ModelError(
            f"{name} has {found.input_channels} channels in and {found.output_channels} out, not 1 or 3",
            where=path,
        )


def _spec(network: CommunityNetwork, found: Any, path: Path) -> ModelSpec:
    """What the engine must know, measured where it is not told."""
    window = getattr(found.model, "window_size", 1)  # attention within windows: tiles must begin with one
    multiple = math.lcm(int(found.size_requirements.multiple_of), window if isinstance(window, int) else 1)
    side = -(-_TRIAL // multiple) * multiple
    reach = gradient_reach(network, found.scale, side, multiple)
    return ModelSpec(
        path.stem,
        f"spandrel:{found.architecture.id}",
        scale=int(found.scale),
        receptive_field=HALO if reach is None else reach,
        multiple=multiple,
        forward_model="bicubic",  # of most; nobody knows
        domain="natural",
        normalisation=OTHERWISE.normalisation,
        exact_tiling=reach is not None,
        consistency=OTHERWISE.consistency,
    )


def _tensors(path: Path, content: bytes) -> Mapping[str, Any]:
    """The state dictionary, read without running anything that stands in the file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    if path.suffix.lower() == ".safetensors":
        try:
            return load(content)
        except SafetensorError as error:
            raise ModelError(f"not a readable safetensors file ({error})", where=path) from error
    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            "holds more than tensors, and reading it could run any program",
            where=path,
            remedy="if you trust its author, convert it to .safetensors as docs/models.md shows",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"not a readable checkpoint ({reason})", where=path) from error
    if not isinstance(tensors, Mapping):
        raise ModelError(f"holds a {type(tensors).__name__}, no dictionary of weights", where=path)
    return tensors


def warn_of(network: nn.Module, spec: ModelSpec) -> None:
    """Say what is not known about a community network, each time that it is used."""
    if isinstance(network, CommunityNetwork):
        warnings.warn(
            f"{spec.name} is a community checkpoint ({spec.architecture}) for pictures: nothing is known about what it "
            "was trained to undo, and many invent texture; measure nothing on its result that you have not checked",
            SciSRWarning,
            stacklevel=3,
        )
