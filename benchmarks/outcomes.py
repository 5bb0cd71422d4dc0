"""What `scisr upscale` does with every real file: upscaled and checked by independent readers, or refused in one line.

``python benchmarks/outcomes.py --data ../shared/data [--only astro/check] [--markdown table.md]``

Each file goes through the file workflow with default settings (x2). Outputs are then checked by readers that are not
ours: astropy.wcs for FITS (sky positions of the corners and the centre of input pixels, in degree), nibabel for NIfTI
and SimpleITK for DICOM (world positions of the field's corners, in mm). An outcome is ``upscaled``, ``refused`` (with
its one line), or ``WRONG`` (a grid that disagrees, an exception that is not ours, more than five minutes).
"""

from __future__ import annotations

import argparse
import gzip
import signal
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sciSR.errors import SciSRError
from sciSR.workflow.run import Outcome, upscale_file

FOLDERS = (
    "astro/train",
    "astro/check",
    "astro/odd",
    "mri/check",
    "mri/odd",
    "mri/series4d",
    "dicom",
    "dicom/odd",
)
LIMIT = 300  # seconds


@dataclass(frozen=True)
class Row:
    file: str
    outcome: str
    model: str
    grid_error: str
    agreement: str
    seconds: float
    note: str


def inputs(folder: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Files to try: sidecars left out, archives unpacked into a folder each."""
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if path.name.endswith((".bval", ".bvec", ".txt", ".json", ".img")):
            continue
        if path.name.endswith(".tar.xz"):
            target = scratch / path.name.removesuffix(".tar.xz")
            with tarfile.open(path) as archive:
                archive.extractall(target, filter="data")
            yield path.name, target
        else:
            yield path.name, path


def fits_error(source: Path, output: Path, outcome: Outcome) -> str:
    """Largest shift on the sky, in degree, of the field's pixel corners and centres, by astropy.wcs."""
    from astropy.io import fits
    from astropy.wcs import WCS

    worst, compared = 0.0, 0
    with fits.open(source) as before, fits.open(output) as after:
        pairs = []
        for hdu in before:
            if not hdu.is_image or hdu.header.get("NAXIS", 0) < 2 or hdu.shape is None:
                continue
            twin = [h for h in after if h.is_image and h.name == hdu.name and h.ver == hdu.ver]
            twin = twin or [after[before.index(hdu)]]
            if twin and twin[0].shape and twin[0].shape[-1] == 2 * hdu.shape[-1]:
                pairs.append((hdu, twin[0]))
        for hdu, twin in pairs:
            for key in (" ", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
                if key != " " and f"CTYPE1{key}" not in hdu.header:
                    continue
                old, new = WCS(hdu.header, before, key=key), WCS(twin.header, after, key=key)
                if not old.has_celestial:
                    continue
                height, width = hdu.shape[-2:]
                y, x = np.meshgrid(
                    np.linspace(0, height - 1, 9).round(), np.linspace(0, width - 1, 9).round()
                )
                for dy, dx in ((0, 0), (-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)):
                    one = old.celestial.all_pix2world(x + dx, y + dy, 0)
                    two = new.celestial.all_pix2world(2 * (x + dx) + 0.5, 2 * (y + dy) + 0.5, 0)
                    d = np.hypot(
                        (one[0] - two[0] + 180) % 360 - 180,
                        one[1] - two[1],
                    )
                    if np.isfinite(d).any():
                        worst, compared = max(worst, float(np.nanmax(d))), compared + 1
    if not compared:
        return "no sky WCS"
    if worst > 1e-8:
        raise ValueError(f"sky positions differ by {worst:.3g} degree")
    return f"{worst:.1e} deg"


def nifti_error(source: Path, output: Path, outcome: Outcome) -> str:
    """Largest shift of the field's corners in the file's length unit, by nibabel."""
    import nibabel as nib

    def corners(image: nib.Nifti1Image) -> np.ndarray:
        shape = np.array((*image.shape, 1, 1)[:3])
        signs = np.array(np.meshgrid(*[[0, 1]] * 3)).reshape(3, -1).T
        return nib.affines.apply_affine(image.affine, signs * shape - 0.5)

    before, after = nib.load(source), nib.load(output)
    worst = float(np.abs(corners(before) - corners(after)).max())
    scale = float(np.abs(nib.affines.voxel_sizes(before.affine)).max())
    if worst > 1e-3 * max(1.0, scale):
        raise ValueError(f"the field's corners move by {worst:.3g}")
    codes = [[int(i.header["qform_code"]), int(i.header["sform_code"])] for i in (before, after)]
    if codes[0] != codes[1]:
        raise ValueError(f"qform and sform codes {codes[0]} became {codes[1]}")
    return f"{worst:.1e} mm"


def dicom_error(source: Path, output: Path, outcome: Outcome) -> str:
    """Largest shift of the field's corners in mm, the source's positions by pydicom, the output's by SimpleITK."""
    import pydicom
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(output)) if output.is_dir() else [str(output)]
    first = pydicom.dcmread(names[0], stop_before_pixels=True)
    sources = {}
    for path in [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]:
        try:
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
                each = pydicom.dcmread(stream, stop_before_pixels=True)
            sources[each.SOPInstanceUID] = each
        except Exception:  # whatever else lies in the folder
            continue
    worst = 0.0
    for name in names:
        made = pydicom.dcmread(name, stop_before_pixels=True)
        origin = sources[made.SourceImageSequence[0].ReferencedSOPInstanceUID]
        image = sitk.ReadImage(name)
        columns, rows = image.GetSize()[:2]
        if not hasattr(origin, "ImagePositionPatient"):
            return "no position"
        position = np.array(origin.ImagePositionPatient, float)
        x, y = np.array(origin.ImageOrientationPatient, float).reshape(2, 3)
        dy, dx = (float(v) for v in origin.PixelSpacing)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            expected = position + x * dx * (i * origin.Columns - 0.5) + y * dy * (j * origin.Rows - 0.5)
            index = (i * columns - 0.5, j * rows - 0.5, 0.0)
            found = image.TransformContinuousIndexToPhysicalPoint(index)
            worst = max(worst, float(np.abs(expected - np.array(found)).max()))
    if worst > 1e-3:
        raise ValueError(f"the field's corners move by {worst:.3g} mm")
    return f"{worst:.1e} mm, {len(names)} x {first.SOPClassUID.name}"


CHECKS = {"fits": fits_error, "nifti": nifti_error, "dicom": dicom_error}


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT} s")


def try_one(name: str, path: Path, scratch: Path) -> Row:
    """One file through the workflow, then through its independent check."""
    kinds = {".nii": ".nii.gz", ".hdr": ".nii.gz", ".mgz": ".nii.gz", ".fit": ".fits", ".dcm": ".dcm"}
    suffix = next((end for part, end in kinds.items() if part in name), "")
    output = scratch / f"out_{abs(hash(name))}{suffix}"
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT)
    try:
        outcome = upscale_file(path, output)
    except SciSRError as error:
        text = str(error)
        state = "refused" if "\n" not in text and not output.exists() else "WRONG"
        return Row(
            name, state, "", "", "", time.perf_counter() - start, text.replace(str(path.parent) + "/", "")
        )
    except Exception as error:
        return Row(name, "WRONG", "", "", "", time.perf_counter() - start, f"{type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
    seconds = time.perf_counter() - start
    models = ", ".join(sorted({str(p.step.get("model")) for p in outcome.parts}))
    agreement = [p.step["agreement"] for p in outcome.parts if p.step.get("agreement")]
    enforced = [a["max_relative_to_range"] for a in agreement if a["enforced"]]
    note = "; ".join(dict.fromkeys([*(m for p in outcome.parts for m in p.messages), *outcome.warnings]))
    try:
        error = CHECKS[outcome.format](path, output, outcome)
    except Exception as problem:
        return Row(name, "WRONG", models, str(problem), "", seconds, note)
    kept = f"{max(enforced):.0e}" if enforced else "not enforced"
    return Row(name, "upscaled", models, error, kept, seconds, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=FOLDERS)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines, totals = [], {"upscaled": 0, "refused": 0, "WRONG": 0}
    for folder in arguments.only:
        lines += [
            f"\n### {folder}\n",
            "| file | outcome | method | grid error | kept to | s | said |",
            "|---|---|---|---|---|---|---|",
        ]
        with tempfile.TemporaryDirectory() as scratch:
            for name, path in inputs(arguments.data / folder, Path(scratch)):
                row = try_one(name, path, Path(scratch))
                totals[row.outcome] += 1
                note = row.note.replace("|", "/")
                lines.append(
                    f"| {row.file} | {row.outcome} | {row.model} | {row.grid_error} | {row.agreement} "
                    f"| {row.seconds:.1f} | {note} |"
                )
                print(lines[-1], flush=True)
    summary = ", ".join(f"{count} {word}" for word, count in totals.items())
    print(summary)
    if arguments.markdown:
        arguments.markdown.write_text(summary + "\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
