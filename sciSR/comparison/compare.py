"""Compare images with a truth on the same grid: one table of measures, chosen by what the images show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.comparison import fidelity, sky
from sciSR.comparison.field import Field, check_kind, evenly, parse_region
from sciSR.comparison.grids import check_same_grid, is_part_of
from sciSR.comparison.resample import Method, resampled
from sciSR.comparison.resolving import ALL, Resolved, resolve
from sciSR.comparison.result import Comparison, Measure, PartComparison, Row, Score
from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.metrics.foreground import foreground
from sciSR.metrics.pixel_scale import pixel_scale
from sciSR.metrics.resolution import TRUTH_THRESHOLDS

Source = Image | str | Path | Sequence[Image]

QUANTILES = (0.001, 0.999)
SKY_PLANES = 8
"""Planes of a cube whose sources are looked at, spread evenly."""
WHOLE, BODY = "all", "foreground"


def compare(
    truth: Source,
    *images: Source,
    mask: Source | None = None,
    data_range: float | None = None,
    region: str | None = None,
    resample: Method | None = None,
    options: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare images with a truth: fidelity, detail, resolution; of the sky also fluxes, places and counts of sources.

    Parameters
    ----------
    truth : Image, path, or sequence of Image
        A file's several images are compared part by part.
    *images : Image, path, or sequence of Image
        On the truth's grid.
    mask : Image, path, "all" or "foreground", optional
        Where pixels count: not 0, on the truth's grid, and nothing else is looked at. By default all pixels that are
        good in the truth and in every image; of MR volumes those of them in the foreground (brighter than a twentieth
        of the bright end, closed and filled), unless "all".
    data_range : float, optional
        The peak of PSNR and SSIM, in the truth's unit; by default from its 0.1 % to its 99.9 % quantile.
    region : str, optional
        ``"A:B,C:D"`` in the truth's pixels from 0, for the plane, or one range per axis.
    resample : {"nearest", "linear", "cubic"}, optional
        Bring images on another grid to the truth's first. What a coarser image lacks is not its resampling's merit, and
        interpolation smooths: compare like with like.
    options : mapping, optional
        Of the formats, as for :func:`sciSR.read`; each file gets those that its format knows.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError
        No image, grids that differ, parts that do not match, a mask or a region that does not fit.
    UnsupportedError
        Labels, phases, complex pixels.
    """
    if not images:
        raise UsageError("nothing to compare the truth with", remedy="give one image or more")
    known = dict(options or {})
    parts = images_of(truth, known)
    others = [images_of(each, known) for each in images]
    names = distinct([_name(each, found) for each, found in zip(images, others, strict=True)])
    chosen = mask if isinstance(mask, str) and mask in (WHOLE, BODY) else None
    masks = images_of(mask, known) if mask is not None and chosen is None else None
    out = []
    for number, part in enumerate(parts):
        partners = [partner(part, number, len(parts), found) for found in others]
        field, notes = make_field(part, partners, region, resample, _mask_for(part, number, masks))
        inside = masks is None and chosen != WHOLE and (chosen == BODY or part.domain == "mr")
        out.append(_compare_part(field, names, notes, data_range, inside, masks is not None))
    return Comparison(tuple(out))


def images_of(source: Any, options: Mapping[str, Any]) -> list[Image]:
    """The images of a path, or those given; the options of a path's format among `options` are used."""
    if isinstance(source, Image):
        return [source]
    if not isinstance(source, (str, Path)):
        return list(source)
    from sciSR.plugins import adapter_for

    adapter = adapter_for(Path(source))
    own = {option.name for option in adapter.options if not option.writes}
    return adapter.read(Path(source), **{key: value for key, value in options.items() if key in own})


def _name(source: Any, found: Sequence[Image]) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    return found[0].where.split("[")[0] if found else "image"


def distinct(names: Sequence[str]) -> list[str]:
    """Images in memory, or one file twice, are told apart by number."""
    counts: dict[str, int] = {}
    out = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        many = names.count(name) > 1
        out.append(f"{name} #{counts[name]}" if many else name)
    return out


def partner(part: Image, number: int, of: int, found: Sequence[Image]) -> Image:
    """The image that goes with a part of the truth: of its name, or of its place where names differ.

    Raises
    ------
    UsageError
        There is none.
    """
    same = [each for each in found if each.part == part.part]
    if len(same) == 1:
        return same[0]
    if len(found) == of:
        return found[number]
    held = ", ".join(each.part or "one image" for each in found)
    raise UsageError(
        f"{found[0].where.split('[')[0]} has no part {part.part or number} (it has {held})",
        where=part.where,
        remedy="choose the parts to compare, e.g. --hdu",
    )


def make_field(
    truth: Image,
    images: Sequence[Image],
    region: str | None,
    resample: Method | None,
    mask: Image | None = None,
) -> tuple[Field, list[list[str]]]:
    """What is compared, on one grid, and what is to be said of each image.

    Raises
    ------
    UsageError
        Grids differ and no resampling is asked for.
    """
    check_kind(truth)
    brought, notes = [], []
    for image in images:
        check_kind(image)
        said: list[str] = []
        try:
            if silent := check_same_grid(truth, image):
                said.append(silent)
        except UsageError:
            if is_part_of(truth, image):
                image = resampled(image, truth, "nearest")  # whole pixels: nothing is interpolated
                said.append("covers a part of the truth's field: all images are compared there")
            elif resample is None:
                raise
            else:
                image = resampled(image, truth, resample)
                said.append(f"resampled to the truth's pixels ({resample})")
        if _unit(image) and _unit(truth) and _unit(image) != _unit(truth):
            said.append(
                f"its unit is {image.unit}, the truth's {truth.unit}: values are compared as they are"
            )
        brought.append(image)
        notes.append(said)
    array = None
    if mask is not None:
        plane = tuple(truth.shape[axis] for axis in truth.spatial_axes)
        if mask.shape not in (truth.shape, plane):
            shapes = ["x".join(map(str, each)) for each in (mask.shape, truth.shape)]
            raise UsageError(f"the mask has {shapes[0]} pixels, the truth {shapes[1]}", where=mask.where)
        if mask.shape == truth.shape:
            check_same_grid(truth, mask)
        array = mask.data
    return Field(truth, tuple(brought), parse_region(region, truth), array), notes


def _unit(image: Image) -> str:
    return (image.unit or "").replace(" ", "").lower()


def _mask_for(part: Image, number: int, masks: Sequence[Image] | None) -> Image | None:
    if masks is None:
        return None
    same = [each for each in masks if each.part == part.part]
    return same[0] if len(same) == 1 else masks[number] if number < len(masks) else masks[0]


def _compare_part(
    field: Field,
    names: Sequence[str],
    said: Sequence[Sequence[str]],
    data_range: float | None,
    inside: bool,
    masked: bool,
) -> PartComparison:
    truth, n = field.truth, len(field.images)
    values = field.sample()
    if not values.size:
        raise UsageError("no pixel counts in the truth and in all images", where=truth.where)
    peak, chosen = _range(values, data_range)
    bright = float(np.quantile(values, QUANTILES[1]))
    plain = fidelity.FidelityScores(n, peak)
    scale = pixel_scale(truth)
    stars = sky.SkyScores(n, scale) if truth.domain == "astronomy" else None
    starry = set(map(str, evenly(field.planes, SKY_PLANES))) if stars else set()
    for plane in field.planes:
        for block in field.blocks(plane):
            body = foreground(block.truth, bright) if inside else None
            if body is not None and not body.any():
                continue
            plain.add(block, body)
            if stars is not None and block.whole and str(plane) in starry:
                stars.add(block.truth, block.images)
    if not plain.n_counted:
        raise UsageError("no pixel of the foreground counts", where=truth.where, remedy="give --mask all")
    resolved = resolve(field, TRUTH_THRESHOLDS)
    columns = [*fidelity.measures(truth.unit, peak), *(sky.measures(truth.unit, scale) if stars else ())]
    columns += resolution_measures(truth, resolved)
    rows = tuple(_row(names[k], k, plain, stars, resolved[k], columns, said[k]) for k in range(n))
    counts = "mask" if masked else BODY if inside else "all good pixels"
    settings = {
        "data_range": {"value": peak, "unit": truth.unit, "chosen": chosen},
        "counted": {"what": counts, "pixels": plain.n_counted, "of": math.prod(field.shape)},
        "shape": list(field.shape),
        "axes": list(truth.axes),
        "region": [[s.start or 0, s.stop] for s in field.region],
        "planes": len(field.planes),
        "pixel_size": {"sizes": list(scale.sizes), "unit": scale.unit},
        **(stars.settings if stars else {}),
    }
    return PartComparison(
        truth.part,
        truth.domain,
        truth.where,
        settings,
        tuple(columns),
        rows,
        tuple(_remarks(field, settings, resolved, stars)),
    )


def _range(values: NDArray[np.float64], given: float | None) -> tuple[float, str]:
    if given is not None:
        if not given > 0 or not math.isfinite(given):
            raise UsageError(f"a data range is a positive number, not {given:g}")
        return float(given), "given"
    low, high = np.quantile(values, QUANTILES)
    if high > low:
        return float(high - low), "the truth's 0.1 % to 99.9 % quantile"
    return float(np.ptp(values)), "the truth's range"


def resolution_measures(truth: Image, resolved: Sequence[Resolved | str]) -> list[Measure]:
    """Columns of ring or shell correlation: over all directions, and along each axis of a volume."""
    unit = pixel_scale(truth).unit
    curves = next((each.curves for each in resolved if isinstance(each, Resolved)), {ALL: {}})
    name = "FSC" if len(curves) > 1 else "FRC"
    about = f"period where the {'shell' if name == 'FSC' else 'ring'} correlation with the truth falls below"
    out = [
        Measure("frc_1/7", f"{name} 1/7", unit, "low", about=f"{about} 1/7"),
        Measure("frc_1/2", f"{name} 1/2", unit, "low", about=f"{about} 1/2"),
    ]
    for axis in (direction for direction in curves if direction != ALL):
        heading = f"FSC 1/2 {axis}"
        out.append(Measure(f"frc_1/2_{axis}", heading, unit, "low", about=f"{about} 1/2 along {axis}"))
    return out


def _row(
    name: str,
    number: int,
    plain: fidelity.FidelityScores,
    stars: sky.SkyScores | None,
    resolved: Resolved | str,
    columns: Sequence[Measure],
    said: Sequence[str],
) -> Row:
    scores, details, notes = plain.scores(number), {}, list(said)
    if stars is not None:
        scores |= stars.scores(number)
        details |= stars.details(number)
    if isinstance(resolved, Resolved):
        details["correlation"] = resolved.as_dict()
        for column in columns:
            if column.key.startswith("frc_"):
                _, threshold, *direction = column.key.split("_")
                scores[column.key] = Score(resolved.period(threshold, *(direction or [ALL])))  # type: ignore[arg-type]
    else:
        notes.append(f"no ring correlation: {resolved}")
    return Row(name, scores, details, tuple(notes))


def _remarks(
    field: Field,
    settings: Mapping[str, Any],
    resolved: Sequence[Resolved | str],
    stars: sky.SkyScores | None,
) -> list[str]:
    """What a reader of the table must know."""
    data, counted = settings["data_range"], settings["counted"]
    unit = f" {data['unit']}" if data["unit"] else ""
    notes = [
        f"data range {data['value']:.6g}{unit} ({data['chosen']})",
        f"{counted['what']}: {counted['pixels']} of {counted['of']} pixels count",
    ]
    if len(field.planes) > 1:
        notes.append(f"SSIM and gradient correlation: mean ± spread of {len(field.planes)} planes")
    first = next((each for each in resolved if isinstance(each, Resolved)), None)
    if first is not None:
        notes.append(
            f"{first.kind} correlation of {first.where}; a period of 2 pixels is the finest possible"
        )
    if stars is not None and stars.settings:
        told = stars.settings["sources"]
        notes.append(
            f"{told['n_truth']} sources above {told['threshold_sigma']:g} sigma in the truth; "
            f"apertures of {told['aperture_radius_px']:.3g}, matches within {told['match_radius_px']:.3g} pixels"
        )
    if first is not None and first.kind == "ring" and field.truth.slice_axis is not None:
        notes.append("too few slices for shells")
    return notes
