"""The Grid of a FITS image with world coordinates, in NumPy's axis order, computed by astropy.wcs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.errors import GeometryError
from sciSR.grid import compose, refined_shape
from scisr_astronomy.lookup_tables import lookups, refine_lookup
from scisr_astronomy.quiet import quiet
from scisr_astronomy.wcs_keywords import is_distorted, refine_wcs, undistorted


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table: the HDU's name and version, header and corrections; or a -TAB binary table as bytes."""

    name: str
    version: int
    header: Any
    data: Any


@dataclass(frozen=True, eq=False)
class WcsGrid:
    """World coordinates of a FITS image.

    Parameters
    ----------
    header : astropy.io.fits.Header
        The WCS keywords, for `shape`.
    shape : tuple of int
        NumPy order.
    factors : tuple of Fraction
        Refinement since the file was read, NumPy order.
    tables : tuple of Table
        Distortion look-up tables that `header` refers to.
    binary_tables : tuple of bytes
        Whole HDUs of coordinate look-up (``-TAB``) tables; they are indexed by intermediate world coordinates,
        so refinement leaves them alone.
    """

    header: Any
    shape: tuple[int, ...]
    factors: tuple[Fraction, ...] = ()
    tables: tuple[Table, ...] = field(default=(), repr=False)
    binary_tables: tuple[bytes, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.factors:
            object.__setattr__(self, "factors", (Fraction(1),) * len(self.shape))

    def refine(self, factors: Sequence[Fraction | int]) -> WcsGrid:
        fits_order = [Fraction(f) for f in reversed(factors)]
        shape = refined_shape(self.shape, factors)
        header = refine_wcs(self.header, fits_order)
        for n, size in enumerate(reversed(shape), start=1):
            if f"NAXIS{n}" in header:
                header[f"NAXIS{n}"] = size
        return WcsGrid(
            header,
            shape,
            compose(self.factors, factors),
            refine_tables(self.header, self.tables, fits_order),
            self.binary_tables,
        )

    def crop(self, shape: Sequence[int]) -> WcsGrid:
        """The grid of the first `shape` pixels (NumPy order)."""
        header = self.header.copy()
        for n, size in enumerate(reversed(shape), start=1):
            if f"NAXIS{n}" in header:
                header[f"NAXIS{n}"] = int(size)
        return replace(self, header=header, shape=tuple(shape))

    @functools.cached_property
    def wcs(self) -> Any:
        """The astropy.wcs.WCS; for more than two axes without the distortions, which :attr:`_plane` holds.

        Raises
        ------
        GeometryError
            The keywords make no valid world coordinate system.
        """
        bare = self._build(undistorted(self.header))
        return bare if bare.naxis > 2 or not self._distorted else self._build(self.header)

    @functools.cached_property
    def _plane(self) -> Any:
        """The WCS whose distortions are evaluated: astropy knows them in two dimensions only."""
        return self.wcs if self.wcs.naxis <= 2 else self._build(self.header, naxis=2)

    def _build(self, header: Any, **how: Any) -> Any:
        from astropy.io import fits
        from astropy.wcs import WCS

        try:
            with quiet():
                extra = [fits.BinTableHDU.fromstring(raw) for raw in self.binary_tables]
                hdus = fits.HDUList([fits.PrimaryHDU(), *(_table_hdu(t) for t in self.tables), *extra])
                wcs = WCS(header.copy(), fobj=hdus, **how)
                wcs.wcs.set()
        except Exception as error:  # wcslib's errors come as a dozen types
            raise GeometryError(f"the WCS is invalid: {_first_line(error)}") from error
        return wcs

    def world(self, index: np.ndarray) -> np.ndarray:
        """World coordinates ``(..., naxis)`` in FITS axis order and the WCS's units (degrees for the sky).

        NaN where the projection has none.
        """
        index = np.asarray(index, dtype=np.float64)
        pixel = self._pixel(index.reshape(-1, len(self.shape)))
        with quiet(), np.errstate(all="ignore"):
            try:
                focal = self._to_focal(pixel)
                world = self.wcs.wcs.p2s(focal, 1)
            except GeometryError:
                raise
            except Exception as error:
                raise GeometryError(f"the WCS can't be evaluated: {_first_line(error)}") from error
        values = np.where((world["stat"] != 0)[:, None], np.nan, world["world"])
        return values.reshape(*index.shape[:-1], values.shape[-1])

    def index(self, world: np.ndarray) -> np.ndarray:
        """Pixel indices of world coordinates; distortions are inverted by iteration, until they move less than
        1e-10 pixel."""
        world = np.asarray(world, dtype=np.float64)
        flat = world.reshape(-1, world.shape[-1])
        with quiet(), np.errstate(all="ignore"):
            try:
                result = self.wcs.wcs.s2p(flat, 1)
            except Exception as error:
                raise GeometryError(f"the WCS can't be inverted: {_first_line(error)}") from error
            focal = np.where((result["stat"] != 0)[:, None], np.nan, result["pixcrd"])
            pixel = self._from_focal(focal)
        ndim = len(self.shape)
        if pixel.shape[1] < ndim:
            pixel = np.hstack([pixel, np.ones((len(pixel), ndim - pixel.shape[1]))])
        return (pixel[:, :ndim] - 1)[:, ::-1].reshape(*world.shape[:-1], ndim)

    def _pixel(self, index: np.ndarray) -> np.ndarray:
        """1-based FITS pixel coordinates with as many columns as the WCS has axes; missing ones are 1."""
        pixel = index[:, ::-1] + 1
        missing = self.wcs.naxis - pixel.shape[1]
        if missing > 0:
            pixel = np.hstack([pixel, np.ones((len(pixel), missing))])
        return np.ascontiguousarray(pixel[:, : self.wcs.naxis])

    @property
    def _distorted(self) -> bool:
        return is_distorted(self.header)

    def _to_focal(self, pixel: np.ndarray) -> np.ndarray:
        """Detector corrections, SIP and look-up distortion of the first two axes."""
        if not self._distorted:
            return pixel
        pixel = pixel.copy()
        pixel[:, :2] = self._plane._pix2foc(np.ascontiguousarray(pixel[:, :2]), 1)
        return pixel

    def _from_focal(self, focal: np.ndarray) -> np.ndarray:
        if not self._distorted:
            return focal
        pixel = focal.copy()
        for _ in range(50):
            step = self._to_focal(pixel)[:, :2] - focal[:, :2]
            pixel[:, :2] -= step
            if not np.any(np.abs(step) > 1e-10):
                break
        return pixel

    def check(self) -> None:
        """Evaluate the corners and the centre once.

        Raises
        ------
        GeometryError
            The WCS can't be set up or evaluated, or different pixels share one place.
        """
        self._check_matrix()
        ends = np.array([[0.0] * len(self.shape), [n - 1.0 for n in self.shape]])
        self.world(np.vstack([ends, ends.mean(axis=0)]))

    def _check_matrix(self) -> None:
        """wcslib inverts a singular matrix to NaN without a word."""
        core = self.wcs.wcs
        matrix = np.array(core.cd) if core.has_cd() else core.get_cdelt()[:, None] * core.get_pc()
        wide = [n for n, size in enumerate(reversed(self.shape)) if size > 1 and n < len(matrix)]
        columns = matrix[:, wide]
        columns = columns / np.maximum(np.abs(columns).max(axis=0, initial=0.0), np.finfo(float).tiny)
        if not np.isfinite(columns).all() or np.linalg.matrix_rank(columns, tol=1e-12) < len(wide):
            raise GeometryError("the matrix from pixels to the world is singular")

    def describe(self) -> Mapping[str, Any]:
        from astropy.wcs.utils import proj_plane_pixel_scales

        core = self.wcs.wcs
        with quiet(), np.errstate(all="ignore"):
            try:
                scales = list(proj_plane_pixel_scales(self.wcs))
            except Exception:  # some matrices have none
                scales = []
            centre = self.world(np.array([(n - 1) / 2 for n in self.shape]))
        return {
            "type": "wcs",
            "shape": list(self.shape),
            "ctype": [str(c) for c in core.ctype],
            "unit": [str(u) for u in core.cunit],
            "pixel_scale": [_finite(s) for s in scales],
            "centre": [_finite(c) for c in centre],
            "frame": str(core.radesys) or None,
            "alternates": [letter for letter in _letters(self.header) if letter],
            "distortion": self._distorted,
        }


def refine_tables(header: Any, tables: Sequence[Table], factors: Sequence[Fraction]) -> tuple[Table, ...]:
    """The look-up tables of a refined image; `factors` in FITS order.

    Raises
    ------
    GeometryError
        One table corrects two axes that are refined differently.
    """
    axes: dict[tuple[str, int], set[int]] = {}
    for use in lookups(header):
        axes.setdefault((use.name, use.version), set()).add(use.axis)
    out = []
    for table in tables:
        used = axes.get((table.name, table.version), {1})
        if len({factors[axis - 1] for axis in used}) > 1:
            raise GeometryError(f"{table.name},{table.version} corrects axes that are refined differently")
        refined, data = refine_lookup(table.header, table.data, min(used), factors)
        out.append(Table(table.name, table.version, refined, data))
    return tuple(out)


def _table_hdu(table: Table) -> Any:
    from astropy.io import fits

    hdu = fits.ImageHDU(np.asarray(table.data), header=table.header)
    hdu.name, hdu.ver = table.name, table.version
    return hdu


def _letters(header: Any) -> list[str]:
    from scisr_astronomy.wcs_keywords import _alternates

    return list(_alternates(header))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
