"""A fused volume with all that goes with it: error, weight, what was found of each stack; and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciSR import __version__
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.workflow.stack_names import source_name
from sciSR.workflow.stack_records import stack_record

if TYPE_CHECKING:
    from sciSR.stacks import FusedVolume, Stack
    from sciSR.workflow.stack_outputs import StackOutputs

NOTICE = "Research use only, not for diagnosis"


@dataclass(frozen=True, eq=False)
class FusedStacks:
    """What :func:`sciSR.fuse_volumes` returns.

    Attributes
    ----------
    image : Image
        float32, axes x, y, z, on an isotropic grid in the frame of the first stack (RAS+, mm); `uncertainty` is one
        standard deviation, `mask` is True where nothing was measured (the image is 0 and the deviation NaN there).
    weight : ndarray, float32
        How much was measured at each voxel.
    stacks : tuple of mapping
        What was found of each stack: motion, gain, weights of its slices.
    settings : mapping
    report : mapping
        Measurements of the fusion.
    notes : tuple of str
    first : Stack
        The first stack, for the contact sheet.
    """

    image: Image
    weight: np.ndarray
    stacks: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    report: Mapping[str, Any]
    first: Stack
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def write(
        self,
        path: Path | str,
        *,
        weight: bool = False,
        contact_sheet: bool = True,
        report: bool | Path | str = False,
        overwrite: bool = False,
    ) -> StackOutputs:
        """Write ``iso.nii.gz`` with ``iso_std.nii.gz``, ``iso.json``, ``iso.png``, all at once.

        Parameters
        ----------
        path : path
            The suffix chooses the format.
        weight, contact_sheet, report : bool
            Also ``iso_weight.nii.gz``; the picture; a page ``iso.html`` (or of the name given).
        overwrite : bool
            Replace existing files.

        Raises
        ------
        SciSRError
            A file exists or can't be written.
        """
        from sciSR.workflow.stack_outputs import check_stack_outputs, plan_stack_outputs

        outputs = plan_stack_outputs(path, weight=weight, contact_sheet=contact_sheet, report=report)
        check_stack_outputs(outputs, [], overwrite=overwrite)
        return write_fused_stacks(self, outputs, overwrite=overwrite)


def fused_stacks(
    volume: FusedVolume,
    stacks: list[Stack],
    images: list[Image],
    settings: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> FusedStacks:
    """The result of the engine as an Image, with a record of each stack."""
    data, std = (np.asarray(each, np.float32) for each in (volume.volume, volume.std))
    weight = np.asarray(volume.weight, np.float32)
    lost = ~np.isfinite(data) | ~(weight > 0)
    records = tuple(stack_record(volume, stacks, k) for k in range(len(stacks)))
    grid = AffineGrid(data.shape, volume.affine, "mm", world_axes="RAS+")
    settings = {**settings, "spacing_mm": [round(float(d), 6) for d in grid.spacing]}
    step = {"software": f"sciSR {__version__}", "step": "fuse", "method": "map", **settings}
    units = {image.unit for image in images}
    image = Image(
        data=np.where(lost, np.float32(0), data),
        axes=("x", "y", "z"),
        spatial=("x", "y"),
        grid=grid,
        domain=images[0].domain,
        unit=units.pop() if len(units) == 1 else None,
        uncertainty=np.where(lost, np.float32("nan"), std),
        mask=lost,
        provenance=Provenance().add(**step, notice=NOTICE),
    )
    sources = tuple(source_name(image, k) for k, image in enumerate(images))
    return FusedStacks(image, weight, records, settings, dict(volume.report), stacks[0], sources, notes)


def write_fused_stacks(fused: FusedStacks, outputs: StackOutputs, *, overwrite: bool = False) -> StackOutputs:
    """Write all files of a plan that was checked."""
    from sciSR.workflow.stack_outputs import write_all, write_json

    image = fused.image
    step = dict(image.provenance.steps[-1])

    def beside(data: Any, what: str) -> Image:
        told = Provenance((*image.provenance.steps[:-1], {**step, "step": f"fuse, {what}"}))
        return image.replace(data=np.asarray(data), uncertainty=None, mask=None, part=what, provenance=told)

    images = [image, beside(image.uncertainty, "std deviation")]
    if outputs.weight is not None:
        images.append(beside(fused.weight, "weight"))
    others: dict[Path, Callable[[Path], Any]] = {
        outputs.record: lambda path: write_json(sidecar(fused), path),
    }
    if outputs.contact_sheet is not None:
        others[outputs.contact_sheet] = lambda path: path.write_bytes(sheet_of(fused))
    if outputs.report is not None:
        from sciSR.report.stack_report import render

        others[outputs.report] = lambda path: path.write_text(
            render(sidecar(fused), fused.notes, sheet_of(fused)), encoding="utf-8"
        )
    write_all(outputs, images, others, overwrite=overwrite)
    return outputs


def sidecar(fused: FusedStacks) -> dict[str, Any]:
    """The JSON beside the volume: keys of BIDS where it has them, the rest under ``SciSR``."""
    spacing = " x ".join(f"{d:.5g}" for d in fused.settings["spacing_mm"])
    return {
        "Description": f"{len(fused.stacks)} stacks of slices fused into one isotropic volume",
        "Sources": list(fused.sources),
        "SpatialReference": fused.sources[0],
        "Resolution": f"{spacing} mm",
        **({"Units": fused.image.unit} if fused.image.unit else {}),
        "SciSR": {
            "Software": f"sciSR {__version__}",
            "Warning": NOTICE,
            "Settings": dict(fused.settings),
            "Stacks": [dict(record) for record in fused.stacks],
            "Measured": dict(fused.report),
            "Notes": list(fused.notes),
            "Steps": [dict(step) for step in fused.image.provenance.steps],
        },
    }


def sheet_of(fused: FusedStacks) -> bytes:
    """The contact sheet as PNG; drawn once."""
    if "sheet" not in fused._cache:
        from sciSR.report.stack_sheet import SheetVolume, StackSheet, draw_png

        grid, first, image = fused.image.grid, fused.first, fused.image
        assert isinstance(grid, AffineGrid)  # made above
        spacing = float(grid.spacing[0])
        fused._cache["sheet"] = draw_png(
            StackSheet(
                first=SheetVolume(first.data, first.affine, first.bad),
                result=SheetVolume(np.asarray(image.data), grid.affine, image.mask),  # type: ignore[arg-type]
                deviation=SheetVolume(np.asarray(image.uncertainty), grid.affine, image.mask),  # type: ignore[arg-type]
                weights=[np.asarray(record["slice_weights"], float) for record in fused.stacks],
                labels=[f"{k + 1} {record['direction']}" for k, record in enumerate(fused.stacks)],
                title=f"{len(fused.stacks)} stacks fused, {spacing:.3g} mm isotropic",
                unit=fused.image.unit or "",
            )
        )
    return fused._cache["sheet"]
