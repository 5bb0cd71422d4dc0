"""Does a weights file keep what its spec promises? Asked before it becomes one of the user's models."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sciSR.errors import ModelError
from sciSR.models.files import load_model, read_metadata
from sciSR.models.gradient_reach import gradient_reach
from sciSR.models.spec import ModelSpec

_ROOM = 6
"""Pixels by which the trial is larger than the promised receptive field, on each side."""


def check_model(path: str | Path) -> ModelSpec:
    """Load a weights file at every factor that it claims, run it, and compare it with its spec.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    ModelSpec

    Raises
    ------
    ModelError
        Metadata is missing or impossible, weights don't fit or are not finite, the output has another size, or the
        network sees farther than its spec says.
    """
    path = Path(path)
    spec = ModelSpec.from_metadata(read_metadata(path), path.name)
    for scale in spec.factors:
        model, built, _ = load_model(path, scale=scale)
        _check_weights(model, path)
        _check_output(model, built, path)
        if built.exact_tiling:
            _check_reach(model, built, path)
    return spec


def _check_weights(model: nn.Module, path: str | Path) -> None:
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise ModelError(
                f"weights {name} are not all finite", where=path, remedy="take an earlier checkpoint"
            )


def _run(model: nn.Module, spec: ModelSpec, x: Tensor) -> Tensor:
    if spec.forward_model == "slice_profile":
        return model(x, x.shape[-2])
    told = [x.new_full((1, len(spec.conditions)), 0.1)] if spec.conditions else []
    return model(x, *told)


def _check_output(model: nn.Module, spec: ModelSpec, path: str | Path) -> None:
    high, wide = 12 * spec.multiple, 9 * spec.multiple
    x = torch.rand(1, 1, high, wide, generator=torch.Generator().manual_seed(0))
    expected = (1, 1, spec.scale * high, spec.scale * wide)
    try:
        with torch.inference_mode():
            out = _run(model, spec, x)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"fails on an image of {high}x{wide} pixels ({reason})", where=path) from error
    if tuple(out.shape) != expected:
        raise ModelError(
            f"x{spec.scale} of {tuple(x.shape)} should be {expected}, it gives {tuple(out.shape)}", where=path
        )
    if not torch.isfinite(out).all():
        raise ModelError("gives values that are not finite", where=path)


def _check_reach(model: nn.Module, spec: ModelSpec, path: str | Path) -> None:
    side = 2 * (spec.receptive_field + _ROOM + spec.multiple)
    side = -(-side // (2 * spec.multiple)) * 2 * spec.multiple
    found = gradient_reach(lambda x: _run(model, spec, x), spec.scale, side, spec.multiple)
    if found is None or found > spec.receptive_field:
        seen = f"at least {side // 2}" if found is None else str(found)
        raise ModelError(
            f"its outputs depend on inputs {seen} pixels away, its spec says {spec.receptive_field}: tiles would show",
            where=path,
            remedy="correct receptive_field, or set exact_tiling to false",
        )
