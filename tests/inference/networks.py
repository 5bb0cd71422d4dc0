"""Small networks of every registered architecture with random weights, as files that the engine reads."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from sciSR.models.files import build, save_model
from sciSR.models.spec import ModelSpec, receptive_field

SMALL: dict[str, dict] = {
    "ConditionalECBSR": {"conditions": 3, "features": 6, "blocks": 3},
    "ECBSR": {"features": 6, "blocks": 3},
    "EDSR": {"blocks": 2, "width": 8},
    "ESPCN": {},
    "FSRCNN": {"d": 12, "s": 6, "m": 2},
    "LapSRN": {"depth": 2, "width": 8},
    "SPAN": {"features": 8, "blocks": 2, "gain": 2},
    "SRCNN": {"widths": [12, 8]},
    "SRResNet": {"blocks": 2, "width": 8},
    "SparseCoding": {"atoms": 24, "components": 12, "iterations": 6},
    "VDSR": {"depth": 5, "width": 8},
}
NAMES = sorted(SMALL)
CONDITIONS = ("noise", "fwhm", "kspace")


def scales_of(name: str) -> tuple[int, ...]:
    return (2, 4, 8) if name == "LapSRN" else (2, 3, 4)


def random_network(name: str, scale: int, seed: int = 0, **fields: object) -> tuple[nn.Module, ModelSpec]:
    """A network whose every weight matters, in evaluation mode, and its spec (MR, no consistency, unless told)."""
    conditional = name.startswith("Conditional")
    told = {"domain": "mr", "forward_model": "kspace", "normalisation": "range", "consistency": "none"}
    if conditional:
        told["conditions"] = CONDITIONS
    spec = ModelSpec(f"toy-{name}", name, SMALL.get(name, {}), scale=scale, **(told | fields))
    torch.manual_seed(seed)
    model = build(spec).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not value.is_floating_point() or value.ndim == 0:  # counts, and numbers that are no weights
                continue
            if key.endswith("running_var"):
                value.uniform_(0.5, 2.0)
                continue
            fan = math.prod(value.shape[1:]) if value.ndim > 1 else 4 * len(value)
            value.add_(0.3 * torch.randn(value.shape) * fan**-0.5)
    reach = math.ceil(receptive_field(model))
    return model, ModelSpec(**{**vars(spec), "receptive_field": reach})


def write_network(folder: Path, name: str, scale: int, seed: int = 0, **fields: object) -> str:
    """Its weights file."""
    path = folder / f"{name}-x{scale}-{seed}.safetensors"
    if not path.exists():
        save_model(path, *random_network(name, scale, seed, **fields))
    return str(path)
