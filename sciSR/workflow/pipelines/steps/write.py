"""The step ``write``: the product, under its name in the output folder."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.workflow.pipelines.products import (
    bare,
    beside,
    one_input,
    pixels,
    run_one,
    same_content,
    still_fitting,
    suffix_of,
)
from sciSR.workflow.pipelines.work import Product, Work

GZIP = ".gz"


def write(work: Work, *, format: str | None = None, output: str | None = None) -> Product:
    """Put the product, and what belongs to it, into the output folder once all steps have passed.

    Parameters
    ----------
    format : str
        Suffix to write it with: .fits.gz and .nii compress and decompress; .nii.gz of a DICOM series converts it as
        far as the formats can. By default as it is.
    output : str
        Template of its name, without suffix, for products that are not the last; by default the outputs' name.

    Raises
    ------
    UsageError
        The format can't hold the product, or the product is a sequence that was not fused.
    """
    from sciSR.plugins import adapter_for
    from sciSR.workflow.pipelines.naming import fill

    if output is not None:
        work = replace(work, name=fill(output, work.facts))
    path = one_input(work)
    adapter = adapter_for(path)
    old = suffix_of(adapter, path) if path.is_dir() else path.name[len(bare(path.name, adapter)) :]
    new = old if format is None else f".{format.lstrip('.')}"
    name = Path(work.name).name
    target = work.folder / f"{name}{new}"
    options = work.product.options
    if _compression(old, new) is None:
        others = _converted(work, new)
        options = still_fitting(target, options)
    else:
        _copy(work, path, target, _compression(old, new))
        others = _beside(work, path, (old, new), name)
    parent = Path(work.name).parent
    ready = {str(parent / made.name): made for made in (target, *others)}
    return replace(
        work.product,
        files=(target,),
        sequence=False,
        options=options,
        beside=tuple(others),
        ready=ready,
        record={"files": list(ready)},
        messages=(),
        state={**work.product.state, "pixels": pixels(work.product)},
    )


def _compression(old: str, new: str) -> str | None:
    """What makes a file of one suffix into one of another without looking into it; None where that takes more."""
    if old.lower() == new.lower():
        return "same"
    if old.lower() + GZIP == new.lower():
        return "compress"
    return "inflate" if new.lower() + GZIP == old.lower() else None


def _copy(work: Work, path: Path, target: Path, how: str | None) -> None:
    """The same content: linked, compressed (the same bytes in every run), or decompressed."""
    if how == "compress":
        with (
            open(path, "rb") as source,
            open(target, "wb") as sink,
            gzip.GzipFile("", "wb", 6, sink, mtime=0) as packed,
        ):
            shutil.copyfileobj(source, packed, 1 << 22)
    elif how == "inflate":
        with gzip.open(path, "rb") as packed, open(target, "wb") as sink:
            shutil.copyfileobj(packed, sink, 1 << 22)
    else:
        same_content(path, target, linking=_made_here(work, path))


def _beside(work: Work, path: Path, suffixes: tuple[str, str], name: str) -> list[Path]:
    """What belongs to the product, under the same change of name and suffix."""
    stem, made, (old, new) = bare(path.name), [], suffixes
    for other in work.product.beside:
        ending = other.name[len(stem) :] if other.name.startswith(stem) else f"_{other.name}"
        how = "same"
        if old and ending.endswith(old):
            ending, how = ending[: -len(old)] + new, str(_compression(old, new))
        target = work.folder / f"{name}{ending}"
        _copy(work, other, target, how)
        made.append(target)
    return made


def _made_here(work: Work, path: Path) -> bool:
    """Whether a file was made by a step of this item; it lies in that step's folder."""
    return work.folder.parent.resolve() in path.resolve().parents


def _converted(work: Work, suffix: str) -> list[Path]:
    """The product read and written again in another format, block by block; what the format wrote beside it."""
    # A format that keeps its record in words only has none that another could hold in full.
    steps = tuple(work.product.state.get("steps", ()))
    target, _ = run_one(work, lambda image: _AsItIs(image, steps), named="same", suffix=suffix)
    return list(beside(target))


@dataclass
class _AsItIs:
    """The plan of a copy; see :class:`sciSR.workflow.run.Plan`."""

    image: Image
    steps: tuple[Any, ...] = ()
    messages: list[str] = field(default_factory=list)

    @property
    def output(self) -> Image:
        """The image; that it was read once more is nothing that was done to it."""
        *told, read = self.image.provenance.steps
        return self.image.replace(provenance=Provenance(tuple(told or self.steps or [read])))

    def run(self, put: Any, progress: Any = None) -> Image:
        """By bands of rows of each plane."""
        from sciSR.api import _planes

        indices = _planes(self.image)
        for number, index in enumerate(indices, 1):
            for band in _bands(self.image, index):
                put(band, self.image.data[band])
            if progress is not None:
                progress(number / len(indices))
        return self.output


def _bands(image: Image, index: tuple[slice | int, ...]) -> list[tuple[slice | int, ...]]:
    """One plane in pieces of about 64 MB."""
    rows, columns = image.spatial_axes
    step = max(1, (1 << 24) // max(1, image.shape[columns]))
    return [
        tuple(
            slice(start, min(start + step, image.shape[rows])) if axis == rows else entry
            for axis, entry in enumerate(index)
        )
        for start in range(0, image.shape[rows], step)
    ]
