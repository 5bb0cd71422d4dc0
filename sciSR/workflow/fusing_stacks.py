"""Fuse stacks of slices: read them, check that they belong together, fuse, write the volume and what goes with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR import __version__
from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.workflow.fused_stacks import FusedStacks, fused_stacks, write_fused_stacks
from sciSR.workflow.run import out_of_memory_named, overheard
from sciSR.workflow.stack_building import build_stacks
from sciSR.workflow.stack_inputs import Source, find_stacks
from sciSR.workflow.stack_names import neutral_texts

if TYPE_CHECKING:
    from sciSR.workflow.stack_outputs import StackOutputs

Progress = Callable[[float], None]


@dataclass(frozen=True)
class StackOutcome:
    """One fusion done: a JSON-ready record.

    Attributes
    ----------
    outputs : StackOutputs
    shape : tuple of int
        Of the volume.
    spacing_mm : tuple of float
        Of its voxels.
    stacks : tuple of mapping
        See :func:`sciSR.workflow.stack_records.stack_record`.
    settings, report : mapping
    notes, warnings : tuple of str
    seconds : float
    """

    outputs: StackOutputs
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    stacks: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    report: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.outputs.as_dict(),
            "output": str(self.outputs.product),
            "shape_out": list(self.shape),
            "spacing_mm": list(self.spacing_mm),
            "stacks": [dict(record) for record in self.stacks],
            "settings": dict(self.settings),
            "measured": dict(self.report),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
            "notice": "Research use only, not for diagnosis",
        }


def fuse_images(
    images: Sequence[Image],
    *,
    masks: Image | Sequence[Image | None] | None = None,
    volume: int | Sequence[int] | None = None,
    slice_thickness: float | Sequence[float] | None = None,
    slice_profile: str | Any = "gaussian",
    spacing: float | None = None,
    register: bool = True,
    slice_motion: bool = True,
    prior: str = "auto",
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> FusedStacks:
    """Fuse volumes of thick slices into one isotropic volume; see :func:`sciSR.fuse_volumes`."""
    if spacing is not None and not (math.isfinite(spacing) and spacing > 0):
        raise UsageError(f"a spacing of {spacing:g} mm", remedy="give a length above 0")
    from sciSR.inference.device import choose_device

    chosen = str(choose_device(device))
    if device == "auto" and chosen == "mps":
        chosen = "cpu"  # double precision is needed, which mps does not have
    wanted = [masks] if isinstance(masks, Image) else list(masks or ())
    profile = read_profile(slice_profile)
    stacks = build_stacks(images, masks=wanted, volume=volume, thickness=slice_thickness, profile=profile)
    from sciSR.stacks import fuse_stacks

    result = fuse_stacks(
        stacks,
        spacing=spacing,
        slice_motion=slice_motion,
        register=register,
        prior=prior,
        seed=seed,
        device=chosen,
        progress=None if progress is None else lambda _step, share: progress(share),
    )
    settings = {
        "stacks": len(stacks),
        "register": register,
        "slice_motion": slice_motion,
        "profile": profile if isinstance(profile, str) else "measured",
        "slice_thickness_mm": [stack.thickness for stack in stacks],
        "masks": sum(mask is not None for mask in wanted),
        "prior": prior,
        "seed": seed,
        "device": chosen,
    }
    return fused_stacks(result, stacks, list(images), settings, tuple(result.report.get("notes", ())))


def read_profile(profile: Any) -> Any:
    """A slice profile's name as it is; a file's two columns, distance in mm and weight, as two sequences.

    Raises
    ------
    UsageError
        No such name and no such file; a file that does not hold two columns of numbers.
    """
    import numpy as np

    from sciSR.workflow.stack_building import PROFILES

    if not isinstance(profile, str | Path):
        return profile
    if str(profile) in PROFILES:
        return str(profile)
    path = Path(profile)
    if not path.is_file():
        raise UsageError(
            f"no slice profile is called {str(profile)!r}, and no file",
            remedy=f"give {', '.join(PROFILES)}, or a file of two columns: mm, weight",
        )
    try:
        table = np.loadtxt(path, delimiter="," if "," in path.read_text(encoding="utf-8") else None, ndmin=2)
    except (OSError, ValueError) as error:
        raise UsageError(f"can't be read as numbers: {error}", where=path) from error
    if table.ndim != 2 or table.shape[1] != 2:
        raise UsageError(
            f"a slice profile has two columns, not {table.shape[-1]}", where=path, remedy="give mm, weight"
        )
    return table[:, 0].tolist(), table[:, 1].tolist()


def read_mask(path: Path | str) -> Image:
    """The one volume that a mask file holds.

    Raises
    ------
    SciSRError
        It can't be read, or holds something else.
    """
    from sciSR.plugins import adapter_for

    images = adapter_for(path).read(Path(path))
    if len(images) != 1:
        raise UsageError(f"a mask is one volume, this holds {len(images)}", where=path)
    return images[0]


def fuse_stack_files(
    inputs: Sequence[Path | str] | Sequence[Source],
    output: Path | str,
    *,
    masks: Sequence[Path | str] = (),
    weight: bool = False,
    contact_sheet: bool = True,
    report: bool | Path | str = False,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> StackOutcome:
    """Fuse the stacks of some files into one isotropic volume.

    Parameters
    ----------
    inputs : sequence of path, or what :func:`~sciSR.workflow.stack_inputs.find_stacks` found
    output : path
        The suffix chooses the format; what goes with the volume is written beside it.
    masks : sequence of path
        One for each stack in their order, or fewer.
    weight, contact_sheet, report, overwrite
        See :meth:`sciSR.workflow.fused_stacks.FusedStacks.write`.
    options : mapping, optional
        The formats' own options for reading, where `inputs` are paths.
    progress : callable, optional
        Called with the fraction done, 0 to 1.
    **settings
        See :func:`sciSR.fuse_volumes`.

    Returns
    -------
    StackOutcome

    Raises
    ------
    SciSRError
        Naming the file, what is wrong and what to do. Nothing is written then.
    """
    from sciSR.workflow.stack_outputs import check_stack_outputs, plan_stack_outputs

    start = time.perf_counter()
    outputs = plan_stack_outputs(output, weight=weight, contact_sheet=contact_sheet, report=report)
    said: list[str] = []
    remedy = "give a coarser --spacing"
    with out_of_memory_named(outputs.product, remedy), overheard(said):
        sources = _sources(inputs, options)
        taken = [path for source in sources for path in (source.path, *source.files)]
        check_stack_outputs(outputs, [*taken, *map(Path, masks)], overwrite=overwrite)
        fused = fuse_images(
            [source.image for source in sources],
            masks=[read_mask(path) for path in masks],
            progress=progress,
            **settings,
        )
        read = Provenance()
        for source in sources:
            read = read.add(software=f"sciSR {__version__}", step="read", input_sha256=source.sha256())
        image = fused.image
        image = image.replace(provenance=Provenance((*read.steps, *image.provenance.steps)))
        paths = [source.path for source in sources]
        said, notes = neutral_texts(said, paths), neutral_texts(fused.notes, paths)
        fused = replace(fused, image=image, notes=tuple(dict.fromkeys([*said, *notes])))
        write_fused_stacks(fused, outputs, overwrite=overwrite)
    return StackOutcome(
        outputs,
        fused.image.shape,
        tuple(fused.settings["spacing_mm"]),
        fused.stacks,
        fused.settings,
        fused.report,
        fused.notes,
        tuple(said),
        time.perf_counter() - start,
    )


def _sources(
    inputs: Sequence[Path | str] | Sequence[Source], options: Mapping[str, Any] | None
) -> list[Source]:
    if all(isinstance(each, Source) for each in inputs) and inputs:
        return list(inputs)  # type: ignore[arg-type]
    found = find_stacks(list(inputs), options)  # type: ignore[arg-type]
    if found is None:
        raise UsageError(
            "these are no stacks of slices in space", remedy="use sciSR.fuse for frames of a field"
        )
    return found
