"""Agreement with what was measured where that is no block mean: acquired k-space, a Gaussian, a slice profile, a phase.

These operators need whole planes (or whole columns of slices), which is what an MR image consists of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sciSR.errors import SciSRError
from sciSR.image import Image
from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows
from sciSR.verify.claims import Claims
from sciSR.verify.measuring import ROUNDING, Measured, Scene
from sciSR.verify.result import Check, Pair, Status

WORDS = {
    "kspace": "the acquired k-space",
    "gaussian": "the Gaussian samples",
    "slice profile": "the slices seen through their profile",
}
_ROWS = 16  # of thick slices that are looked at together


def whole_plane(pair: Pair, claims: Claims, found: Measured, scene: Scene) -> tuple[Measured | None, str]:
    """The residual of the claimed operator.

    Parameters
    ----------
    pair : Pair
    claims : Claims
    found : Measured
        With the block mean as the operator.
    scene : Scene
        With the noise, 0 if unknown, and the step of stored values.

    Returns
    -------
    Measured or None
        A copy of `found` with the differences of this operator; None where it can't be set up.
    reason : str
        Why not.
    """
    before = pair.before
    if before.dtype.kind == "c" or before.kind in ("labels", "phase"):
        return None, f"not defined for {before.kind if before.kind != 'intensity' else 'complex values'}"
    if "colour" in claims.step:
        return None, "measured on the luminance"
    try:
        if claims.consistency == "slice profile":
            return _slices(pair, claims, found, scene)
        return _planes(pair, claims, found, scene)
    except SciSRError as error:
        return None, str(error)


def _empty(found: Measured) -> Measured:
    out = Measured(n=0, n_bad=found.n_bad, n_fine=found.n_fine, rounding=0.0, told=found.told)
    out.coarse_high, out.coarse_low = found.coarse_high, found.coarse_low
    return out


def _take(
    out: Measured, difference: np.ndarray, good: np.ndarray, sigma: np.ndarray | float, place: str
) -> None:
    """Add differences of good pixels; `place` names the plane."""
    if not good.any():
        return
    apart = np.where(good, np.abs(difference), 0.0)
    at = np.unravel_index(int(np.argmax(apart)), apart.shape)
    if apart[at] >= out.largest.value:
        out.largest.value, out.largest.where = (
            float(apart[at]),
            f"{place}[{', '.join(str(int(n)) for n in at)}]",
        )
    out.n += int(np.count_nonzero(good))
    out.squares += float(np.square(apart).sum())
    sigma = np.broadcast_to(np.asarray(sigma, np.float64), apart.shape)
    usable = good & np.isfinite(sigma) & (sigma > 0)
    if usable.any():
        ratio = np.zeros(apart.shape)
        ratio[usable] = apart[usable] / sigma[usable]
        out.chi2 += float(np.square(ratio).sum())
        out.n_chi2 += int(np.count_nonzero(usable))
        if ratio.max() >= out.deviation.value:
            out.deviation.value, out.deviation.where = float(ratio.max()), out.largest.where


def _planes(pair: Pair, claims: Claims, found: Measured, scene: Scene) -> tuple[Measured | None, str]:
    import torch

    from sciSR.inference.whole_plane import GaussianSamples, KSpaceSamples

    before, after = pair.before, pair.after
    first, second = before.spatial_axes
    factors = pair.factors[first], pair.factors[second]
    if factors[0] != factors[1] or factors[0].denominator != 1 or math.prod(pair.factors) != factors[0] ** 2:
        return None, "needs one whole factor on both axes of the plane"
    scale = int(factors[0])
    width = claims.step.get("psf_fwhm", 1.0)
    operator = (
        KSpaceSamples(scale) if claims.consistency == "kspace" else GaussianSamples(scale, float(width))
    )
    out, left = _empty(found), 0
    share = 1.0 if claims.quantity(before) == "density" else 1 / float(scale**2)
    for index in plane_indices(before):
        whole = slice(0, before.shape[first])
        y = read_rows(before, index, whole)
        bad = bad_pixels(y, None if before.mask is None else read_rows(before, index, whole, "mask"))
        if bad.any():  # what stood in for bad pixels was not written
            left += 1
            continue
        x = read_rows(after, index, slice(0, after.shape[first])).astype(np.float64) / share
        level = float(y.mean(dtype=np.float64))
        seen = operator.apply(torch.from_numpy(x - level)).numpy() + level
        sigma = scene.noise if before.uncertainty is None else read_rows(before, index, whole, "uncertainty")
        _take(out, seen - y.astype(np.float64), ~bad, sigma, _place(index))
        out.rounding = max(out.rounding, ROUNDING * float(np.abs(x).max()) + 0.5 * scene.quantum)
    if not out.n:
        return None, "every plane has bad pixels" if left else "no pixel"
    return out, f"{left} planes with bad pixels left out" if left else ""


def _place(index: Sequence[slice | int]) -> str:
    fixed = [str(entry) for entry in index if not isinstance(entry, slice)]
    return f"plane {','.join(fixed)} " if fixed else ""


def _slices(pair: Pair, claims: Claims, found: Measured, scene: Scene) -> tuple[Measured | None, str]:
    """The profile acts across the slices, row by row of them."""
    from sciSR.forward.slice_sampling import SliceSampling

    before, after, step = pair.before, pair.after, claims.step
    across = before.slice_axis
    if across is None or "slice_profile" not in step:
        return None, "the record names no slice profile"
    if step["slice_profile"] == "table":
        return None, "the slice profile was a table, of which only the hash is recorded"
    if any(pair.factors[axis] != 1 for axis in before.spatial_axes):
        return None, "the slices were resampled in their planes first"
    width = float(step["slice_thickness_mm"]) / float(step["slice_spacing_mm"])
    sampling = SliceSampling(before.shape[across], after.shape[across], width, str(step["slice_profile"]))
    matrix, out = sampling.matrix.numpy(), _empty(found)
    first, second = before.spatial_axes
    others = [1 if a in (first, second, across) else n for a, n in enumerate(before.shape)]
    for outer in np.ndindex(*others):
        for start in range(0, before.shape[first], _ROWS):
            rows = slice(start, min(start + _ROWS, before.shape[first]))
            y, bad = _column(before, outer, rows, across)
            x, _ = _column(after, outer, rows, across)
            good = ~bad & ~bad.any(0)  # a bad voxel's neighbours saw what stood in for it
            seen = np.tensordot(matrix, np.where(np.isfinite(x), x, 0.0), axes=1)
            _take(out, seen - y, good, scene.noise, f"rows from {start} ")
            out.rounding = max(
                out.rounding, ROUNDING * float(np.abs(x[np.isfinite(x)]).max(initial=0.0)) + scene.quantum
            )
    return (out, "") if out.n else (None, "no good voxel")


def _column(image: Image, outer: tuple[int, ...], rows: slice, across: int) -> tuple[np.ndarray, np.ndarray]:
    """All slices of some rows, ``[slices, rows, columns]``: values and which are bad."""
    first, second = image.spatial_axes
    index: tuple[slice | int, ...] = tuple(
        rows if axis == first else slice(None) if axis in (second, across) else outer[axis]
        for axis in range(len(image.shape))
    )
    place = sorted((first, second, across)).index(across)
    values = np.moveaxis(np.asarray(image.data[index]), place, 0).astype(np.float64)
    mask = None if image.mask is None else np.moveaxis(np.asarray(image.mask[index]), place, 0)
    return values, bad_pixels(values, mask)


def phase_agreement_check(pair: Pair, claims: Claims) -> Check:
    """A phase agrees as the angle of the mean of ``exp(i phase)``."""
    from sciSR.inference.kinds_agreement import phase_agreement
    from sciSR.inference.kinds_ranges import Turn

    name, part = "recorded agreement", pair.before.part
    kind = claims.step.get("kind")
    turn = kind.get("turn") if isinstance(kind, dict) else None
    if not turn or "max_abs" not in claims.agreement:
        return Check(
            "consistency", name, "skipped", "no turn and agreement of the phase is recorded", part=part
        )
    measured = phase_agreement(pair.before, pair.after.data, pair.factors, Turn(*turn))["max_abs"]
    recorded = float(claims.agreement["max_abs"])
    slack = 0.03 * recorded + 1e-5 * abs(turn[1] - turn[0])
    message = f"of the angle: recorded as {recorded:.3g}, measured {measured:.3g}"
    status: Status = "passed" if abs(measured - recorded) <= slack else "failed"
    return Check("consistency", name, status, message, abs(measured - recorded), slack, part=part)
