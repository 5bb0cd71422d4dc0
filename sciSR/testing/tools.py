"""What the checks share: a subject, results like the engine's, writing, damaging, comparing."""

from __future__ import annotations

import hashlib
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.adapter import Adapter
from sciSR.errors import SciSRError
from sciSR.grid import exact_factors
from sciSR.image import Image
from sciSR.views import NearestView

SEED = 20_240_229


@dataclass(frozen=True)
class Subject:
    """An adapter, one file of its format, and how to use them.

    Parameters
    ----------
    adapter : Adapter
    path : Path
        A file, or a folder for formats that are read by folder.
    read : mapping
        Options for :meth:`~sciSR.adapter.Adapter.read`.
    write : mapping
        Options for :meth:`~sciSR.adapter.Adapter.open_writer`.
    tolerance : float
        Largest error of a position after writing and reading again, in pixels of the finer image. The default
        leaves room for formats that store positions as text or float32.
    content : callable, optional
        ``content(path) -> bytes`` of an output, without what may differ between runs (dates); the default takes
        all bytes of the file, or of a folder's files.
    """

    adapter: Adapter
    path: Path
    read: Mapping[str, Any] = field(default_factory=dict)
    write: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-3
    content: Callable[[Path], bytes] | None = None

    @property
    def where(self) -> str:
        """How failures name it."""
        return f"{self.adapter.name}, {self.path.name}"

    def images(self, path: Path | None = None) -> list[Image]:
        with quiet():
            return self.adapter.read(self.path if path is None else path, **self.read)

    def output(self, folder: Path, name: str = "out") -> Path:
        """An output's name in `folder`, with the suffix that the adapter itself would choose."""
        folder.mkdir(parents=True, exist_ok=True)
        base = self.path.name.split(".")[0]
        suffix = self.adapter.default_output(self.path, "2").name.removeprefix(f"{base}_x2")
        return folder / f"{name}{suffix}"


class AsFloat32:
    """A lazy array as float32: what the engine hands to writers."""

    def __init__(self, source: Any) -> None:
        self.source, self.shape, self.dtype = source, source.shape, np.dtype(np.float32)

    def __getitem__(self, index: Any) -> np.ndarray:
        with np.errstate(over="ignore"):
            return self.source[index].astype(np.float32)


def refine_nearest(image: Image, scale: Fraction | int | float) -> Image:
    """What the engine makes of an image with the nearest-neighbour method: same grid, dtype, uncertainty and mask."""
    wanted = [
        Fraction(scale) if axis in image.spatial_axes else Fraction(1) for axis in range(len(image.shape))
    ]
    factors = exact_factors(image.shape, wanted)
    share = 1.0 if image.quantity == "density" else float(1 / np.prod([Fraction(f) for f in factors]))
    labels = image.kind == "labels"
    data = NearestView(image.data, factors, scale=1.0 if labels else share)
    record = {"software": "sciSR", "step": "upscale", "scale": str(Fraction(scale)), "model": "nearest"}
    return image.replace(
        data=data if labels else AsFloat32(data),
        grid=image.grid.refine(factors),
        uncertainty=None
        if image.uncertainty is None
        else NearestView(image.uncertainty, factors, scale=share),
        mask=None if image.mask is None else NearestView(image.mask, factors),
        provenance=image.provenance.add(**record),
    )


def write_images(
    subject: Subject,
    images: Sequence[Image],
    target: Path,
    *,
    overwrite: bool = False,
    shuffled: bool = False,
    final: Sequence[Image] | None = None,
) -> Path:
    """Write images plane by plane, or in shuffled pieces of planes; `final` is handed to commit instead."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        quiet(),
        subject.adapter.open_writer(target, images, overwrite=overwrite, **subject.write) as writer,
    ):
        for part, index, block in blocks(images, shuffled=shuffled):
            writer.put(part, index, block)
        return writer.commit(images if final is None else final)


def blocks(
    images: Sequence[Image], *, shuffled: bool = False
) -> Iterator[tuple[int, tuple[Any, ...], np.ndarray]]:
    found = []
    for part, image in enumerate(images):
        first, second = image.spatial_axes
        spans = {}
        for axis in (first, second):
            size = image.shape[axis]
            cut = size // 3 if shuffled and size > 2 else 0
            spans[axis] = [slice(0, cut), slice(cut, size)] if cut else [slice(0, size)]
        outer = [range(len(spans[a])) if a in spans else range(n) for a, n in enumerate(image.shape)]
        for where in np.ndindex(*(len(r) for r in outer)):
            found += [(part, tuple(spans[a][i] if a in spans else i for a, i in enumerate(where)))]
    if shuffled:
        random.Random(SEED).shuffle(found)
    for part, index in found:
        yield part, index, np.asarray(images[part].data[index])


def probes(image: Image) -> Iterator[tuple[Any, ...]]:
    """Index tuples to read: a middle plane, an inner block, one pixel."""
    middle = [n // 2 for n in image.shape]
    yield tuple(slice(None) if a in image.spatial_axes else m for a, m in enumerate(middle))
    yield tuple(slice(m, min(m + 3, n)) for m, n in zip(middle, image.shape, strict=True))
    yield tuple(middle)


def landmarks(image: Image) -> Iterator[tuple[float, ...]]:
    """Outer corners of the spatial axes, at the first and last place of all others, and the centre."""
    ends = [(-0.5, n - 0.5) if a in image.spatial_axes else (0.0, n - 1.0) for a, n in enumerate(image.shape)]
    for which in np.ndindex(*(2,) * len(ends)):
        yield tuple(end[i] for end, i in zip(ends, which, strict=True))
    yield tuple((n - 1) / 2 for n in image.shape)


def copy_with_companions(path: Path, folder: Path) -> tuple[Path, Path]:
    """A copy of a file with its companions (same name up to the first dot), or of a folder; and its largest file."""
    if path.is_dir():
        copy = folder / path.name
        shutil.copytree(path, copy)
        files = [p for p in copy.rglob("*") if p.is_file()]
        for each in files:
            each.chmod(0o644)
        return copy, max(files, key=lambda p: (p.stat().st_size, p.name))
    folder.mkdir(parents=True)
    base = path.name.split(".")[0]
    companions = [p for p in path.parent.iterdir() if p.is_file() and p.name.split(".")[0] == base]
    copies = [Path(shutil.copyfile(each, folder / each.name)) for each in companions]
    copy = folder / path.name
    pair = [c for c in copies if c.suffix.lower() in (".img", ".hdr")]
    return copy, max(pair, key=lambda p: p.stat().st_size) if copy in pair else copy


def check_message(subject: Subject, error: SciSRError, path: Path | None = None) -> None:
    """One line that names the file (the subject's own unless `path` is given)."""
    text, name = str(error), (subject.path if path is None else path).name
    expect("\n" not in text, subject, "a message must be one line", repr(text))
    expect(name.split(".")[0] in text, subject, f"a message must name {name}", repr(text))


def all_bytes(path: Path) -> bytes:
    if path.is_file():
        return path.read_bytes()
    return b"".join(p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file())


def digest(path: Path) -> str:
    return hashlib.sha256(all_bytes(path)).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def floats(array: np.ndarray) -> bool:
    return array.dtype.kind in "fc"


def expect(fulfilled: bool, subject: Subject | str, promise: str, found: str) -> None:
    """Raise AssertionError with the promise and what was found, unless it is fulfilled."""
    if not fulfilled:
        where = subject if isinstance(subject, str) else subject.where
        raise AssertionError(f"{where}: {promise}, but: {found}")


class Interrupted(Exception):
    """What a user's abort looks like to a writer."""


def quiet() -> warnings.catch_warnings:
    """Adapters may warn about a file; that is no failure here."""
    return warnings.catch_warnings(action="ignore")
