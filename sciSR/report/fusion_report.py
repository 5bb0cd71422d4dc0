"""The report of a fusion: one self-contained HTML page, and its numbers as JSON."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR import __version__
from sciSR.files import atomic_output, encodable

if TYPE_CHECKING:
    from sciSR.fusion.product import Fused


def write_report(
    fused: Fused,
    page: Path | str,
    numbers: Path | str | None = None,
    *,
    sheet: bytes | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page, and the numbers behind it.

    Parameters
    ----------
    fused : Fused
    page : path
        HTML; pictures are inside it.
    numbers : path, optional
        JSON.
    sheet : bytes, optional
        The contact sheet as PNG, where it was drawn already.
    overwrite : bool

    Raises
    ------
    SciSRError
        A file exists, or can't be written.
    """
    document = summary(fused)
    if numbers is not None:
        with atomic_output(numbers, overwrite=overwrite) as target:
            target.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = render(fused, document, sheet)
    with atomic_output(page, overwrite=overwrite) as target:
        target.write_text(text, encoding="utf-8")
    return Path(page)


def all_records(fused: Fused) -> list[dict[str, Any]]:
    """Every frame's record as a JSON-ready mapping, those that could not be read at the end."""
    from sciSR.fusion.product import FrameRecord

    known = {record.name for record in fused.records}
    unread = [FrameRecord(u.name, False, u.reason) for u in fused.sequence.left_out if u.name not in known]
    return [plain(dataclasses.asdict(record)) for record in (*fused.records, *unread)]


def native_shape(fused: Fused) -> tuple[int, int]:
    """Of the reference frame."""
    factors = fused.image.grid.factors[-2:]
    rows, columns = (round(n / float(f)) for n, f in zip(fused.image.shape, factors, strict=True))
    return rows, columns


def summary(fused: Fused) -> dict[str, Any]:
    """The numbers of the report, JSON-ready: NaN becomes None."""
    from sciSR.report.stretch import median

    image = fused.image
    error = None if image.uncertainty is None else median(image.uncertainty[...])
    return plain(
        {
            "software": f"sciSR {__version__}",
            "shape_in": native_shape(fused),
            "shape_out": image.shape,
            "factors": [float(f) for f in image.grid.factors[-2:]],
            "unit": image.unit,
            "quantity": image.quantity,
            "settings": dict(fused.settings),
            "frames": all_records(fused),
            "notes": list(dict.fromkeys([*fused.sequence.notes, *fused.notes])),
            "median_error": error,
            "median_coverage": median(fused.coverage),
            "uncovered_pixels": int((fused.coverage == 0).sum()),
            "measured": dict(fused.report),
        }
    )


def plain(value: Any) -> Any:
    """JSON types only; numbers that JSON has no word for become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bool | int | str | None):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def render(fused: Fused, document: Mapping[str, Any], sheet: bytes | None = None) -> str:
    """The page."""
    from importlib.resources import files

    from jinja2 import Environment

    from sciSR.report import plots
    from sciSR.report.contact_sheet import draw, title

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    template = files("sciSR.report").joinpath("templates/fusion.html.j2").read_text(encoding="utf-8")
    frames, native = document["frames"], native_shape(fused)
    frc = document["measured"].get("frc")
    pictures = {"sheet": plots.png(draw(fused)) if sheet is None else sheet}
    if any(frame["used"] for frame in frames):
        pictures |= {"residuals": plots.residuals(frames), "placements": plots.placements(frames, native)}
    if frc:
        pictures["frc"] = plots.ring_correlation(frc)
    others = {key: value for key, value in document["measured"].items() if key != "frc"}
    text = environment.from_string(template).render(
        title=title(fused).splitlines()[0],
        subtitle=title(fused).splitlines()[-1],
        document=document,
        used=[frame for frame in frames if frame["used"]],
        left_out=[frame for frame in frames if not frame["used"]],
        frc=frc,
        measured=dict(_flat(others)),
        shift=lambda frame: plots.shift_of(frame, native),
        pictures={name: base64.b64encode(data).decode("ascii") for name, data in pictures.items()},
    )
    return encodable(text)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Any:
    """Nested measurements as ``name: value`` rows; long lists are left to the JSON."""
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        elif not isinstance(value, list):
            yield name, value
        elif len(value) <= 6 and not any(isinstance(each, list | Mapping) for each in value):
            yield name, ", ".join(_number(each) for each in value)


def _number(value: Any, digits: int = 4) -> str:
    """A number for people: a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
