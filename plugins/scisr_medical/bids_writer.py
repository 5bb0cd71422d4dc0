"""Reads an image with what it inherits, and writes its result with a BIDS sidecar, the sidecar last."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sciSR import __version__
from sciSR.adapter import Writer
from sciSR.errors import UnreadableError
from sciSR.files import atomic_output
from sciSR.image import Image
from sciSR.provenance import file_sha256
from scisr_medical.bids_derivative import MILLIMETRES, WARNING, sidecar
from scisr_medical.nifti_adapter import NiftiAdapter, NiftiMetadata

if TYPE_CHECKING:
    from scisr_medical.bids_run import Task


class DerivativeAdapter(NiftiAdapter):
    """NIfTI for one image of a dataset: a drop-in for the plain adapter in a job.

    Parameters
    ----------
    task : Task
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._before: Image | None = None

    def read(self, path: Path, **options: Any) -> list[Image]:
        """As the plain adapter, with what the inherited metadata say of the image."""
        record = self.task.metadata
        if self.task.image.name.suffix == "defacemask":
            options.setdefault("labels", True)
        [image] = super().read(path, **options)
        changes: dict[str, Any] = {}
        if isinstance(image.metadata, NiftiMetadata):
            # Tables are found by inheritance, and the sidecar is this module's work.
            changes["metadata"] = replace(image.metadata, sidecars=dict(self.task.companions))
        if image.kind == "phase" and record.get("Units") == "rad":
            changes["unit"] = "rad"
        thickness = record.get("SliceThickness")
        across = getattr(image.metadata, "slices", ())
        if isinstance(thickness, int | float) and thickness > 0 and image.slice_axis in across:
            # In mm, as in DICOM, whatever the unit of the file.
            changes["slice_thickness"] = thickness / MILLIMETRES.get(getattr(image.grid, "unit", "mm"), 1.0)
        self._before = image.replace(**changes)
        return [self._before]

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, **options: Any
    ) -> Writer:
        """A :class:`DerivativeWriter`."""
        assert self._before is not None
        inner = super().open_writer(path, images, overwrite=overwrite, **options)
        return DerivativeWriter(path, inner, self.task, self._before)


class DerivativeWriter:
    """The NIfTI writer, and after it the sidecar; a :class:`sciSR.adapter.Writer`.

    The sidecar holds the result's checksum. It is written last: a result without it is one of an interrupted run, and
    one that does not match it was changed by somebody.
    """

    def __init__(self, path: Path, inner: Writer, task: Task, before: Image) -> None:
        self.path, self._inner, self._task, self._before = path, inner, task, before

    def put(self, part: int, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        self._inner.put(part, index, block)

    def commit(self, images: Sequence[Image]) -> Path:
        """Write the image with its tables, then the sidecar."""
        written = self._inner.commit(images)
        try:
            content = json.dumps(self._record(images[0], written), indent=2, ensure_ascii=False)
            target = written.with_name(written.name.removesuffix(".nii.gz") + ".json")
            with atomic_output(target, overwrite=True) as temporary:
                temporary.write_text(content + "\n", encoding="utf-8")
        except BaseException:
            with contextlib.suppress(OSError):  # an image that nothing explains is not left behind
                written.unlink()
            raise
        return written

    def _record(self, final: Image, written: Path) -> dict[str, Any]:
        adapted, changes = sidecar(self._task.image, self._task.metadata, self._before, final)
        block: Mapping[str, Any] = {
            "Version": __version__,
            "Warning": WARNING,
            **self._task.record,
            "OutputSHA256": digest_of(written),
            "Steps": list(final.provenance.steps),
            **{key: value for key, value in changes.items() if value},
        }
        return {**adapted, "SciSR": dict(block)}

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)


def digest_of(file: Path) -> str:
    """SHA-256 of a file.

    Raises
    ------
    UnreadableError
    """
    try:
        return file_sha256(file)
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=file) from error
