"""Good derived DICOM series to plant faults in, and helpers that edit a copy of one."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
from dicom_samples import make_series, oblique, refined, write_all
from enhanced_samples import make_enhanced
from enhanced_samples import volume as frames_of
from pydicom.dataset import Dataset
from volume_faults import blobs

from scisr_medical.dicom_adapter import adapter

OBLIQUE = oblique(0.4, 0.2, -0.3)
SHAPE = (12, 26, 30)
Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Series:
    """A source and what was derived from it; folders, or single files."""

    input: Path
    output: Path

    def copy(self, target: Path) -> Series:
        """The same source, and a copy of what was derived."""
        if self.output.is_dir():
            shutil.copytree(self.output, target)
            return Series(self.input, target)
        target = target.with_suffix(".dcm")
        shutil.copy(self.output, target)
        return Series(self.input, target)


def stored_blobs() -> np.ndarray:
    """Positive integers with structure everywhere."""
    return np.rint(blobs(SHAPE) * 4).astype(np.int64)


def _more(dataset: Dataset, k: int) -> None:
    dataset.WindowCenter, dataset.WindowWidth = 400, 900
    dataset.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
    dataset.add_new((0x0029, 0x1010), "OB", b"stale position")
    dataset.LossyImageCompression = "01"
    overlay(dataset)


def overlay(dataset: Dataset) -> None:
    """One of the source's size."""
    for element, vr, value in (
        (0x0010, "US", SHAPE[1]), (0x0011, "US", SHAPE[2]), (0x0040, "CS", "G"), (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1), (0x0102, "US", 0), (0x3000, "OW", bytes(98)),
    ):  # fmt: skip
        dataset.add_new((0x6000, element), vr, value)


def _half_steps(dataset: Dataset, k: int) -> None:
    dataset.RescaleSlope = 0.5


def make_good(folder: Path) -> dict[str, Series]:
    """An MR series in the plane and with new slices, a CT series, an enhanced file."""
    stored = stored_blobs()
    make_series(folder / "mr", stored=stored, orientation=OBLIQUE, edit=_more, uid="1.2.3")
    make_series(folder / "ct", stored=stored, modality="CT", edit=_half_steps, uid="1.2.4")
    frames = [
        f.__class__(**{**vars(f), "stored": plane}) for f, plane in zip(frames_of(SHAPE), stored, strict=True)
    ]
    make_enhanced(folder / "enhanced.dcm", frames)
    return {
        "mr": derived(folder / "mr", folder / "mr_x2", (1, 2, 2)),
        "ct": derived(folder / "ct", folder / "ct_x2", (1, 2, 2)),
        "isotropic": derived(folder / "mr", folder / "mr_iso", (3, 1, 1)),
        "enhanced": derived(folder / "enhanced.dcm", folder / "enhanced_x2.dcm", (1, 2, 2)),
    }


def derived(source: Path, target: Path, factors: tuple[int, ...]) -> Series:
    """Nearest neighbour on the finer grid, written by the adapter."""
    with warnings.catch_warnings(action="ignore"):
        images = [refined(image, [Fraction(f) for f in factors]) for image in adapter.read(source)]
        write_all(images, target)
    return Series(source, target)


def files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def each(change: Callable[[Dataset, int], None], *, only: int | None = None) -> Edit:
    """Edit all files of a series, or one."""

    def edit(path: Path) -> None:
        for k, file in enumerate(files(path)):
            if only is None or k == only:
                dataset = pydicom.dcmread(file)
                change(dataset, k)
                dataset.save_as(file)  # as it stands, file meta information too

    return edit


def put(**values: object) -> Edit:
    """Set attributes of all files; None deletes."""

    def change(dataset: Dataset, k: int) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return each(change)
