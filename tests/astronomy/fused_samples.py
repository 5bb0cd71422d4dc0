"""Small sequences and their fusion by shift-and-add, for tests of the product's file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from fits_samples import TAN, header_of

import sciSR
from sciSR.fusion.product import FrameRecord, Fused
from sciSR.provenance import Provenance
from sciSR.sequence import FrameSequence

SHAPE = (24, 30)
# Shifts in whole fine pixels at x2: shift-and-add then needs no interpolation.
SHIFTS = ((0, 0), (1, 0), (0, 1), (1, 1))
EXPOSURE = 60.0


def scene(shape: tuple[int, int] = SHAPE, seed: int = 1) -> np.ndarray:
    """A sharp scene on pixels half the size, larger than the field by a pixel."""
    generator = np.random.default_rng(seed)
    fine = generator.normal(10.0, 0.5, (2 * shape[0] + 2, 2 * shape[1] + 2))
    fine[generator.integers(4, shape[0], 6), generator.integers(4, shape[1], 6)] += 400.0
    return fine


def observed(fine: np.ndarray, shift: tuple[int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Sums over 2x2 fine pixels, the frame's first pixel `shift` fine pixels into the scene."""
    cut = fine[shift[0] : shift[0] + 2 * shape[0], shift[1] : shift[1] + 2 * shape[1]]
    return cut.reshape(shape[0], 2, shape[1], 2).sum(axis=(1, 3)).astype(np.float32)


def write_frames(
    folder: Path,
    cards: Mapping[str, Any] | None = None,
    *,
    own: Sequence[Mapping[str, Any]] = (),
    extension: bool = False,
    world: Mapping[str, Any] | None = None,
) -> list[Path]:
    """One FITS file per shift; `own` are each frame's own cards."""
    fine = scene()
    paths = []
    for number, shift in enumerate(SHIFTS):
        header = header_of(dict(TAN if world is None else world))
        for n, by in ((1, shift[1]), (2, shift[0])):
            if f"CRPIX{n}" in header:
                header[f"CRPIX{n}"] -= by / 2
        rest = {
            "BUNIT": "electron",
            "EXPTIME": EXPOSURE,
            "DATE-OBS": f"2026-01-01T00:{2 * number:02d}:00.000",
            "FILTER": "r",
            **(cards or {}),
            **(own[number] if number < len(own) else {}),
        }
        path = folder / f"frame_{number}.fits"
        data = observed(fine, shift)
        if extension:
            primary = fits.PrimaryHDU(header=header_of({k: v for k, v in rest.items() if k != "BUNIT"}))
            header["BUNIT"] = rest["BUNIT"]
            hdus = [primary, fits.ImageHDU(data, header, name="SCI")]
        else:
            header.update(header_of(rest))
            hdus = [fits.PrimaryHDU(data, header)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits.HDUList(hdus).writeto(path)
        paths.append(path)
    return paths


def read_frames(paths: Any, **options: Any) -> FrameSequence:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sciSR.read_sequence(paths, **options)


def shift_and_add(
    sequence: FrameSequence,
    *,
    shifts: Sequence[tuple[int, int]] = SHIFTS,
    left_out: Mapping[int, str] | None = None,
    context: bool = False,
    **settings: Any,
) -> Fused:
    """Fusion at x2 of frames whose shifts are whole fine pixels; frame 0 is the reference."""
    left_out = left_out or {}
    frames = sequence.frames
    reference = frames[0].image
    native = frames[0].shape
    shape = (2 * native[0], 2 * native[1])
    total = np.zeros(shape)
    coverage = np.zeros(shape)
    bits = np.zeros((1, *shape), np.int32)
    records, used = [], 0
    for number, (frame, (dy, dx)) in enumerate(zip(frames, shifts, strict=False)):
        matrix = (1.0, 0.0, -dy / 2, 0.0, 1.0, -dx / 2)
        common = {"reference": number == 0, "model": "shift", "how": "wcs", "matrix": matrix}
        if number in left_out:
            records.append(FrameRecord(frame.name, False, left_out[number], **common))
            continue
        pixels = frame.read()
        good = np.kron(~pixels.bad, np.ones((2, 2)))[: shape[0] - dy, : shape[1] - dx]
        values = np.kron(pixels.values, np.ones((2, 2)))[: shape[0] - dy, : shape[1] - dx]
        total[dy:, dx:] += values * good
        coverage[dy:, dx:] += good
        bits[0, dy:, dx:] |= (good > 0).astype(np.int32) << used
        used += 1
        records.append(
            FrameRecord(
                frame.name,
                True,
                **common,
                error_px=0.01,
                weight=1.0,
                noise=1.0,
                bad=int(pixels.bad.sum()),
                exposure=frame.exposure or float("nan"),
                start=frame.start or "",
            )
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        image = total / coverage
        error = 1 / np.sqrt(coverage)
    share = 4.0 if reference.quantity == "total" else 1.0
    step = {"software": "sciSR test", "step": "fuse", "scale": "2", "method": "mean"}
    result = reference.replace(
        data=(image / share).astype(np.float32),
        grid=reference.grid.refine((Fraction(2), Fraction(2))),
        uncertainty=(error / share).astype(np.float32),
        mask=coverage == 0,
        provenance=Provenance((step,)),
    )
    native_panel = np.asarray(frames[0].read().values)
    return Fused(
        image=result,
        weight=coverage.astype(np.float32),
        coverage=coverage.astype(np.float32),
        context=bits if context else None,
        sequence=sequence,
        records=tuple(records),
        settings={"method": "mean", "scale": "2", **settings},
        notes=("shifts are whole fine pixels",),
        panels={
            "reference": native_panel,
            "drizzle": (image / share).astype(np.float32),
            "residual": (native_panel - native_panel.mean()).astype(np.float32),
        },
    )


def write_product(fused: Fused, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fused.write(path)
