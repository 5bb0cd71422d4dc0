"""Checks of writing: pixels, geometry and metadata come back, atomically and the same each time."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from sciSR.errors import UsageError
from sciSR.grid import Grid, fine_index
from sciSR.image import Image
from sciSR.testing.tools import (
    Interrupted,
    Subject,
    all_bytes,
    blocks,
    check_message,
    digest,
    expect,
    floats,
    landmarks,
    names,
    quiet,
    refine_nearest,
    write_images,
)

SCALES: tuple[Fraction, ...] = (Fraction(2), Fraction(3, 2))


def check_round_trip(
    subject: Subject,
    folder: Path,
    *,
    scales: Sequence[Fraction] = SCALES,
    judge: Callable[[Path, Path, Fraction], None] | None = None,
) -> None:
    """Refined, written and read again: pixels, geometry and metadata are those that were handed over."""
    for scale in scales:
        originals = subject.images()
        results = [refine_nearest(image, scale) for image in originals]
        target = write_images(
            subject, results, subject.output(folder, f"x{scale.numerator}_{scale.denominator}")
        )
        again = subject.images(target)
        expect(
            len(again) == len(results), subject, f"{len(results)} images must come back", f"{len(again)} did"
        )
        for original, result, back in zip(originals, results, again, strict=True):
            _check_metadata(subject, result, back)
            _check_pixels(subject, result, back)
            check_geometry(subject, original, result, back)
        if judge is not None:
            judge(subject.path, target, scale)


def check_geometry(subject: Subject, original: Image, result: Image, back: Image) -> None:
    """Corners, edges and centre of the original lie at the same place in the world after writing and reading.

    A point ``p`` of the original must be found at ``(p + 0.5)*s - 0.5`` on the grid that was read back.
    """
    coarse = np.array(list(landmarks(original)))
    world = np.asarray(original.grid.world(coarse), dtype=np.float64)
    usable = np.isfinite(world).all(axis=-1)  # a corner of an all-sky map may lie beside the sky
    expected = np.stack([fine_index(coarse[:, a], f) for a, f in enumerate(result.grid.factors)], axis=-1)
    placed = [a for a in range(coarse.shape[-1]) if _moves_along(original.grid, a, coarse.shape[-1])]
    for name, grid in (("result", result.grid), ("file read back", back.grid)):
        found = np.asarray(grid.index(world[usable]), dtype=np.float64)
        error = np.abs(found - expected[usable])[:, placed].max(initial=0.0)
        expect(
            error <= subject.tolerance,
            subject,
            f"corners must keep their place in the world within {subject.tolerance:g} pixel ({name}, {original.where})",
            f"they moved by {error:.3g} pixel",
        )


def _moves_along(grid: Grid, axis: int, ndim: int) -> bool:
    """Whether the place in the world changes along an axis; time and the like have none."""
    ends = np.zeros((2, ndim))
    ends[1, axis] = 1
    first, second = grid.world(ends)
    return not np.array_equal(first, second)


def _check_metadata(subject: Subject, result: Image, back: Image) -> None:
    for name in ("shape", "axes", "spatial", "unit", "quantity", "kind", "domain", "part"):
        expected, found = getattr(result, name), getattr(back, name)
        expect(expected == found, subject, f"{name} must come back as {expected!r}", f"it is {found!r}")
    for name in ("uncertainty", "mask"):
        kept = (getattr(result, name) is None) == (getattr(back, name) is None)
        expect(kept, subject, f"{name} must be kept", "it was lost or made up")


def _check_pixels(subject: Subject, result: Image, back: Image) -> None:
    expected, found = np.asarray(result), np.asarray(back)
    if subject.write:  # options such as a stored dtype may round
        return
    scale = np.nanmax(np.abs(expected[np.isfinite(expected)]), initial=0.0) if floats(expected) else 0.0
    same = np.allclose(
        found.astype(np.float64), expected.astype(np.float64), rtol=1e-6, atol=1e-6 * scale, equal_nan=True
    )
    expect(same, subject, "pixels must come back as they were put", "they differ")


def check_block_order(subject: Subject, folder: Path) -> None:
    """Blocks may come in any order and shape; the file is the same."""
    results = [refine_nearest(image, Fraction(2)) for image in subject.images()]
    plain = write_images(subject, results, subject.output(folder, "planes"))
    mixed = write_images(subject, results, subject.output(folder / "mixed", "planes"), shuffled=True)
    for one, other in zip(subject.images(plain), subject.images(mixed), strict=True):
        same = np.array_equal(np.asarray(one), np.asarray(other), equal_nan=floats(np.asarray(one)))
        expect(same, subject, "the order of blocks must not matter", "the pixels differ")


def check_determinism(subject: Subject, folder: Path) -> None:
    """The same images written twice give the same bytes."""
    content = subject.content or all_bytes
    results = [refine_nearest(image, Fraction(2)) for image in subject.images()]
    first, second = (write_images(subject, results, subject.output(folder / n, "same")) for n in ("a", "b"))
    expect(
        content(first) == content(second), subject, "the same input must give the same bytes", "they differ"
    )


def check_atomic_writing(subject: Subject, folder: Path) -> None:
    """A write that is left early, fails, or can't finish leaves the old target or none, and no litter."""
    results = [refine_nearest(image, Fraction(2)) for image in subject.images()]
    target = subject.output(folder)

    def half(*, fail: bool, overwrite: bool) -> None:
        with (
            quiet(),
            subject.adapter.open_writer(target, results, overwrite=overwrite, **subject.write) as writer,
        ):
            for part, index, block in list(blocks(results))[:1]:
                writer.put(part, index, block)
            if fail:
                raise Interrupted

    for fail in (False, True):
        with contextlib.suppress(Interrupted):
            half(fail=fail, overwrite=False)
        expect(
            not any(folder.iterdir()), subject, "an unfinished write must leave nothing", str(names(folder))
        )
    write_images(subject, results, target)
    before, listing = digest(target), names(folder)
    for fail in (False, True):
        with contextlib.suppress(Interrupted):
            half(fail=fail, overwrite=True)
        expect(digest(target) == before, subject, "an unfinished write must leave the old file", "it changed")
        expect(
            names(folder) == listing,
            subject,
            "an unfinished write must leave no litter",
            str(names(folder)),
        )
    # A record that no file can hold makes the last step fail, whatever the format.
    broken = [image.replace(provenance=image.provenance.add(step=object())) for image in results]
    try:
        write_images(subject, results, target, overwrite=True, final=broken)
    except Exception:
        expect(digest(target) == before, subject, "a failed commit must leave the old file", "it changed")
    expect(names(folder) == listing, subject, "a failed commit must leave no litter", str(names(folder)))


def check_overwriting(subject: Subject, folder: Path) -> None:
    """An existing target is refused at the start, before any work, and replaced on request."""
    results = [refine_nearest(image, Fraction(2)) for image in subject.images()]
    target = write_images(subject, results, subject.output(folder))
    before = digest(target)
    try:
        with quiet(), subject.adapter.open_writer(target, results, overwrite=False, **subject.write):
            pass
    except UsageError as error:
        check_message(subject, error, target)
    else:
        expect(False, subject, "open_writer must refuse an existing target", "it did not")
    expect(digest(target) == before, subject, "a refused target must not be touched", "it changed")
    write_images(subject, results, target, overwrite=True)
    content = subject.content
    if content is None:
        expect(
            digest(target) == before, subject, "the same result must come with overwrite=True", "it differs"
        )


def check_open_files(subject: Subject, folder: Path) -> None:
    """No file stays open when images and writers are gone (where the system can tell)."""
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        return
    results = [refine_nearest(image, Fraction(2)) for image in subject.images()]
    del results
    gc.collect()
    before = len(os.listdir(handles))
    results = [refine_nearest(image, Fraction(2)) for image in subject.images()]
    write_images(subject, results, subject.output(folder))
    del results
    gc.collect()
    after = len(os.listdir(handles))
    expect(after <= before, subject, "no file may stay open", f"{after - before} more are open than before")
