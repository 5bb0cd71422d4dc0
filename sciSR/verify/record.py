"""Whether the provenance is complete and true: hashes of files, scale, names."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError
from sciSR.grid import exact_factors
from sciSR.provenance import file_sha256
from sciSR.verify.claims import Claims
from sciSR.verify.measuring import Measured
from sciSR.verify.pairing import factor_text
from sciSR.verify.result import Check, Pair

CLASSICAL = ("nearest", "linear", "cubic", "lanczos", "fourier")
CONSISTENCY = ("block", "kspace", "gaussian", "slice profile", "none")
_NEEDED = {
    "calibrate": ("software", "masters"),
    "upscale": ("software", "scale", "model", "quantity", "consistency"),
    "isotropic": ("software", "scale", "model", "quantity", "consistency"),
    "degrade": ("software", "scale", "forward", "quantity"),
    "fuse": ("software", "method", "frames", "reference"),
}
_SHA256 = re.compile(r"[0-9a-f]{64}$")


def record_checks(pair: Pair, claims: Claims, digest: str) -> list[Check]:
    """All checks of the record of one image but those that need its pixels.

    Parameters
    ----------
    pair : Pair
    claims : Claims
    digest : str
        SHA-256 of the real input.
    """
    part = pair.before.part
    if not claims.kept and pair.before.provenance.steps:
        what = "the input's own record does not stand at the beginning of the output's"
        return [Check("provenance", "earlier steps", "failed", what, part=part)]
    if not claims.kind:
        if all(f == 1 for f in pair.factors):
            return []
        if claims.steps:
            what = "none of its steps says how the image was made"
            return [Check("provenance", "complete", "failed", what, part=part)]
        return [Check("provenance", "present", "warning", "the output does not say what made it", part=part)]
    checks = [_complete(claims, part), _scale(pair, claims)]
    checks += [_input(claims, digest, part), *_weights(claims, part)]
    return checks


def _complete(claims: Claims, part: str) -> Check:
    needed = ("software", "scale", "model") if _labels(claims.step) else _NEEDED[claims.kind]
    missing = [key for key in needed if claims.step.get(key) in (None, "", {})]
    if (
        claims.kind in ("upscale", "isotropic")
        and _trained(claims.step)
        and not claims.step.get("weights_sha256")
    ):
        missing.append("weights_sha256")
    # A format that holds the record in a few words has no room for the agreement, and says that it abridged it.
    plain = claims.kind == "upscale" and not {"kind", "abridged"} & claims.step.keys()
    if plain and claims.consistency != "none" and "max_abs" not in claims.agreement:
        missing.append("agreement")
    if missing:
        return Check("provenance", "complete", "failed", f"the record lacks {', '.join(missing)}", part=part)
    if claims.consistency and claims.consistency not in CONSISTENCY:
        what = f"a consistency of {claims.consistency[:40]!r} is none that is known"
        return Check("provenance", "complete", "failed", what, part=part)
    said = f"{claims.step['software']}, {claims.step['step']}"
    return Check("provenance", "complete", "passed", said, part=part)


def _trained(step: Mapping[str, Any]) -> bool:
    if step.get("step") == "isotropic":  # its classical methods have names of their own
        return "self_training" in step
    return str(step.get("model", "")) not in CLASSICAL and not _labels(step)


def _labels(step: Mapping[str, Any]) -> bool:
    kind = step.get("kind")
    return isinstance(kind, Mapping) and kind.get("kind") == "labels"


def _scale(pair: Pair, claims: Claims) -> Check:
    part = pair.before.part
    recorded = claims.step.get("scale")
    if claims.line:
        recorded = None if claims.scale is None else " x ".join(factor_text(f) for f in claims.scale)
    real = " x ".join(factor_text(f) for f in pair.factors)
    if (claims.kind == "fuse" or claims.line) and claims.scale is None:
        return Check(
            "provenance", "scale", "skipped", f"recorded as {recorded!r}; the pixels say {real}", part=part
        )
    message = f"recorded as {recorded}, the pixels say {real}"
    good = _same_scale(pair, claims)
    return Check("provenance", "scale", "passed" if good else "failed", message, part=part)


def _same_scale(pair: Pair, claims: Claims) -> bool:
    if claims.scale is None:
        return False
    axes: tuple[int, ...] = pair.before.spatial_axes
    if claims.kind == "isotropic" and len(claims.scale) == 3:
        across = [axis for axis in range(3) if axis not in axes]
        axes = (*axes, *across)
    elif len(claims.scale) == len(pair.factors):
        axes = tuple(range(len(pair.factors)))
    wanted = claims.scale if len(claims.scale) == len(axes) else (claims.scale[0],) * len(axes)
    for axis, scale in zip(axes, wanted, strict=True):
        size, factor = pair.before.shape[axis], pair.factors[axis]
        if scale < 1:
            if factor != scale:
                return False
        elif factor != exact_factors((size,), (scale,))[0]:
            return False
    return True


def _input(claims: Claims, digest: str, part: str) -> Check:
    name = "hash of the input"
    told = claims.inputs
    if not told and "fuse" in (claims.kind, *claims.line[:1]):
        return Check("provenance", name, "skipped", "a fusion names its frames by their files", part=part)
    if not told:
        what = "the record does not name the input by its SHA-256 (made in Python from an open image)"
        return Check("provenance", name, "warning", what, part=part)
    if told[-1] == digest:
        after = f", first of {len(claims.line)} steps: {', '.join(claims.line)}" if claims.line else ""
        return Check("provenance", name, "passed", f"sha256 {digest[:12]}{after}", part=part)
    what = (
        f"recorded as {str(told[-1])[:12]}, this input's is {digest[:12]}: another file, or a changed record"
    )
    return Check("provenance", name, "failed", what, part=part)


def _weights(claims: Claims, part: str) -> list[Check]:
    step, name = claims.step, "hash of the weights"
    model, told = str(step.get("model", "")), step.get("weights_sha256")
    if told is None:
        return []
    if claims.kind == "upscale" and model in CLASSICAL:
        return [
            Check("provenance", name, "failed", f"{model} has no weights, the record names some", part=part)
        ]
    if not _SHA256.match(str(told)):
        return [Check("provenance", name, "failed", f"{told!r} is no SHA-256", part=part)]
    known, by_hash = _known(model), _named_by(str(told))
    if known is None:
        if by_hash:
            what = f"they are those of {by_hash}, the record says {model}"
            return [Check("provenance", name, "failed", what, part=part)]
        what = f"{model} is not among the known models; nothing to compare with"
        return [Check("provenance", name, "warning", what, part=part)]
    if known == told:
        return [
            Check("provenance", name, "passed", f"{model}, sha256 {known[:12]}", part=part),
            *_served(step, part),
        ]
    whose = f"; it is that of {by_hash}" if by_hash else ""
    what = f"recorded as {str(told)[:12]}, {model} here has {known[:12]}{whose}"
    return [Check("provenance", name, "failed", what, part=part)]


def _known(model: str) -> str | None:
    """SHA-256 of the weights of a model known by its own name or by its file's; None if there is none."""
    path = _path_of(model)
    return None if path is None else _digest(path)


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_of(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=256)
def _digest_of(path: Path, changed: int, size: int) -> str:
    """Several images of a file name the same weights."""
    return file_sha256(path)


def _path_of(model: str) -> Path | None:
    from sciSR.models.files import shipped_paths
    from sciSR.models.user_models import user_paths

    known = shipped_paths() | user_paths()
    return known[model] if model in known else _paths().get(model)


def _paths() -> dict[str, Path]:
    """All known weights, by their file's name and by that in their metadata."""
    from sciSR.models.files import read_metadata, shipped_paths
    from sciSR.models.user_models import user_paths

    found = shipped_paths() | user_paths()
    for path in list(found.values()):
        try:
            metadata = read_metadata(path) or {}
        except SciSRError:
            continue
        found.setdefault(metadata.get("name", path.stem), path)
    return found


def _named_by(digest: str) -> str:
    """The known model that has weights of this hash."""
    return next((name for name, path in _paths().items() if _digest(path) == digest), "")


def _served(step: Mapping[str, Any], part: str) -> list[Check]:
    """A network that was applied so often makes that scale."""
    from sciSR.models.files import load_spec

    if step.get("step") != "upscale":
        return []
    path = _path_of(str(step["model"]))
    if path is None:
        return []
    spec, times = load_spec(path), step.get("applied", 1)
    scale = str(step.get("scale", ""))
    able = (
        {str(each ** int(times)) for each in (spec.scales or (spec.scale,))}
        if isinstance(times, int)
        else set()
    )
    if scale in able:
        return []
    what = f"{step['model']}, applied {times} times, does not make x{scale}"
    return [Check("provenance", "scale of the model", "failed", what, part=part)]


def bad_pixel_check(pair: Pair, claims: Claims, found: Measured) -> list[Check]:
    """The recorded number of bad pixels."""
    told = claims.step.get("bad_pixels")
    if (
        told is None
        or "colour" in claims.step
        or claims.kind not in ("upscale", "isotropic")
        or pair.before.kind == "labels"
    ):
        return []
    message = f"recorded as {told}, the input has {found.n_bad}"
    if told == found.n_bad:
        return [Check("provenance", "number of bad pixels", "passed", message, part=pair.before.part)]
    message += (
        "; give the options with which it was made (such as --dq-bits), or the record is not of this input"
    )
    return [Check("provenance", "number of bad pixels", "failed", message, part=pair.before.part)]
