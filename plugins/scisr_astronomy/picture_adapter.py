"""The adapter of PNG and TIFF pictures. Importing it is cheap: Pillow and tifffile are needed when a file is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.adapter import Option
from scisr_astronomy.ser_adapter import CHANNEL, only_our_errors

if TYPE_CHECKING:
    from sciSR.adapter import Writer
    from sciSR.image import Image
    from sciSR.sequence import Frame


class PictureAdapter:
    """PNG and TIFF, grey or RGB, 8 or 16 bits or floating point, with opacity; JPEG and BMP as input.

    What is read, carried over and written: docs/colour.md.
    """

    name = "picture"
    suffixes = (".tiff", ".tif", ".png")
    previews = True
    options = (
        CHANNEL,
        Option(
            "domain",
            "which trained networks fit a picture: astronomy (default), natural, generic (none)",
            type="choice",
            choices=("astronomy", "natural", "generic"),
        ),
        Option("max_inflated", "largest size a compressed file may decompress to (default 2G)"),
        Option(
            "depth",
            "bits of the result: keep (default), 8, 16, or float (TIFF)",
            type="choice",
            choices=("keep", "8", "16", "float"),
            writes=True,
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Whether the content begins as PNG, TIFF, JPEG or BMP do. Never raises."""
        from scisr_astronomy.picture import format_of

        return format_of(Path(path)) is not None

    def read(self, path: Path, **options: Any) -> list[Image]:
        """A picture, lazily: ``(y, x)``, or ``(y, x, rgb)`` in colour; one for each page of a TIFF.

        Parameters
        ----------
        path : Path
        channel : {"Y", "R", "G", "B"}, optional
            This channel alone (Y: luminance), as a grey picture.
        domain : {"astronomy", "natural", "generic"}
        max_inflated : str
            ``"4G"``: the size to which a compressed file may decompress.

        Raises
        ------
        SciSRError
        """
        from scisr_astronomy.picture_reader import read_picture

        path = Path(path)
        with only_our_errors(path):
            return read_picture(path, **options)

    def read_frames(self, path: Path, *, strict: bool = False, **options: Any) -> list[Frame]:
        """One frame for each page; of a picture in colour its luminance, or one `channel`.

        Raises
        ------
        SciSRError
        """
        from scisr_astronomy.picture_reader import read_picture_frames

        path = Path(path)
        with only_our_errors(path):
            return read_picture_frames(path, **options)

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, depth: str | None = None
    ) -> Writer:
        """A :class:`~scisr_astronomy.picture_writer.PictureWriter`; see there."""
        path = Path(path)
        with only_our_errors(path):
            from scisr_astronomy.picture_writer import PictureWriter

            return PictureWriter(path, images, overwrite=overwrite, depth=depth or "keep")

    def describe(self, path: Path) -> Mapping[str, Any]:
        """Parts, bits, what else is in the file, and notes; pixels are not read."""
        from scisr_astronomy.picture_reader import read_picture

        path = Path(path)
        with only_our_errors(path):
            images = read_picture(path, warn=False)
            pages = [image.metadata.page for image in images]
            return {
                "format": images[0].metadata.format,
                "parts": [
                    dict(image.describe()) | {"alpha": page.alpha or None, **_carried(page)}
                    for image, page in zip(images, pages, strict=True)
                ],
                "provenance": list(images[0].provenance.steps),
                "notes": [what for page in pages for what in (*page.warnings, *page.notes)],
            }

    def default_output(self, path: Path, scale: str) -> Path:
        """``moon.png`` -> ``moon_x2.png``, ``moon.tif`` -> ``moon_x2.tif``; ``moon.jpg`` -> ``moon_x2.png``."""
        from scisr_astronomy.picture import format_of

        path = Path(path)
        stem = re.sub(r"\.(tiff?|png|jpe?g|jfif|bmp|dib)$", "", path.name, flags=re.I)
        suffix = path.suffix.lower()
        if suffix not in self.suffixes:
            suffix = ".tif" if format_of(path) == "tiff" else ".png"
        return path.with_name(f"{stem}_x{scale}{suffix}")


def _carried(page: Any) -> dict[str, Any]:
    """What a picture holds besides its pixels."""
    found = page.attachments
    return {
        "icc_profile_bytes": len(found.icc),
        "exif_bytes": len(found.exif),
        "pixels_per_metre": None if found.density is None else list(found.density),
        "texts": {keyword: text[:200] for keyword, text in found.texts},
    }


adapter = PictureAdapter()
