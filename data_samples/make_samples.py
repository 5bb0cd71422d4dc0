"""Write the samples: a FITS star field, dithered FITS frames, a SER clip, a NIfTI phantom and a DICOM series of it.

    python data_samples/make_samples.py [FOLDER]

No patient data. Everything follows from fixed seeds and dates, so that a second run gives the same files.
"""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import sys
import uuid
from pathlib import Path

import numpy as np
import phantom
import planet
import sequence
import stars

HERE = Path(__file__).resolve().parent
WHEN = "2026-01-01T00:00:00"
SERIES_SLICES = range(6, 18)  # of the phantom, in the DICOM series


def main(folder: Path = HERE) -> None:
    """Make all samples in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_fits(folder / "star_field.fits")
    write_ser(folder / "planet.ser")
    write_sequence(folder / "frames")
    _, acquired = phantom.make_phantom()
    write_nifti(folder / "phantom.nii.gz", acquired)
    write_dicom(folder / "phantom_dicom", acquired)


def write_fits(path: Path) -> None:
    """SCI in electrons with a TAN-SIP world coordinate system, ERR, DQ, and a table of the true stars."""
    from astropy.io import fits

    scene = stars.make_star_field()
    header = sip_header()
    science = fits.ImageHDU(scene.observed, header, name="SCI")
    science.header["BUNIT"] = ("electron", "per pixel, sky included")
    error = fits.ImageHDU(scene.error, header, name="ERR")
    error.header["BUNIT"] = "electron"
    flags = fits.ImageHDU(scene.flags, header, name="DQ")
    flags.header["COMMENT"] = "0 good, 1 dead column, 4 cosmic ray"
    primary = fits.PrimaryHDU()
    cards = (
        ("OBJECT", "sciSR sample", "a simulated field"),
        ("INSTRUME", "simulation", ""),
        ("EXPTIME", 300.0, "[s] exposure time"),
        ("DATE-OBS", WHEN, ""),
        ("SKYLEVEL", stars.SKY, "[electron/pixel] true sky"),
        ("RDNOISE", stars.READ_NOISE, "[electron] read noise"),
        ("PSFFWHM", stars.FWHM, "[pixel] Moffat profile, beta 3"),
    )
    for keyword, value, comment in cards:
        primary.header[keyword] = (value, comment)
    hdus = fits.HDUList([primary, science, error, flags, _catalogue(scene, header)])
    for hdu in hdus:
        hdu.add_checksum(when=WHEN)
    hdus.writeto(path, overwrite=True)


def _catalogue(scene: stars.StarField, header: object) -> object:
    from astropy.io import fits
    from astropy.wcs import WCS

    right_ascension, declination = WCS(header).all_pix2world(scene.x, scene.y, 0)
    columns = [
        fits.Column("X", "D", unit="pixel", array=scene.x + 1),
        fits.Column("Y", "D", unit="pixel", array=scene.y + 1),
        fits.Column("RA", "D", unit="deg", array=right_ascension),
        fits.Column("DEC", "D", unit="deg", array=declination),
        fits.Column("FLUX", "D", unit="electron", array=scene.flux),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="TRUTH")
    table.header["COMMENT"] = "True stars; X and Y count pixels from 1, as FITS does"
    return table


def sip_header() -> object:
    """A gnomonic projection, 0.4 arcsec per pixel, turned by 23 degrees, with a third-order distortion."""
    from astropy.io import fits

    rows, columns = stars.SHAPE
    scale, turn = 0.4 / 3600, np.radians(23.0)
    header = fits.Header()
    header["WCSAXES"] = 2
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["CRPIX1"], header["CRPIX2"] = columns / 2 + 7.25, rows / 2 - 11.5
    header["CRVAL1"], header["CRVAL2"] = 202.469575, 47.1952583
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["CD1_1"], header["CD1_2"] = -scale * np.cos(turn), scale * np.sin(turn)
    header["CD2_1"], header["CD2_2"] = scale * np.sin(turn), scale * np.cos(turn)
    header["RADESYS"] = "ICRS"
    # About two pixels of distortion in the corners, as in a wide-field camera.
    header["A_ORDER"], header["B_ORDER"] = 3, 3
    terms = {"A_2_0": 2.1e-5, "A_1_1": -1.3e-5, "A_3_0": 6.0e-8, "A_1_2": 5.5e-8}
    terms |= {"B_0_2": 1.7e-5, "B_1_1": 1.1e-5, "B_0_3": 6.2e-8, "B_2_1": 5.8e-8}
    for keyword, value in terms.items():
        header[keyword] = value
    return header


def write_sequence(folder: Path) -> None:
    """Six exposures in counts, a minute each. Their world coordinates are right to a pixel or so, as in life."""
    from astropy.io import fits

    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    made = sequence.make_sequence()
    pointing = np.random.RandomState(sequence.SEED + 1)
    for number, (counts, matrix) in enumerate(zip(made.frames, made.matrices, strict=True)):
        header = frame_header(matrix, 2 * pointing.random_sample(2) - 1)
        header["EXPTIME"] = (sequence.EXPOSURE, "[s] exposure time")
        header["DATE-OBS"] = (f"2026-01-01T00:{2 * number:02d}:00.000", "start of the exposure, UTC")
        header["FILTER"] = "r"
        header["OBJECT"] = ("sciSR sample", "a simulated field")
        header["INSTRUME"] = "simulation"
        header["BUNIT"] = "adu"
        header["GAIN"] = (sequence.GAIN, "[electron/adu]")
        header["RDNOISE"] = (sequence.READ_NOISE, "[electron]")
        header["PEDESTAL"] = (-sequence.BIAS, "[adu] to add for zero without light")
        hdu = fits.PrimaryHDU(counts, header)
        hdu.add_checksum(when=WHEN)
        hdu.writeto(folder / f"frame_{number + 1}.fits")


def frame_header(matrix: np.ndarray, error: np.ndarray) -> object:
    """A gnomonic projection, 0.6 arcsec per pixel, for a frame that lies at `matrix`, wrong by `error` pixels."""
    from astropy.io import fits

    scale = 0.6 / 3600
    # FITS counts (x, y) where the matrix has (row, column). The sky's direction in the first frame, then in this one.
    sky = np.array([[-scale, 0.0], [0.0, scale]])
    turned = sky @ np.linalg.inv(matrix[::-1, 1::-1])
    middle = (np.array(sequence.SHAPE) - 1) / 2
    place = matrix[:, :2] @ middle + matrix[:, 2] + error
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRPIX1"], header["CRPIX2"] = place[1] + 1, place[0] + 1
    header["CRVAL1"], header["CRVAL2"] = 202.469575, 47.1952583
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["CD1_1"], header["CD1_2"] = turned[0]
    header["CD2_1"], header["CD2_2"] = turned[1]
    header["RADESYS"] = "ICRS"
    return header


def write_ser(path: Path) -> None:
    """The planet at 50 frames per second: SER version 3, 12 bits low byte first, with time stamps."""
    frames = planet.make_planet().frames
    second = 10_000_000  # ticks
    start = 739_616 * 86_400 * second  # days from 0001-01-01 to 2026-01-01
    ticks = [start + n * second // 50 for n in range(len(frames))]
    names = (b"sciSR sample", b"simulation", b"simulated 200 mm telescope")
    numbers = (0, 0, 0, frames.shape[2], frames.shape[1], 12, len(frames))
    header = struct.pack("<14s7i40s40s40s2q", b"LUCAM-RECORDER", *numbers, *names, ticks[0], ticks[0])
    path.write_bytes(header + frames.astype("<u2").tobytes() + struct.pack(f"<{len(ticks)}q", *ticks))


def write_nifti(path: Path, acquired: np.ndarray) -> None:
    """The acquisition as int16 on an oblique grid, the same in qform and sform (scanner coordinates)."""
    import nibabel

    matrix = phantom.affine(coarse_spacing(), acquired.shape[0])
    image = nibabel.Nifti1Image(acquired, matrix)
    image.set_qform(matrix, code=1)
    image.set_sform(matrix, code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"sciSR sample: MR-like phantom"
    stream = io.BytesIO()
    image.file_map["image"].fileobj = stream
    image.to_file_map()
    with open(path, "wb") as target, gzip.GzipFile("", "wb", 9, target, mtime=0) as packed:
        packed.write(stream.getvalue())


def coarse_spacing() -> tuple[float, float, float]:
    """Voxel size of the acquisition: twice the truth's in the plane."""
    x, y, z = phantom.SPACING
    return 2 * x, 2 * y, z


def write_dicom(folder: Path, acquired: np.ndarray) -> None:
    """Twelve of its slices as a classic MR series: columns run to the patient's left, rows to the back."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    last = acquired.shape[0] - 1
    ras_to_lps, mirrored = np.diag([-1.0, -1.0, 1.0, 1.0]), np.diag([-1.0, -1.0, 1.0, 1.0])
    mirrored[:2, 3] = last
    matrix = ras_to_lps @ phantom.affine(coarse_spacing(), acquired.shape[0]) @ mirrored
    for number, k in enumerate(SERIES_SLICES, start=1):
        dataset = _instance(acquired[::-1, ::-1, k].T, matrix, k, number)
        dataset.save_as(folder / f"MR{number:04d}.dcm", enforce_file_format=True)


def _uid(name: str) -> str:
    """The same UID for the same name in every run (2.25: a UUID as an integer)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'sciSR/data_samples/' + name).int}"


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return text if len(text) <= 16 else f"{value:.8e}"


def _instance(pixels: np.ndarray, matrix: np.ndarray, k: int, number: int) -> object:
    """One MR image; `pixels` are (rows, columns) and `matrix` maps (column, row, slice) to patient coordinates."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(f"instance/{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    _describe_study(ds)
    ds.InstanceNumber = number
    _describe_place(ds, matrix, k)
    _describe_scan(ds)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.WindowCenter, ds.WindowWidth = "550", "1100"
    ds.PixelData = np.ascontiguousarray(pixels.astype("<u2")).tobytes()
    return ds


def _describe_study(ds: object) -> None:
    day, clock = "20260101", "000000"
    ds.PatientName, ds.PatientID = "PHANTOM^sciSR", "PHANTOM"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientIdentityRemoved = "", "O", "YES"
    ds.DeidentificationMethod = "No patient: a simulated phantom"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid("study"), _uid("series")
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _uid("frame"), ""
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = clock
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "", ""
    ds.SeriesNumber, ds.AcquisitionNumber = 1, 1
    ds.StudyDescription, ds.SeriesDescription = "sciSR sample, research use only", "simulated T1 phantom"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "MR", "sciSR", "simulation"
    ds.PatientPosition, ds.BodyPartExamined = "HFS", "HEAD"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.SpecificCharacterSet = "ISO_IR 192"


def _describe_place(ds: object, matrix: np.ndarray, k: int) -> None:
    along_column, along_row, along_slice = (matrix[:3, axis] for axis in range(3))
    spacing = [float(np.linalg.norm(v)) for v in (along_row, along_column)]  # between rows, between columns
    position = matrix[:3, 3] + k * along_slice
    ds.PixelSpacing = [_decimal(value) for value in spacing]
    ds.ImageOrientationPatient = [
        _decimal(value) for value in (*(along_column / spacing[1]), *(along_row / spacing[0]))
    ]
    ds.ImagePositionPatient = [_decimal(value) for value in position]
    normal = np.cross(along_column / spacing[1], along_row / spacing[0])
    ds.SliceLocation = _decimal(float(normal @ position))
    ds.SliceThickness = ds.SpacingBetweenSlices = _decimal(float(np.linalg.norm(along_slice)))


def _describe_scan(ds: object) -> None:
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
    ds.MRAcquisitionType, ds.EchoTime, ds.RepetitionTime = "2D", "4.6", "250"
    ds.FlipAngle, ds.EchoTrainLength, ds.MagneticFieldStrength = "70", 1, "3"
    ds.ImagedNucleus, ds.ImagingFrequency, ds.NumberOfAverages = "1H", "123.2", "1"


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:2]))
