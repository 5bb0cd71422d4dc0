"""The standard deviation of each voxel as a NIfTI file of its own, beside the image and on the same grid."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sciSR.errors import SciSRWarning
from sciSR.files import check_output, translate_os_errors
from sciSR.image import Image
from sciSR.inference.kinds_parts import PartView, reserve
from sciSR.inference.statistics import plane_indices
from scisr_medical.nifti_output import header_bytes, plan_output
from scisr_medical.nifti_sidecars import stem


def deviation_path(path: Path) -> Path:
    """``T1w_x2.nii.gz`` -> ``T1w_x2_std.nii.gz``; a pair's is a single file."""
    packed = ".gz" if path.name.lower().endswith(".gz") else ""
    return path.with_name(f"{stem(path)}_std.nii{packed}")


class DeviationFile:
    """Decided, checked and given its disk space when the image's own file is; written with it.

    Parameters
    ----------
    path : Path
        Of the image.
    image : Image
        The result without its voxels.
    overwrite : bool

    Raises
    ------
    UsageError
        The file exists.
    """

    def __init__(self, path: Path, image: Image, *, overwrite: bool) -> None:
        self.path = deviation_path(path)
        check_output(self.path, overwrite=overwrite)
        plain = image.replace(
            kind="intensity", uncertainty=None, data=PartView(image.data, np.abs, np.float32)
        )
        with warnings.catch_warnings():  # the image's own file has said it
            warnings.simplefilter("ignore", SciSRWarning)
            self.plan = plan_output(self.path, [plain], "float32")
        for field in ("intent_code", "intent_p1", "intent_p2", "intent_p3", "cal_min", "cal_max"):
            self.plan.fields[field] = 0
        self.plan.fields["intent_name"] = b"std"
        with translate_os_errors(self.path), contextlib.ExitStack() as stack:
            self.voxels: BinaryIO = stack.enter_context(
                tempfile.TemporaryFile(prefix=".scisr-", suffix=".tmp", dir=path.parent)
            )
            reserve(self.voxels.fileno(), self.plan.voxel_bytes)
            stack.pop_all()

    def fill(self, image: Image) -> bytes:
        """Take the final image's uncertainty, plane by plane; returns header and extensions."""
        assert image.uncertainty is not None
        with translate_os_errors(self.path):
            for index in plane_indices(image):
                # Mapped anew for each plane: its pages are then the system's, not this process's memory.
                voxels = np.memmap(self.voxels, self.plan.stored, "r+", 0, self.plan.shape, "F")
                self.plan.in_image_order(voxels)[index] = np.asarray(image.uncertainty[index])
            self.voxels.seek(0)
        return header_bytes(self.plan, image.provenance)

    def close(self) -> None:
        """Free the disk space."""
        self.voxels.close()
