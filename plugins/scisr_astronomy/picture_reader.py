"""Pictures as images: rows, columns and, of one in colour, an axis ``"rgb"``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.colour import LUMA, RGB, mixture, rgb_axis
from sciSR.errors import SciSRWarning, UnreadableError, UsageError
from sciSR.image import Image
from sciSR.planes import plane_of
from sciSR.provenance import Provenance
from sciSR.sequence import Frame
from scisr_astronomy.clip_record import checked_place
from scisr_astronomy.physical_grid import PhysicalGrid
from scisr_astronomy.picture import Channels, Page, Picture, Transparent, format_of
from scisr_astronomy.reader import parse_size

CHANNELS = ("Y", "R", "G", "B")
DOMAINS = ("astronomy", "natural", "generic")


@dataclass(frozen=True, eq=False)
class PictureMetadata:
    """What travels with an image to the writer.

    Attributes
    ----------
    format : str
        Of the file that it came from.
    page : Page
    """

    format: str
    page: Page


def open_picture(path: Path, max_inflated: str | int | None = None) -> Picture:
    """Check a file and describe its pictures; pixels stay on disk.

    Raises
    ------
    SciSRError
    """
    from scisr_astronomy.picture import DEFAULT_LIMIT

    limit = DEFAULT_LIMIT if max_inflated is None else parse_size(max_inflated, path)
    kind = format_of(path)
    if kind == "png":
        from scisr_astronomy.png import open_png

        return open_png(path, limit)
    if kind == "tiff":
        from scisr_astronomy.tiff import open_tiff

        return open_tiff(path, limit)
    if kind is not None:
        from scisr_astronomy.still import open_still

        return open_still(path, kind, limit)
    from sciSR.files import check_regular_file

    check_regular_file(path)
    raise UnreadableError("is no PNG, TIFF, JPEG or BMP file", where=path)


def read_picture(
    path: Path,
    *,
    channel: str | None = None,
    domain: str | None = None,
    max_inflated: str | int | None = None,
    warn: bool = True,
) -> list[Image]:
    """The pictures of a file, lazily; see :class:`scisr_astronomy.picture_adapter.PictureAdapter` for the options."""
    if channel is not None and channel not in CHANNELS:
        raise UsageError(f"channel {channel!r} is none of {', '.join(CHANNELS)}", where=path)
    if domain is not None and domain not in DOMAINS:
        raise UsageError(f"domain {domain!r} is none of {', '.join(DOMAINS)}", where=path)
    picture = open_picture(path, max_inflated)
    if warn:
        for page in picture.pages:
            for what in page.warnings:
                warnings.warn(f"{path.name}{_bracket(page)}: {what}", SciSRWarning, stacklevel=3)
    images = [_image(picture, number, domain or "astronomy") for number in range(len(picture.pages))]
    return images if channel is None else [_channel(image, channel) for image in images]


def read_picture_frames(path: Path, *, channel: str | None = None, **options: Any) -> list[Frame]:
    """One frame for each picture of a file: its luminance, or one channel."""
    images = read_picture(path, **options)
    planes = [_channel(image, channel or "Y") for image in images]
    return [
        Frame(plane, plane.where, saturation=None if full is None else float(full))
        for plane, full in (
            (plane, image.metadata.page.full) for plane, image in zip(planes, images, strict=True)
        )
    ]


def _bracket(page: Page) -> str:
    return f"[{page.name}]" if page.name else ""


def _image(picture: Picture, number: int, domain: str) -> Image:
    page = picture.pages[number]
    data = Channels(page)
    record = _record(picture, number)
    scales = (*record["places"], (1.0, 0.0))[: len(data.shape)]
    return Image(
        data=data,
        axes=("y", "x", RGB) if page.colour else ("y", "x"),
        spatial=("y", "x"),
        grid=PhysicalGrid(data.shape, tuple(s for s, _ in scales), tuple(o for _, o in scales)),
        domain=domain,
        mask=Transparent(page) if page.alpha else None,
        metadata=PictureMetadata(picture.format, page),
        source=picture.path,
        part=page.name,
        provenance=record["provenance"],
    )


def _channel(image: Image, name: str) -> Image:
    """One channel of a picture in colour, or its luminance; a grey picture is its own."""
    axis = rgb_axis(image)
    if axis is None:
        if name != "Y":
            raise UsageError(
                f"is grey: there is no channel {name}", where=image.where, remedy="leave --channel out"
            )
        return image
    if name == "Y":
        return mixture(image, axis, LUMA)
    return plane_of(image, {axis: "RGB".index(name)})


def _record(picture: Picture, number: int) -> Mapping[str, Any]:
    """Our own record of a page, where it is one, and about pixels of this size."""
    page = picture.pages[number]
    try:
        found = json.loads(picture.pages[0].record, parse_constant=_refuse)["pages"][number]
        if list(found["shape"]) == [page.rows, page.columns]:
            steps = Provenance(tuple(dict(step) for step in found["steps"]))
            return {"provenance": steps, "places": checked_place(found["places"])}
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        pass
    return {"provenance": Provenance(), "places": ((1.0, 0.0), (1.0, 0.0))}


def _refuse(name: str) -> None:
    raise ValueError(name)
