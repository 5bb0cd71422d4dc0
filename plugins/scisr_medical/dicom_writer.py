"""Writes a derived series: one classic file a slice, or one enhanced file a volume or time series; all or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sciSR.errors import GeometryError, UnsupportedError, UsageError, VerificationError
from sciSR.files import atomic_output, check_output, translate_os_errors
from sciSR.image import Image
from sciSR.views import NearestView, full_index
from scisr_medical.dicom_derive import CLASSIC_CLASS, Derivation, derive_instance
from scisr_medical.dicom_encoding import Encoding, choose_encoding
from scisr_medical.dicom_io import translate
from scisr_medical.dicom_map_targets import Written, check_maps, map_name
from scisr_medical.dicom_series import Stack


@dataclass
class _Part:
    """One output image: its source stack and the scratch space that collects its pixels."""

    stack: Stack
    factors: tuple[Fraction, ...]
    scratch: np.ndarray
    """float32, in the image's axis order (a view of memory that runs slice by slice)."""
    mask: Any
    received: int = 0

    @property
    def plane_shape(self) -> tuple[int, int]:
        rows, columns = self.scratch.shape[1:3]
        return int(rows), int(columns)

    def planes(self) -> list[tuple[int, ...]]:
        """Outer indices in the order of InstanceNumber: slice by slice within each volume."""
        outer = (self.scratch.shape[0], *self.scratch.shape[3:])
        return sorted(np.ndindex(*outer), key=lambda at: at[::-1])

    def values(self, at: tuple[int, ...]) -> np.ndarray:
        return self.scratch[(at[0], slice(None), slice(None), *at[1:])]

    def bad(self, at: tuple[int, ...]) -> np.ndarray | None:
        if self.mask is None:
            return None
        return np.asarray(self.mask[(at[0], slice(None), slice(None), *at[1:])])


class SeriesWriter:
    """Collects blocks on disk, then writes the series: geometry-medical rules in :mod:`scisr_medical.dicom_derive`.

    Parameters
    ----------
    path : Path
        A folder; or a name ending in ``.dcm`` for a single slice, or for one enhanced multi-frame image.
    images : sequence of Image
        As :meth:`sciSR.adapter.Adapter.open_writer` takes them; each ``metadata`` is the :class:`Stack` it came from.
    keep_private : tuple of int
        Groups of private elements that are copied.
    synthetic : bool
        Mark the images as SyntheticData (for generative models).
    classic : bool
        Write classic single-frame files for enhanced multi-frame sources too; always into a folder, `path` without
        ``.dcm``.
    uncertainty : bool
        Write a Parametric Map of the standard deviation of each image that has one: into the folder, or beside the
        one file with ``_uncertainty`` in its name.

    Raises
    ------
    UsageError
        An image made in memory: a derived series needs a source series.
    """

    def __init__(
        self,
        path: Path,
        images: Sequence[Image],
        *,
        overwrite: bool,
        keep_private: tuple[int, ...] = (),
        synthetic: bool = False,
        classic: bool = False,
        uncertainty: bool = False,
    ) -> None:
        self.path, self.overwrite = Path(path), overwrite
        self.keep_private, self.synthetic, self.uncertainty = keep_private, synthetic, uncertainty
        self.uncertainty_files: tuple[Path, ...] = ()
        self._open = contextlib.ExitStack()
        stacks = [_check_source(image, self.path) for image in images]
        from_frames = all(stack.enhanced for stack in stacks)
        self._enhanced = from_frames and not classic
        self.count = len(images) if self._enhanced else sum(_slices(image) for image in images)
        if from_frames and classic:
            _check_classic(stacks, self.path)
            if self.count > 1 and self.path.name.lower().endswith(".dcm"):
                self.path = path = self.path.with_suffix("")
        self._single = self.path.name.lower().endswith(".dcm")
        _check_target(self.path, single=self._single, overwrite=overwrite)
        if uncertainty:
            check_maps(images, self.path)
        sources = {i.path.resolve() for s in stacks for i in s.slices.flat}
        if self.path.resolve() in sources.union(*(p.parents for p in sources)):
            raise UsageError("is the input or a folder around it", where=path, remedy="give another name")
        if self._single and self.count != 1:
            holds = "one image, the result is" if self._enhanced else "one slice, the result has"
            raise UsageError(
                f"one .dcm file holds {holds} {self.count}",
                where=path,
                remedy="name a folder",
            )
        existing_empty = self.path.is_dir() and not any(self.path.iterdir()) and not self._single
        check_output(self.path, overwrite=overwrite or existing_empty)
        with contextlib.ExitStack() as opening, translate_os_errors(self.path):
            self.parts = [
                _new_part(i, s, opening, self.path.parent) for i, s in zip(images, stacks, strict=True)
            ]
            self._open = opening.pop_all()

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        target = self.parts[part]
        with translate(self.path, "can't be written", quote=False), translate_os_errors(self.path):
            where = full_index(index, target.scratch.ndim)
            target.scratch[where] = block
            target.received += int(np.prod(target.scratch[where].shape, dtype=np.int64))

    def commit(self, images: Sequence[Image]) -> Path:
        for part in self.parts:
            if part.received < part.scratch.size:
                raise VerificationError(
                    f"only {part.received} of {part.scratch.size} pixels were given to the writer",
                    where=self.path,
                )
        with (
            translate(self.path, "can't be written", quote=False),
            translate_os_errors(self.path),
            atomic_output(self.path, overwrite=self.overwrite, folder=not self._single) as target,
            contextlib.ExitStack() as beside,
        ):
            written = self._write(target, images)
            if self.uncertainty:
                self._write_maps(target, images, written, beside)
        self.close()
        return self.path

    def _write(self, target: Path, images: Sequence[Image]) -> list[Written]:
        encoding, digest, clipped = self._survey()
        written: list[Written] = []
        number = 0
        for part, image in zip(self.parts, images, strict=True):
            derivation = Derivation(
                stack=part.stack,
                factors=part.factors,
                encoding=encoding,
                digest=digest,
                clipped=clipped,
                provenance=image.provenance,
                now=datetime.now(),
                keep_private=self.keep_private,
                synthetic=self.synthetic,
            )
            written.append(Written(derivation, {}))
            write = self._write_frames if self._enhanced else self._write_slices
            number = write(target, part, written[-1], number)
        return written

    def _name(self, target: Path, number: int) -> Path:
        return target if self._single else target / f"IM_{number:0{max(4, len(str(self.count)))}d}.dcm"

    def _write_slices(self, target: Path, part: _Part, written: Written, number: int) -> int:
        derivation = written.derivation
        for at in part.planes():
            number += 1
            stored, _ = derivation.encoding.encode(part.values(at), part.bad(at))
            dataset = derive_instance(derivation, at, stored, number)
            with translate(self.path, "can't be written", quote=False):
                dataset.save_as(self._name(target, number), enforce_file_format=True)
            if self.uncertainty:
                written.note(at, dataset)
        return number

    def _write_frames(self, target: Path, part: _Part, written: Written, number: int) -> int:
        from scisr_medical.dicom_enhanced_writer import write_enhanced

        number += 1
        planes, encoding = part.planes(), written.derivation.encoding
        dataset = write_enhanced(
            self._name(target, number),
            written.derivation,
            planes,
            (encoding.encode(part.values(at), part.bad(at))[0] for at in planes),
            part.plane_shape,
            number,
        )
        for frame, at in enumerate(planes, 1):
            written.note(at, dataset, frame)
        return number

    def _write_maps(
        self, target: Path, images: Sequence[Image], written: list[Written], beside: contextlib.ExitStack
    ) -> None:
        """Into the folder; or beside the one file, committed together with it."""
        from scisr_medical.dicom_parametric_map import write_maps

        def name(number: int, count: int) -> Path:
            if not self._single:
                self.uncertainty_files += (self.path / f"SD_{number:04d}.dcm",)
                return target / f"SD_{number:04d}.dcm"
            side = map_name(self.path, number, count)
            self.uncertainty_files += (side,)
            return beside.enter_context(atomic_output(side, overwrite=self.overwrite))

        bad = [part.bad for part in self.parts]
        write_maps(name, images, written, bad, self.path)

    def _survey(self) -> tuple[Encoding, str, int]:
        """One pass over all pixels: range, digest; then, with the encoding known, what it clips."""
        low, high, nan = np.inf, -np.inf, False
        digest = hashlib.sha256()
        for part in self.parts:
            for at in part.planes():
                values, bad = part.values(at), part.bad(at)
                digest.update(np.ascontiguousarray(values).tobytes())
                finite = np.isfinite(values)
                nan = nan or bool(np.isnan(values).any())
                good = values[finite if bad is None else finite & ~bad]
                if good.size:
                    low, high = min(low, float(good.min())), max(high, float(good.max()))
        if low > high:
            low = high = 0.0
        sources = [i for part in self.parts for i in part.stack.slices.flat]
        encoding = choose_encoding(sources, low, high, needs_padding=nan)
        least, most = encoding.limits
        ends = sorted((encoding.stored(low), encoding.stored(high)))
        clipped = 0
        if ends[0] < least - 0.5 or ends[1] > most + 0.5:
            clipped = sum(
                encoding.encode(p.values(at), p.bad(at))[1] for p in self.parts for at in p.planes()
            )
        return encoding, digest.hexdigest(), clipped

    def close(self) -> None:
        for part in self.parts:
            part.scratch = np.empty((0,) * part.scratch.ndim, np.float32)
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _slices(image: Image) -> int:
    return int(np.prod([n for a, n in zip(image.axes, image.shape, strict=True) if a not in ("y", "x")]))


def _check_classic(stacks: Sequence[Stack], path: Path) -> None:
    """Refuse what has no classic object that could be read again here.

    Raises
    ------
    UnsupportedError
    """
    if other := {s.first.modality for s in stacks} - CLASSIC_CLASS.keys():
        raise UnsupportedError(
            f"classic images of modality {other.pop()} are not written",
            where=path,
            remedy="leave out --classic",
        )


def _check_target(path: Path, *, single: bool, overwrite: bool) -> None:
    """Refuse a name that promises another format, and a folder whose replacement would destroy something else.

    Raises
    ------
    UsageError
    """
    from sciSR.plugins import adapters

    others = {name: other.suffixes for name, other in adapters().items() if name != "dicom"}
    others["gzipped DICOM"] = (".dcm.gz",)
    for name, suffixes in others.items():
        if path.name.lower().endswith(suffixes) and not path.is_dir():
            raise UsageError(
                f"a DICOM series does not become a {name} file",
                where=path,
                remedy="name a folder for the result",
            )
    if path.is_dir() == single and path.exists():
        kinds = ("a folder", "a file") if single else ("a file", "a folder")
        raise UsageError(f"is {kinds[0]}, the result is {kinds[1]}", where=path, remedy="give another name")
    if overwrite and not single and path.is_dir():
        foreign = [p.name for p in sorted(path.iterdir()) if p.is_dir() or p.suffix.lower() != ".dcm"]
        if foreign:
            raise UsageError(
                f"holds more than a DICOM series ({foreign[0]}), which would be lost",
                where=path,
                remedy="name another folder",
            )


def _check_source(image: Image, path: Path) -> Stack:
    stack = image.metadata
    if not isinstance(stack, Stack):
        raise UsageError(
            "a derived DICOM series needs the series it is derived from, and this image was not read from one",
            where=path,
            remedy="write NIfTI instead, e.g. name the output .nii.gz",
        )
    # Coarser pixels may leave out a rest at the far end.
    expected = tuple(int(n * f) for n, f in zip(stack.grid.shape, image.grid.factors, strict=True))
    if image.axes != stack.axes or image.shape != expected:
        raise UsageError(
            f"axes {image.axes} of shape {image.shape} are not a refinement of the source's {stack.axes} "
            f"of shape {stack.grid.shape}",
            where=path,
        )
    if image.grid.factors[0] != 1 and (not stack.regular or len(stack.slices) < 2):
        raise GeometryError("loose slices can't be refined across slices", where=path)
    return stack


def _new_part(image: Image, stack: Stack, opening: contextlib.ExitStack, folder: Path) -> _Part:
    """Scratch space without a name, so that even a killed run leaves nothing behind."""
    outer = (image.shape[0], *image.shape[3:])
    shape = (*outer, *image.shape[1:3])
    file = opening.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115  (closed by `opening`)
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(
            file.fileno(), 0, size
        )  # a full disk is an error here, a crash through a memory map
    scratch: np.ndarray = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
    if len(outer) == 2:
        scratch = np.moveaxis(scratch, 1, -1)
    mask = image.mask
    if mask is not None and tuple(mask.shape) != image.shape:
        mask = NearestView(mask, image.grid.factors)
    return _Part(stack, tuple(Fraction(f) for f in image.grid.factors), scratch, mask)
