"""A mixed batch made of the samples: small FITS, NIfTI and DICOM files, each different, and bad ones among them.

    python data_samples/mixed_batch.py FOLDER [--items 200] [--bad 20]

Every bad file is bad in a way of its own, as seen in archives and on shared disks: cut short, empty, text, damaged
compression, headers that make no sense. All are named ``bad-...``, all others ``good-...``. Made from a fixed seed.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).resolve().parent
SEED = 20260


def make(folder: Path, items: int = 200, bad: int = 20) -> tuple[list[str], list[str]]:
    """Write the files.

    Parameters
    ----------
    folder : Path
        Made if missing.
    items : int
        Files in all.
    bad : int
        How many of them are bad; from 21 on the kinds repeat.

    Returns
    -------
    good, bad : list of str
        Names without suffix, in order.
    """
    good_names = [f"good-{number:03d}" for number in range(items - bad)]
    for number, name in enumerate(good_names):
        place = folder / ("night", "study", "export")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        (fits, nifti, dicom)[number % 3](place / name, np.random.default_rng((SEED, number)))
    bad_names = []
    (folder / "shared").mkdir(parents=True, exist_ok=True)
    for number in range(bad):
        kind, suffix, content = BAD[number % len(BAD)]
        bad_names.append(f"bad-{number:02d}-{kind}")
        path = folder / "shared" / f"{bad_names[-1]}{suffix}"
        if kind == "link-to-nowhere":
            path.symlink_to(folder / "gone.fits")
        else:
            path.write_bytes(content(folder, np.random.default_rng((SEED, 1000 + number))))
    return good_names, bad_names


def fits(path: Path, rng: np.random.Generator) -> Path:
    """A piece of the star field with its world coordinates, and noise of its own."""
    from astropy.io import fits as library

    with library.open(SAMPLES / "star_field.fits") as star_field:
        header, data = star_field["SCI"].header.copy(), star_field["SCI"].data
        y, x = (int(rng.integers(0, n - 48)) for n in data.shape)
        piece = data[y : y + 40, x : x + 48] + rng.normal(0, 1, (40, 48)).astype(np.float32)
        for number, start in ((1, x), (2, y)):
            header[f"CRPIX{number}"] -= start
        for key in ("EXTNAME", "EXTVER", "XTENSION", "PCOUNT", "GCOUNT", "CHECKSUM", "DATASUM"):
            header.remove(key, ignore_missing=True)
    target = path.with_suffix(".fits")
    library.PrimaryHDU(piece.astype(np.float32), header).writeto(target)
    return target


def nifti(path: Path, rng: np.random.Generator) -> Path:
    """A piece of the phantom with noise of its own."""
    import nibabel as library

    whole = library.load(SAMPLES / "phantom.nii.gz")
    piece = whole.slicer[20:60, 24:60, 6:12]
    data = np.asarray(piece.dataobj) + rng.normal(0, 4, piece.shape)
    image = library.Nifti1Image(np.clip(data, 0, 4095).astype(np.int16), piece.affine, piece.header)
    target = path.with_suffix(".nii.gz")
    library.save(image, target)
    return target


def dicom(path: Path, rng: np.random.Generator) -> Path:
    """One slice of the phantom as a series of its own, with noise of its own."""
    import pydicom as library
    from pydicom.uid import generate_uid

    slices = sorted((SAMPLES / "phantom_dicom").iterdir())
    dataset = library.dcmread(slices[int(rng.integers(len(slices)))])
    pixels = dataset.pixel_array + rng.normal(0, 4, dataset.pixel_array.shape)
    dataset.PixelData = np.clip(pixels, 0, 4095).astype("<u2").tobytes()
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, generate_uid(entropy_srcs=[path.name, keyword]))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    target = path.with_suffix(".dcm")
    dataset.save_as(target, enforce_file_format=True)
    return target


Content = Callable[[Path, np.random.Generator], bytes]


def _made(maker: Callable[[Path, np.random.Generator], Path]) -> Content:
    """The bytes of a good file."""

    def content(folder: Path, rng: np.random.Generator) -> bytes:
        path = maker(folder / "shared" / "scratch", rng)
        found = path.read_bytes()
        path.unlink()
        return found

    return content


def _cut(maker: Callable[[Path, np.random.Generator], Path], share: float) -> Content:
    whole = _made(maker)

    def content(folder: Path, rng: np.random.Generator) -> bytes:
        found = whole(folder, rng)
        return found[: int(len(found) * share)]

    return content


def _changed(maker: Callable[[Path, np.random.Generator], Path], *changes: tuple[bytes, bytes]) -> Content:
    whole = _made(maker)

    def content(folder: Path, rng: np.random.Generator) -> bytes:
        found = whole(folder, rng)
        for old, new in changes:
            assert old in found
            assert len(old) == len(new)
            found = found.replace(old, new, 1)
        return found

    return content


def _plain_nifti(offset: int, values: bytes) -> Content:
    """An uncompressed NIfTI file with other bytes in its header."""
    whole = _made(nifti)

    def content(folder: Path, rng: np.random.Generator) -> bytes:
        found = bytearray(gzip.decompress(whole(folder, rng)))
        found[offset : offset + len(values)] = values
        return bytes(found)

    return content


def _flipped(folder: Path, rng: np.random.Generator) -> bytes:
    found = bytearray(_made(nifti)(folder, rng))
    found[len(found) // 2] ^= 0x10
    return bytes(found)


def _fixed(content: bytes) -> Content:
    return lambda folder, rng: content


_NAN = np.full(3, np.nan, "<f4").tobytes()
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"

# name, suffix, content
BAD: list[tuple[str, str, Content]] = [
    ("cut-in-pixels", ".fits", _cut(fits, 0.7)),
    ("empty", ".fits", _fixed(b"")),
    ("text", ".fits", _fixed(b"seeing was bad, file lost\n" * 40)),
    ("cut-gzip", ".nii.gz", _cut(nifti, 0.6)),
    ("flipped-bit-gzip", ".nii.gz", _flipped),
    ("nan-pixdim", ".nii", _plain_nifti(80, _NAN)),
    ("cut-in-pixels", ".dcm", _cut(dicom, 0.5)),
    ("text", ".dcm", _fixed(b"PACS says: not found\n" * 40)),
    ("cut-in-header", ".fits", _cut(fits, 0.1)),
    ("huge-size", ".fits", _changed(fits, (b"NAXIS1  =                   48", b"NAXIS1  =            999999999"))),
    ("link-to-nowhere", ".fits", _fixed(b"")),
    ("lfs-pointer", ".nii.gz", _fixed(_LFS)),
    ("zeros", ".fits", _fixed(bytes(20160))),
    ("cut-in-pixels", ".nii", _plain_nifti(40, np.array([3, 400, 360, 60], "<i2").tobytes())),
    ("no-dimension", ".nii", _plain_nifti(40, np.array([3, 0, 0, 0], "<i2").tobytes())),
    ("html-page", ".nii.gz", _fixed(b"<!DOCTYPE html><html><body>404 Not Found</body></html>")),
    ("empty", ".dcm", _fixed(b"")),
    ("bad-type", ".nii", _plain_nifti(70, np.array([4242, 16], "<i2").tobytes())),
    ("bad-bitpix", ".fits", _changed(fits, (b"BITPIX  =                  -32", b"BITPIX  =                   77"))),
    ("another-compression", ".nii.gz", _fixed(b"\x1f\x8b\x07" + bytes(range(200)))),
]  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--bad", type=int, default=20)
    given = parser.parse_args()
    found = make(given.folder, given.items, given.bad)
    print(f"{len(found[0])} good files and {len(found[1])} bad ones in {given.folder}")
