"""The FITS adapter. Importing it is cheap: astropy and the rest are imported when a file is opened."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.adapter import Option
from sciSR.errors import SciSRError, UnreadableError
from sciSR.files import translate_os_errors

if TYPE_CHECKING:
    from sciSR.adapter import Writer
    from sciSR.fusion.product import Fused
    from sciSR.image import Image
    from sciSR.sequence import Frame
    from scisr_astronomy.verify_fits import FitsVerifier


class FitsAdapter:
    """Images, cubes and multi-extension FITS files; plain, ``.gz``, ``.bz2`` or tile-compressed ``.fz``.

    What is read, carried over, updated and refused stands in the docstring of :mod:`scisr_astronomy`.
    Output is uncompressed unless its name ends in ``.gz``.
    """

    name = "fits"
    writes_uncertainty = True
    checked_options: Mapping[str, Any] = {"ignore_checksum": True}
    suffixes = (".fits.gz", ".fit.gz", ".fts.gz", ".fits", ".fit", ".fts")
    options = (
        Option(
            "hdu",
            "HDU to upscale: name, NAME,VERSION or number (default: every science image)",
            multiple=True,
        ),
        Option(
            "quantity",
            "what a pixel holds: density keeps values, total shares them out (default: from the unit)",
            type="choice",
            choices=("auto", "density", "total"),
        ),
        Option(
            "wcs",
            "none: drop world coordinates, upscale pixels only",
            type="choice",
            choices=("keep", "none"),
        ),
        Option("dq_bits", "DQ flags that make a pixel bad: all (default), none, or numbers like 1,4,4096"),
        Option("labels", "treat as a label map: nearest neighbour only", "flag"),
        Option(
            "colour",
            "three planes: rgb (red, green, blue), planes (each by itself), auto (default: by CTYPE3)",
            type="choice",
            choices=("auto", "rgb", "planes"),
        ),
        Option(
            "max_inflated",
            "largest size a compressed file may decompress to (default: FITS 16G, pictures 2G)",
        ),
        Option("ignore_checksum", "read a file whose CHECKSUM or DATASUM is wrong", type="flag"),
    )

    def sniff(self, path: Path) -> bool:
        """Whether the content begins with ``SIMPLE  =``, possibly inside gzip or bzip2. Never raises."""
        from scisr_astronomy.fits_file import is_fits

        return is_fits(Path(path))

    def read(self, path: Path, **options: Any) -> list[Image]:
        """One image per science HDU, in file order, lazily.

        Parameters
        ----------
        path : Path
        hdu : str, int, or sequence of these
            ``"SCI"``, ``"SCI,2"``, ``1``; default: every image with two axes longer than one pixel that is no
            companion (ERR, DQ, VAR, WHT, ...) of another. Images not chosen are carried over as they are.
        quantity : {"auto", "density", "total"}
        wcs : {"keep", "none"}
        dq_bits : str
            Which bits of a DQ companion make a pixel bad: ``"all"`` (any non-zero), ``"none"``, or numbers.
        labels : bool
            Integers are flags or labels, repeated and never averaged. Without it, that is told by the HDU's name
            (DQ, MASK, SEGMAP) or NOIRLab's file name.
        colour : {"auto", "rgb", "planes"}
            ``"rgb"``: a cube's three planes are red, green and blue, upscaled through luminance; ``"planes"``: no
            axis is one of colours. By default as CTYPE3 says.
        max_inflated : str
        ignore_checksum : bool

        Raises
        ------
        SciSRError
        """
        path = Path(path)
        with _only_our_errors(path):
            from scisr_astronomy.reader import read_fits

            return read_fits(path, **options)

    def facts(self, path: Path) -> Mapping[str, str]:
        """Keywords of the primary header and of the first image's; see :mod:`scisr_astronomy.header_facts`."""
        path = Path(path)
        with _only_our_errors(path):
            from scisr_astronomy.header_facts import fits_facts

            return fits_facts(path)

    def subject(self, image: Image) -> str | None:
        """OBJECT of the image's header, else of the primary one."""
        metadata = image.metadata
        for hdu in (metadata.hdu, 0):
            name = metadata.file.peek(hdu).get("OBJECT")
            if isinstance(name, str) and name.strip():
                return " ".join(name.lower().split())
        return None

    def frame_files(self, paths: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
        """The files that are exposures, each with the masks and weights among `paths` that go with it.

        NOIRLab's are also found beside an image where they were not named; see :mod:`scisr_astronomy.companions`.
        """
        from scisr_astronomy.companions import pair_files, with_neighbours

        pairs = [(path, with_neighbours(path, found)) for path, found in pair_files([Path(p) for p in paths])]
        return [(path, {"companions": found} if found else {}) for path, found in pairs]

    def read_frames(self, path: Path, *, strict: bool = False, **options: Any) -> list[Frame]:
        """The exposures of one file, lazily: its science images, or the planes of a cube along time.

        Parameters
        ----------
        path : Path
        strict : bool
            Refuse a file whose CHECKSUM or DATASUM is wrong, or whose mask or weight can't be read; otherwise that
            is a warning, since the frames of a sequence check each other.
        companions : mapping of str to Path
            Masks and weights in files of their own, as :meth:`frame_files` finds them.
        dq_bits : str
            As for :meth:`read`; of JWST's flags by default only DO_NOT_USE counts.
        **options
            As for :meth:`read`.

        Raises
        ------
        SciSRError
        """
        path = Path(path)
        with _only_our_errors(path):
            from scisr_astronomy.frames import read_fits_frames

            return read_fits_frames(path, strict=strict, **options)

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, **options: Any
    ) -> Writer:
        """Begin an output like the file that `images` were read from; see :class:`sciSR.adapter.Adapter`.

        With ``uncertainty=True`` the standard deviation of each image is an extension ERR, or the new values of the
        input's own ERR, VAR or IVAR: see :mod:`scisr_astronomy.error_hdu`.
        """
        path = Path(path)
        with _only_our_errors(path):
            from scisr_astronomy.writer import FitsWriter

            return FitsWriter(path, images, overwrite=overwrite, uncertainty=bool(options.get("uncertainty")))

    def open_shared(
        self,
        path: Path,
        images: Sequence[Image],
        *,
        temporary: Path,
        overwrite: bool = False,
        align: tuple[int, int] = (1, 1),
    ) -> Any:
        """Begin an output that several processes fill; see :class:`scisr_astronomy.shared_writer.SharedFitsWriter`."""
        path = Path(path)
        with _only_our_errors(path):
            from scisr_astronomy.shared_writer import SharedFitsWriter

            return SharedFitsWriter(path, images, temporary=temporary, overwrite=overwrite)

    def shared_store(self, ticket: Mapping[str, Any]) -> Any:
        """Where another process puts its blocks: a context manager with ``put(index, block)``."""
        from scisr_astronomy.shared_writer import FitsStore

        return FitsStore(ticket)

    def write_fused(self, path: Path, fused: Fused, *, overwrite: bool = False) -> Path:
        """A fused image with error, weight, coverage and frames; see :mod:`scisr_astronomy.fused_product`."""
        path = Path(path)
        with _only_our_errors(path):
            from scisr_astronomy.fused_product import write_fused

            return write_fused(path, fused, overwrite=overwrite)

    def verifier(self) -> FitsVerifier:
        """What ``scisr verify`` asks of FITS; see :mod:`scisr_astronomy.verify_fits`."""
        from scisr_astronomy.verify_fits import FitsVerifier

        return FitsVerifier()

    def describe(self, path: Path) -> Mapping[str, Any]:
        """All HDUs with shape, role and unit, and the grid of each image; pixels and checksums are not read."""
        path = Path(path)
        with _only_our_errors(path):
            from scisr_astronomy.describe import describe_fits

            return describe_fits(path)

    def default_output(self, path: Path, scale: str) -> Path:
        """``m51.fits``, ``m51.fits.gz`` and ``m51.fits.fz`` all give ``m51_x2.fits``."""
        path = Path(path)
        stem = re.sub(r"\.(gz|bz2|fz)$", "", path.name, flags=re.I)
        stem = re.sub(r"\.(fits|fit|fts)$", "", stem, flags=re.I)
        return path.with_name(f"{stem}_x{scale}.fits")


@contextlib.contextmanager
def _only_our_errors(path: Path) -> Iterator[None]:
    """At the door: whatever a library raises becomes an UnreadableError that names the file."""
    try:
        with translate_os_errors(path):
            yield
    except SciSRError:
        raise
    except Exception as error:
        what = f"can't be used: {type(error).__name__}: {error}"
        raise UnreadableError(what[:300], where=path) from error


adapter = FitsAdapter()
