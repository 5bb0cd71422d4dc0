"""Upscale the samples, measure what was kept against independent readers, and picture before and after.

    python data_samples/demo.py [--output FOLDER] [--model NAME] [--device cpu]

Prints one table; exits with 1 if any promise is broken. Research use only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import figures
import numpy as np
import phantom
import stars
from make_samples import HERE, SERIES_SLICES
from measure import (
    Row,
    block_sum,
    dicom_corners,
    measure_photometry,
    mr_psnr,
    nifti_corners,
    read_series,
    series_values,
    sky_psnr,
    wcs_shift,
)

from sciSR.workflow.run import Outcome, upscale_file

Compare = Callable[[str, Path], Outcome]


def main() -> int:
    """Run the three demonstrations and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    parser.add_argument("--model", default="auto")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)

    def upscale(source: Path, target: Path, model: str = given.model) -> Outcome:
        if target.is_dir():
            shutil.rmtree(target)
        return upscale_file(source, target, model=model, device=given.device, overwrite=True)

    rows = [
        *star_field(upscale, given.output),
        *head_volume(upscale, given.output),
        *head_series(upscale, given.output),
    ]
    print_table(rows)
    print(f"\nUpscaled files and before/after pictures: {given.output}/")
    return 0 if all(row.ok for row in rows) else 1


def star_field(upscale: Callable[..., Outcome], folder: Path) -> list[Row]:
    """The FITS frame: flux, world coordinates, photometry, metadata, fidelity."""
    from astropy.io import fits

    source, target = HERE / "star_field.fits", folder / "star_field_x2.fits"
    outcome = upscale(source, target)
    print_outcome(outcome)
    upscale(source, folder / "star_field_cubic.fits", "cubic")
    truth = stars.make_star_field()
    with fits.open(source) as before, fits.open(target) as after:
        image = before["SCI"].data.astype(float)
        fine = after["SCI"].data.astype(float)
        good = before["DQ"].data == 0
        cubic = fits.getdata(folder / "star_field_cubic.fits", "SCI").astype(float)
        flux = np.abs(block_sum(fine) - image)[good] / np.abs(image)[good].max()
        shift = wcs_shift(before["SCI"].header, after["SCI"].header)
        named = [hdu.name for hdu in before] == [hdu.name for hdu in after][: len(before)]  # then the record
        kept = sum(card in after[0].header for card in before[0].header) / len(before[0].header)
        flags = np.array_equal(after["DQ"].data, np.kron(before["DQ"].data, np.ones((2, 2), np.uint8)))
        table = np.array_equal(before["TRUTH"].data, after["TRUTH"].data)
    errors = measure_photometry(truth, image, fine, good)
    fidelity = {"cubic": sky_psnr(truth, cubic, good), "sciSR": sky_psnr(truth, fine, good)}
    figures.star_field(truth, image, cubic, fine, folder / "star_field.png", model_of(outcome))
    gain = fidelity["sciSR"] - fidelity["cubic"]
    return [
        Row("star_field.fits", "flux of every good pixel", f"{flux.max():.1e} of the peak", "block sums",
            flux.max() < 1e-6),
        Row("", "world coordinates, corners and centres", f"{shift:.1e} degree", "astropy.wcs", shift < 1e-8),
        Row("", "star fluxes, rms error (input's)", f"{errors[1]:.2f} ({errors[0]:.2f}) of the noise", "true catalogue",
            errors[1] < errors[0] + 0.05),
        Row("", "HDUs, table, flags kept", "all" if named and table and flags else "no", "astropy.io.fits",
            named and table and flags),
        Row("", "primary header cards kept", f"{kept:.0%}", "astropy.io.fits", kept == 1),
        Row("", "PSNR to the truth, asinh (cubic)", f"{fidelity['sciSR']:.2f} ({fidelity['cubic']:.2f}) dB",
            "noiseless scene", gain > 0),
    ]  # fmt: skip


def head_volume(upscale: Callable[..., Outcome], folder: Path) -> list[Row]:
    """The NIfTI volume: field of view, codes, fidelity."""
    import nibabel

    source, target = HERE / "phantom.nii.gz", folder / "phantom_x2.nii.gz"
    outcome = upscale(source, target)
    print_outcome(outcome)
    for method in ("cubic", "fourier"):
        upscale(source, folder / f"phantom_{method}.nii.gz", method)
    truth, _ = phantom.make_phantom()
    before, after = nibabel.load(source), nibabel.load(target)
    corners = np.abs(nifti_corners(after) - nifti_corners(before)).max()
    codes = all(int(after.header[key]) == int(before.header[key]) for key in ("qform_code", "sform_code"))
    forms = np.abs(after.get_qform() - after.get_sform()).max()
    others = {
        name: nibabel.load(folder / f"phantom_{name}.nii.gz").get_fdata() for name in ("cubic", "fourier")
    }
    fine = after.get_fdata()
    fidelity = {name: mr_psnr(truth, volume) for name, volume in others.items()} | {
        "sciSR": mr_psnr(truth, fine)
    }
    figures.head(
        truth, before.get_fdata(), others["fourier"], fine, folder / "phantom.png", model_of(outcome)
    )
    agreement = outcome.parts[0].step["agreement"]["max_relative_to_range"]
    return [
        Row("phantom.nii.gz", "field of view, eight corners", f"{corners:.1e} mm", "nibabel", corners < 1e-3),
        Row("", "qform, sform: codes and agreement", f"{forms:.1e}" if codes else "codes changed", "nibabel",
            codes and forms < 1e-4),
        Row("", f"agreement with the scan ({outcome.parts[0].step['agreement']['operator']})",
            f"{agreement:.1e} of the range", "engine's report", agreement < 1e-5),
        Row("", "PSNR to the truth (Fourier, cubic)",
            f"{fidelity['sciSR']:.2f} ({fidelity['fourier']:.2f}, {fidelity['cubic']:.2f}) dB", "noiseless phantom",
            fidelity["sciSR"] > max(fidelity["fourier"], fidelity["cubic"])),
    ]  # fmt: skip


def head_series(upscale: Callable[..., Outcome], folder: Path) -> list[Row]:
    """The DICOM series: a derived series on the predicted grid, of the same patient and study."""
    source, target = HERE / "phantom_dicom", folder / "phantom_dicom_x2"
    outcome = upscale(source, target)
    print_outcome(outcome)
    before, after = read_series(source), read_series(target)
    corners = np.abs(dicom_corners(after) - dicom_corners(before)).max()
    keys = (
        "PatientID",
        "PatientName",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "EchoTime",
        "RepetitionTime",
    )
    kept = sum(after[0].get(key) == before[0].get(key) for key in keys)
    fresh = {ds.SOPInstanceUID for ds in before}.isdisjoint(ds.SOPInstanceUID for ds in after)
    derived = fresh and all(ds.ImageType[0] == "DERIVED" for ds in after)
    truth, _ = phantom.make_phantom()
    truth = truth[::-1, ::-1, SERIES_SLICES.start : SERIES_SLICES.stop]
    upscale(source, folder / "phantom_dicom_fourier", "fourier")
    fourier = series_values(read_series(folder / "phantom_dicom_fourier"))
    fine = series_values(after)
    fidelity = {"sciSR": mr_psnr(truth, fine), "fourier": mr_psnr(truth, fourier)}
    volumes = (volume[::-1, ::-1] for volume in (truth, series_values(before), fourier, fine))
    figures.head(*volumes, folder / "phantom_dicom.png", model_of(outcome), k=13 - SERIES_SLICES.start)
    return [
        Row("phantom_dicom/", "field of view, eight corners", f"{corners:.1e} mm", "pydicom", corners < 1e-3),
        Row(
            "",
            "patient, study, frame, scan parameters",
            f"{kept} of {len(keys)}",
            "pydicom",
            kept == len(keys),
        ),
        Row("", "new UIDs, marked as derived", "yes" if derived else "no", "pydicom", derived),
        Row(
            "",
            "PSNR to the truth (Fourier)",
            f"{fidelity['sciSR']:.2f} ({fidelity['fourier']:.2f}) dB",
            "noiseless phantom",
            fidelity["sciSR"] > fidelity["fourier"],
        ),
    ]


def model_of(outcome: Outcome) -> str:
    """Name of the model that made the first part."""
    return str(outcome.parts[0].step["model"])


def print_outcome(outcome: Outcome) -> None:
    """What the command line would say."""
    print(f"{outcome.input.name} -> {outcome.output}  ({model_of(outcome)}, {outcome.seconds:.1f} s)")
    for message in dict.fromkeys(text for part in outcome.parts for text in part.messages):
        print(f"    {message}")


def print_table(rows: list[Row]) -> None:
    """The table of what was kept and measured."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What was kept, and how well", title_style="bold")
    for heading in ("sample", "what", "measured", "judged by", ""):
        table.add_column(heading)
    for row in rows:
        if row.sample and table.row_count:
            table.add_section()
        table.add_row(
            row.sample, row.what, row.measured, row.judge, "[green]ok[/]" if row.ok else "[red]NO[/]"
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(main())
