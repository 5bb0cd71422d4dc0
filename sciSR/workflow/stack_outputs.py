"""The files of a fused volume: all checked before any work, all written at the end, the volume itself last."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.adapter import Adapter
from sciSR.errors import UsageError
from sciSR.files import atomic_output, encodable, translate_os_errors
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.plugins import adapter_for_output, adapters
from sciSR.workflow.fusing import check_outputs

NOTICE = "Research use only, not for diagnosis"


@dataclass(frozen=True)
class StackOutputs:
    """Where everything goes.

    Attributes
    ----------
    product, deviation, record : Path
        The volume, its standard deviation, and the JSON file that tells how it was made.
    weight, contact_sheet, report : Path or None
        None where not wanted.
    adapter : Adapter
        Of the three volumes' format.
    """

    product: Path
    deviation: Path
    record: Path
    weight: Path | None
    contact_sheet: Path | None
    report: Path | None
    adapter: Adapter

    def volumes(self) -> list[Path]:
        """Those that hold voxels, the product first."""
        return [path for path in (self.product, self.deviation, self.weight) if path is not None]

    def all(self) -> list[Path]:
        """Those that are wanted, the product first."""
        others = (self.record, self.contact_sheet, self.report)
        return [*self.volumes(), *[path for path in others if path is not None]]

    def as_dict(self) -> dict[str, str | None]:
        """Paths as text, by the names of the attributes."""
        names = ("product", "deviation", "weight", "record", "contact_sheet", "report")
        texts = {name: getattr(self, name) for name in names}
        return {name: None if path is None else str(path) for name, path in texts.items()}


def plan_stack_outputs(
    product: Path | str,
    *,
    weight: bool = False,
    contact_sheet: bool = True,
    report: bool | Path | str = False,
) -> StackOutputs:
    """Names of all files: ``iso.nii.gz``, ``iso_std.nii.gz``, ``iso_weight.nii.gz``, ``iso.json``, ``iso.png``.

    Raises
    ------
    UsageError
        A name whose format can't hold a volume that was made here; a report that would not be an HTML page.
    """
    product = Path(product)
    adapter = _adapter(product)
    suffix = next(product.name[-len(s) :] for s in adapter.suffixes if product.name.lower().endswith(s))
    stem = product.name[: -len(suffix)]
    if not stem:
        raise UsageError("the output has no name", where=product, remedy=f"e.g. iso{suffix}")

    def beside(ending: str) -> Path:
        return product.with_name(f"{stem}{ending}")

    page = None
    if report is not False and report is not None:
        page = beside(".html") if report is True or str(report) == "" else Path(str(report))
        if page.suffix.lower() not in (".html", ".htm"):
            raise UsageError(
                "a report is an .html file",
                where=page,
                remedy="give --report=NAME.html, or --report alone at the end",
            )
    return StackOutputs(
        product,
        beside(f"_std{suffix}"),
        beside(".json"),
        beside(f"_weight{suffix}") if weight else None,
        beside(".png") if contact_sheet else None,
        page,
        adapter,
    )


def _adapter(product: Path) -> Adapter:
    able = [a for a in adapters().values() if getattr(a, "writes_volumes", False)]
    suffixes = " or ".join(dict.fromkeys(a.suffixes[0] for a in able)) or "none installed"
    remedy = f"give a name in {suffixes}"
    if product.is_dir():
        raise UsageError("is a folder; a fused volume is one file", where=product, remedy=remedy)
    try:
        adapter = adapter_for_output(product)
    except UsageError:
        raise UsageError("no file name for a fused volume", where=product, remedy=remedy) from None
    if not getattr(adapter, "writes_volumes", False):
        raise UsageError(
            f"a fused volume can't be written as {adapter.name}, whose header describes one acquisition or none",
            where=product,
            remedy=remedy,
        )
    return adapter


def check_stack_outputs(outputs: StackOutputs, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse, before any work, outputs that exist, coincide, are inputs, or can't be written.

    Raises
    ------
    UsageError
    """
    for path in outputs.all():
        if path.is_dir():
            raise UsageError("is a folder", where=path, remedy="name another output")
    check_outputs(outputs, inputs, overwrite=overwrite, called="inputs")
    small = Image(
        np.zeros((2, 2, 2), np.float32), ("x", "y", "z"), ("x", "y"), AffineGrid((2, 2, 2), np.eye(4))
    )
    for path in outputs.volumes():
        with outputs.adapter.open_writer(path, [small], overwrite=overwrite):
            pass  # the format's own checks; leaving without a commit writes nothing


def write_all(
    outputs: StackOutputs,
    images: Sequence[Image],
    others: Mapping[Path, Callable[[Path], Any]],
    *,
    overwrite: bool = False,
) -> None:
    """Write every file under another name first; all of them then appear together, the volume itself last.

    Parameters
    ----------
    outputs : StackOutputs
    images : sequence of Image
        One for each of ``outputs.volumes()``.
    others : mapping of path to callable
        Writes what belongs at that path to the path that it is given.
    overwrite : bool

    Raises
    ------
    SciSRError
        The disk is full, or a file can't be written.
    """
    folder = outputs.product.parent
    with (
        translate_os_errors(outputs.product),
        tempfile.TemporaryDirectory(
            prefix=f".{outputs.product.name[:80]}.", suffix=".tmp", dir=folder
        ) as scratch,
    ):
        staged: list[tuple[Path, Path]] = []  # (under another name, its place)
        for number, (target, image) in enumerate(zip(outputs.volumes(), images, strict=True)):
            staged += _stage_volume(outputs.adapter, target, image, Path(scratch) / str(number))
        for number, (target, write) in enumerate(others.items()):
            path = Path(scratch) / f"{number}{target.suffix}"
            write(path)
            staged.append((path, target))
        with contextlib.ExitStack() as stack:  # left in reverse order: the product appears last
            for path, target in staged:
                os.replace(path, stack.enter_context(atomic_output(target, overwrite=overwrite)))


def _stage_volume(adapter: Adapter, target: Path, image: Image, folder: Path) -> list[tuple[Path, Path]]:
    """Write one volume into a folder of its own; a format may make several files of it."""
    folder.mkdir()
    with adapter.open_writer(folder / target.name, [image]) as writer:
        writer.put(0, (slice(None),) * len(image.shape), np.asarray(image.data))
        writer.commit([image])
    made = sorted(folder.iterdir(), key=lambda path: path.name != target.name)
    return [(path, target.with_name(path.name)) for path in made]


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """JSON with NaN as null, as text that people can read too."""
    from sciSR.report.fusion_report import plain

    text = json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(encodable(text) + "\n", encoding="utf-8")
