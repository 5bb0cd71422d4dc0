"""The honest files that are mutated: small, one or two of each kind, made anew by each run and never stored."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
for _folder in ("astronomy", "medical", "inference"):  # the samples of the formats' own tests
    if str(ROOT / "tests" / _folder) not in sys.path:
        sys.path.append(str(ROOT / "tests" / _folder))

UNPACK = {"gzip": gzip.decompress, "bz2": bz2.decompress}
PACK = {"gzip": lambda raw: gzip.compress(raw, 1, mtime=0), "bz2": bz2.compress}


@dataclass(frozen=True)
class Seed:
    """One honest input.

    Attributes
    ----------
    name : str
        ``"fits/mef"``: the format and which of it.
    make : callable
        Writes it into a folder.
    opened, mutated : str
        What a user opens and which file is mutated; names within the folder.
    packing : {"", "gzip", "bz2"}
        What the mutated file is packed with: half of the mutations then happen inside, with a CRC that is right.
    needs : str
        A module without which there is no such file.
    """

    name: str
    make: Callable[[Path], object]
    opened: str
    mutated: str = ""
    packing: str = ""
    needs: str = ""

    @property
    def format(self) -> str:
        return self.name.split("/")[0]

    @property
    def victim(self) -> str:
        return self.mutated or self.opened


def _mef(folder: Path, *, checksum: bool = False) -> Path:
    from astropy.io import fits
    from fits_samples import TAN, header_of, write

    rng = np.random.default_rng(1)
    cards = TAN | {"BUNIT": "electron", "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    cards |= {"A_ORDER": 2, "A_2_0": 1e-5, "B_ORDER": 2, "B_1_1": 1e-5, "LTV1": 0.0, "DATASEC": "[1:12,1:10]"}
    image = fits.ImageHDU(rng.integers(0, 1000, (10, 12)).astype("i2"), header_of(cards), name="SCI")
    flags = fits.ImageHDU(rng.integers(0, 3, (10, 12)).astype("i2"), name="DQ")
    error = fits.ImageHDU(rng.random((10, 12)).astype("f4"), name="ERR")
    columns = [
        fits.Column("T", "D", array=np.arange(5.0)),
        fits.Column("V", "PE()", array=np.array([np.arange(n, dtype="f4") for n in range(5)], object)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    return write(folder / "mef.fits", fits.PrimaryHDU(), image, flags, error, table, checksum=checksum)


def _packed_fits(folder: Path, suffix: str, packing: str) -> None:
    plain = _mef(folder)
    (folder / f"mef.fits{suffix}").write_bytes(PACK[packing](plain.read_bytes()))
    plain.unlink()


def _tiled(folder: Path, codec: str) -> None:
    from astropy.io import fits
    from fits_samples import TAN, header_of, write

    data = np.random.default_rng(2).integers(0, 1000, (10, 12)).astype("i2")
    image = fits.CompImageHDU(data, header_of(TAN), compression_type=codec, name="SCI", tile_shape=(5, 12))
    write(folder / "tiled.fits.fz", fits.PrimaryHDU(), image)


def _cube(folder: Path) -> None:
    from astropy.io import fits
    from fits_samples import TAN, header_of, write

    cards = TAN | {"CTYPE3": "FREQ", "CRVAL3": 1e9, "CD3_3": 1e6, "CRPIX3": 1.0, "BSCALE": 2.0, "BLANK": 3}
    data = np.arange(2 * 8 * 9, dtype="i4").reshape(2, 8, 9)
    write(folder / "cube.fits", fits.PrimaryHDU(data, header_of(cards)))


def _frame(folder: Path) -> None:
    shutil.copy(ROOT / "data_samples" / "frames" / "frame_1.fits", folder / "frame.fits")


def _nifti(folder: Path, name: str, **fields: object) -> None:
    from nifti_samples import make

    make(folder / name, **{"shape": (6, 5, 4), "dtype": np.int16, **fields})


def _packed_nifti(folder: Path) -> None:
    _nifti(folder, "volume.nii", fields={"scl_slope": 0.5, "scl_inter": 10.0})
    plain = folder / "volume.nii"
    (folder / "volume.nii.gz").write_bytes(PACK["gzip"](plain.read_bytes()))
    plain.unlink()


def _dicom(folder: Path, syntax: str, *, slices: int = 1) -> None:
    import pydicom
    from dicom_samples import make_series, oblique, phantom
    from pydicom import uid

    def edit(dataset: pydicom.Dataset, k: int) -> None:
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.ReferencedImageSequence = [pydicom.Dataset()]
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 1
        if syntax == uid.RLELossless:
            dataset.compress(syntax, generate_instance_uid=False)

    native = uid.ExplicitVRLittleEndian if syntax == uid.RLELossless else syntax
    orientation = oblique(0.3, 0.1, -0.2)
    make_series(
        folder, stored=phantom((slices, 6, 8)), orientation=orientation, edit=edit, syntax=native,
    )  # fmt: skip


def _enhanced(folder: Path, syntax: str) -> None:
    import pydicom
    from enhanced_samples import make_enhanced, volume
    from pydicom import uid

    def edit(dataset: pydicom.Dataset) -> None:
        if syntax == uid.RLELossless:
            dataset.compress(syntax, generate_instance_uid=False)

    make_enhanced(folder / "enhanced.dcm", volume((3, 6, 8)), edit=edit)


def _directory(folder: Path) -> None:
    """A study with its DICOMDIR, as a disc holds them."""
    from pydicom import dcmread, uid
    from pydicom.fileset import FileSet

    _dicom(folder / "from", uid.ExplicitVRLittleEndian, slices=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = FileSet()
        for path in sorted((folder / "from").iterdir()):
            files.add(dcmread(path))
        files.write(folder / "disc")
    shutil.rmtree(folder / "from")


def _ser(folder: Path, **fields: object) -> None:
    from ser_samples import TICKS_2014, planet, write_ser

    write_ser(folder / "planet.ser", planet(3, 8, 12), ticks=[TICKS_2014 + k for k in range(3)], **fields)


def _avi(folder: Path) -> None:
    from video_samples import write_raw_avi

    write_raw_avi(folder / "clip.avi", np.random.default_rng(4).integers(0, 255, (3, 8, 12), dtype=np.uint8))


def _matroska(folder: Path) -> None:
    from video_samples import encode

    frames = np.random.default_rng(4).integers(0, 255, (3, 16, 32), dtype=np.uint8)
    encode(folder / "clip.mkv", [[frame] for frame in frames], "gray")


def _png(folder: Path, *, colour: bool) -> None:
    from colour_samples import png_bytes

    shape, top = ((8, 12, 3), 255) if colour else ((8, 12, 1), 65535)
    pixels = np.random.default_rng(5).integers(0, top, shape).astype("u1" if colour else "u2")
    (folder / "picture.png").write_bytes(png_bytes(pixels, 2 if colour else 0))


def _tiff(folder: Path, **options: object) -> None:
    import tifffile

    pixels = np.random.default_rng(6).integers(0, 60_000, (32, 48)).astype("u2")
    tifffile.imwrite(folder / "picture.tif", pixels, datetime=None, metadata=None, **options)


def _network(folder: Path) -> None:
    from networks import write_network

    made = Path(write_network(folder, "ESPCN", 2))
    made.rename(folder / "network.safetensors")
    for path in folder.iterdir():
        if path.name != "network.safetensors":
            path.unlink()


def _card(folder: Path) -> None:
    _network(folder)
    text = (ROOT / "sciSR" / "weights" / "conditional-astro-x2.yaml").read_text(encoding="utf-8")
    (folder / "network.yaml").write_text("\n".join(text.splitlines()[:24]) + "\n", encoding="utf-8")


def _config(folder: Path) -> None:
    shutil.copy(ROOT / "configs" / "train" / "astro-x2.yaml", folder / "train.yaml")


def _degrade(folder: Path) -> None:
    text = "scale: 2\nseed: 3\nkind: detector\npsf: [moffat]\nfwhm: 1.5\nnoise: gaussian\nsigma: 0.5\n"
    (folder / "degrade.yaml").write_text(text, encoding="utf-8")


def _pipeline(folder: Path) -> None:
    found = sorted((ROOT / "configs" / "pipelines").glob("*.yaml"))
    shutil.copy(found[0], folder / "pipeline.yaml")


_EXPLICIT, _IMPLICIT, _BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_DEFLATED, _RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
_COMMENT = ((6, b"a comment"), (4, b"<?xml version='1.0'?><root/>"))

_ALL = (
    Seed("fits/mef", _mef, "mef.fits"),
    Seed("fits/checksum", lambda f: _mef(f, checksum=True), "mef.fits"),
    Seed("fits/gz", lambda f: _packed_fits(f, ".gz", "gzip"), "mef.fits.gz", packing="gzip"),
    Seed("fits/bz2", lambda f: _packed_fits(f, ".bz2", "bz2"), "mef.fits.bz2", packing="bz2"),
    Seed("fits/rice", lambda f: _tiled(f, "RICE_1"), "tiled.fits.fz"),
    Seed("fits/gzip-tiles", lambda f: _tiled(f, "GZIP_1"), "tiled.fits.fz"),
    Seed("fits/cube", _cube, "cube.fits"),
    Seed("fits/frame", _frame, "frame.fits"),
    Seed("nifti/nii", lambda f: _nifti(f, "volume.nii"), "volume.nii"),
    Seed("nifti/nii2", lambda f: _nifti(f, "volume.nii", version=2), "volume.nii"),
    Seed("nifti/extensions", lambda f: _nifti(f, "volume.nii", extensions=_COMMENT), "volume.nii"),
    Seed("nifti/4d", lambda f: _nifti(f, "run.nii", shape=(5, 4, 3, 2)), "run.nii"),
    Seed("nifti/gz", _packed_nifti, "volume.nii.gz", packing="gzip"),
    Seed("nifti/pair", lambda f: _nifti(f, "volume.img"), "volume.hdr"),
    Seed("dicom/explicit", lambda f: _dicom(f, _EXPLICIT), "s000.dcm"),
    Seed("dicom/implicit", lambda f: _dicom(f, _IMPLICIT), "s000.dcm"),
    Seed("dicom/big-endian", lambda f: _dicom(f, _BIG), "s000.dcm"),
    Seed("dicom/deflated", lambda f: _dicom(f, _DEFLATED), "s000.dcm", packing="deflated"),
    Seed("dicom/rle", lambda f: _dicom(f, _RLE), "s000.dcm"),
    Seed("dicom/enhanced", lambda f: _enhanced(f, _EXPLICIT), "enhanced.dcm"),
    Seed("dicom/enhanced-rle", lambda f: _enhanced(f, _RLE), "enhanced.dcm"),
    Seed("dicom/series", lambda f: _dicom(f / "mr", _EXPLICIT, slices=3), "mr", "mr/s001.dcm"),
    Seed("dicom/dicomdir", _directory, "disc", "disc/DICOMDIR"),
    Seed("ser/mono", _ser, "planet.ser"),
    Seed("ser/bayer", lambda f: _ser(f, color=8), "planet.ser"),
    Seed("video/avi", _avi, "clip.avi", needs="av"),
    Seed("video/mkv", _matroska, "clip.mkv", needs="av"),
    Seed("picture/png16", lambda f: _png(f, colour=False), "picture.png"),
    Seed("picture/png-rgb", lambda f: _png(f, colour=True), "picture.png"),
    Seed("picture/tiff", _tiff, "picture.tif"),
    Seed("picture/tiff-deflate", lambda f: _tiff(f, compression="zlib", tile=(16, 16)), "picture.tif"),
    Seed("yaml/train", _config, "train.yaml"),
    Seed("yaml/degrade", _degrade, "degrade.yaml"),
    Seed("yaml/card", _card, "network.safetensors", "network.yaml"),
    Seed("yaml/pipeline", _pipeline, "pipeline.yaml"),
    Seed("safetensors/network", _network, "network.safetensors"),
)


def seeds(formats: tuple[str, ...] = ()) -> dict[str, Seed]:
    """By name; of some formats only, and only those that can be made here."""
    found = {}
    for seed in _ALL:
        wanted = not formats or seed.format in formats or seed.name in formats
        if seed.name == "yaml/pipeline" and not list((ROOT / "configs" / "pipelines").glob("*.yaml")):
            continue
        if wanted and not (seed.needs and importlib.util.find_spec(seed.needs) is None):
            found[seed.name] = seed
    return found


def make(seed: Seed, folder: Path) -> Path:
    """Write an honest input into a fresh folder below `folder`; that folder."""
    target = folder / seed.name.replace("/", "-")
    target.mkdir(parents=True)
    seed.make(target)
    if not (target / seed.opened).exists() or not (target / seed.victim).is_file():
        raise FileNotFoundError(f"{seed.name} did not make {seed.opened}")
    return target
