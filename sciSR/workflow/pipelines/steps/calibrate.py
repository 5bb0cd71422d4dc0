"""The step ``calibrate``: raw exposures freed of bias, dark current and uneven sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.sequence import Frame
from sciSR.workflow.pipelines.products import input_file, input_files, one_input, product_of, reading, run_one
from sciSR.workflow.pipelines.work import InputPath, Product, Work

_BAND = 1 << 24  # pixels of a band of rows
KINDS = ("dark", "flat", "bias")


def calibrate(
    work: Work,
    *,
    dark: InputPath | list[InputPath] | None = None,
    flat: InputPath | list[InputPath] | None = None,
    bias: InputPath | list[InputPath] | None = None,
    bad_pixels: InputPath | None = None,
) -> Product:
    """Calibrate raw exposures with bias, dark and flat frames: ``(frame - bias - dark) / flat``.

    The frames of a sequence are calibrated when they are read for registration and fusion, band by band, and no
    calibrated copies are written; a single frame becomes a calibrated one, in which bad pixels are NaN. Needs ccdproc
    (``pip install 'sciSR[ccd]'``).

    Parameters
    ----------
    dark, flat, bias : str or list of str
        Exposures or masters: paths or patterns below the inputs, with fields like "flat_{FILTER}*.fits". Several of a
        kind are combined; darks are chosen by exposure, flats by filter.
    bad_pixels : str
        Map of the detector's bad pixels: an image (not 0: bad), or a text with "x y" a line.

    Raises
    ------
    UsageError
        A pattern that fits no file, no calibration frames at all, or frames of another shape, exposure or filter.
    """
    given: dict[str, Any] = {}
    for name, patterns in zip(KINDS, (dark, flat, bias), strict=True):
        if patterns:
            some = [patterns] if isinstance(patterns, str) else patterns
            given[name] = [path for pattern in some for path in input_files(work, pattern, name)]
    if bad_pixels is not None:
        given["bad_pixels"] = input_file(work, bad_pixels, "bad_pixels")
    if not given:
        raise UsageError(
            "nothing to calibrate with", where=work.key, remedy="give one of dark, flat, bias and bad_pixels"
        )
    record = {name: len(paths) for name, paths in given.items() if isinstance(paths, list)}
    if "bad_pixels" in given:
        record["bad_pixels"] = 1
    if _holds_frames(work.product):
        options = {**work.product.options, **given}
        said = ("calibrated as they are read",)
        return replace(work.product, options=options, record=record, messages=said, ready={})
    target, outcome = run_one(work, _Plans(work, given), named="calibrated")
    product = product_of(work, target, outcome)
    return replace(product, record={**record, **product.record})


def _holds_frames(product: Product) -> bool:
    """Several files, or one with several exposures: a cube, a video."""
    if product.sequence:
        return True
    from sciSR.plugins import adapter_for

    if len(product.files) > 1:
        return False
    adapter = adapter_for(product.files[0])
    images = adapter.read(product.files[0], **reading(adapter, product.options))
    return any(len(image.axes) > 2 for image in images)


class _Plans:
    """The plan for each image of a file: its frame, calibrated."""

    def __init__(self, work: Work, given: dict[str, Any]) -> None:
        self.work, self.given = work, given
        self.frames: Sequence[Frame] | None = None

    def __call__(self, image: Image) -> _Plan:
        from sciSR.api import read_sequence
        from sciSR.plugins import adapter_for

        path = one_input(self.work)
        if self.frames is None:
            options = reading(adapter_for(path), self.work.product.options)
            self.frames = read_sequence(path, strict=True, **options, **self.given).frames
        fitting = [frame for frame in self.frames if frame.image.part == image.part]
        if len(fitting) != 1 or fitting[0].shape != image.shape:
            raise UnsupportedError("is no exposure of a detector", where=image.where)
        return _Plan(image, fitting[0], path)


@dataclass
class _Plan:
    """What will be done to one image; see :class:`sciSR.workflow.run.Plan`."""

    image: Image
    frame: Frame
    path: Path
    messages: list[str] = field(default_factory=list)

    @property
    def output(self) -> Image:
        from sciSR.inference.upscaling import Promise

        image, calibrated = self.image, self.frame.image
        made = [step for step in calibrated.provenance.steps if step.get("step") == "calibrate"]
        provenance = image.provenance
        for step in made or [{"software": "sciSR", "step": "calibrate", "masters": "bad pixels alone"}]:
            provenance = provenance.add(**step)
        return image.replace(
            data=Promise(image.shape, np.dtype(np.float32)),
            uncertainty=calibrated.uncertainty,
            mask=calibrated.mask,
            provenance=provenance,
        )

    def run(self, put: Any, progress: Any = None) -> Image:
        """Band by band."""
        rows, columns = self.frame.shape
        step = max(1, _BAND // max(columns, 1))
        for start in range(0, rows, step):
            band = slice(start, min(start + step, rows))
            pixels = self.frame.read(band)
            put((band, slice(None)), np.where(pixels.bad, np.float32(np.nan), pixels.values))
            if progress is not None:
                progress(band.stop / rows)
        return self.output
