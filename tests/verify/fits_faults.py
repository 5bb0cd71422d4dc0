"""Good outputs to plant faults in, and the faults: each a name, the output it is planted in, and a function."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from sciSR.workflow.run import upscale_file

SHAPE = (40, 48)
SIP = {
    "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2.1e-4, "A_1_1": -1.3e-4, "B_0_2": 1.7e-4, "B_1_1": 0.9e-4,
    "AP_ORDER": 2, "BP_ORDER": 2, "AP_2_0": -2.1e-4, "AP_1_1": 1.3e-4, "BP_0_2": -1.7e-4, "BP_1_1": -0.9e-4,
}  # fmt: skip


def scene(seed: int = 0, level: float = 20.0) -> np.ndarray:
    """Stars on a sky with noise, float64."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = level + rng.normal(0, 1, SHAPE)
    for _ in range(14):
        cy, cx, flux = rng.uniform(3, SHAPE[0] - 3), rng.uniform(3, SHAPE[1] - 3), rng.uniform(60, 600)
        image += flux * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.3**2))
    return image


def _cards(header: fits.Header, cards: dict[str, Any]) -> None:
    for key, value in cards.items():
        header[key] = value


def _sky(projection: str = "TAN-SIP") -> dict[str, Any]:
    return {
        "CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}", "CRVAL1": 150.1, "CRVAL2": 2.2,
        "CRPIX1": 21.3, "CRPIX2": 17.8, "CD1_1": -1.1e-4, "CD1_2": 1.2e-5, "CD2_1": 1.3e-5, "CD2_2": 1.2e-4,
    }  # fmt: skip


def surface(path: Path) -> Path:
    """A multi-extension file of surface brightness with SIP, ERR, DQ, a table and unknown values."""
    image = scene().astype(np.float32)
    image[5:7, 9:12] = np.nan
    sci = fits.ImageHDU(image, name="SCI")
    _cards(sci.header, {"BUNIT": "MJy/sr", **_sky(), **SIP})
    _cards(sci.header, {"EXPTIME": 300.0, "FILTER": "F606W", "GAIN": 1.5, "DATAMAX": 620.0, "PIXSCALE": 0.4})
    _cards(
        sci.header, {"DATASEC": "[1:48,1:40]", "LTV1": -100.0, "LTV2": -50.0, "LTM1_1": 1.0, "LTM2_2": 1.0}
    )
    sci.header["HISTORY"] = "flat fielded"
    err = fits.ImageHDU(
        np.full(SHAPE, 1.0, np.float32) + 0.01 * np.abs(scene(1)).astype(np.float32), name="ERR"
    )
    dq = fits.ImageHDU(
        (np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 97 == 0).astype(np.int16) * 4, name="DQ"
    )
    table = fits.BinTableHDU.from_columns(
        [fits.Column("ID", "J", array=np.arange(7)), fits.Column("FLUX", "E", array=np.linspace(1, 2, 7))],
        name="CATALOG",
    )
    primary = fits.PrimaryHDU()
    _cards(primary.header, {"TELESCOP": "TEST", "OBJECT": "FIELD"})
    return _write(path, [primary, sci, err, dq, table])


def counts(path: Path) -> Path:
    """Scaled integers that are totals, with TPV distortions and an error image."""
    image = np.clip(np.rint(scene(3, 200.0) / 0.05), -30000, 30000).astype(np.int16)
    sci = fits.PrimaryHDU(image)
    _cards(sci.header, {"BUNIT": "electron", **_sky("TPV"), "SATURATE": 65000.0})
    _cards(
        sci.header, {"PV1_1": 1.0, "PV1_2": 0.01, "PV1_4": 0.05, "PV2_1": 1.0, "PV2_2": -0.02, "PV2_6": 0.08}
    )
    sci.header["BSCALE"], sci.header["BZERO"] = 0.05, 100.0
    err = fits.ImageHDU(np.sqrt(image * 0.05 + 200).astype(np.float32), name="ERR")
    return _write(path, [sci, err], scaled=(0.05, 100.0, image))


def cube(path: Path) -> Path:
    """A spectral cube without distortions, and CDELT with PC."""
    image = np.stack([scene(k).astype(np.float32) for k in range(3)])
    sci = fits.PrimaryHDU(image)
    _cards(sci.header, {"BUNIT": "Jy/beam", "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CTYPE3": "FREQ"})
    _cards(
        sci.header,
        {"CRVAL1": 10.0, "CRVAL2": -30.0, "CRVAL3": 1.4e9, "CRPIX1": 24.0, "CRPIX2": 20.0, "CRPIX3": 1.0},
    )
    _cards(
        sci.header,
        {"CDELT1": -1e-4, "CDELT2": 1e-4, "CDELT3": 1e6, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6},
    )
    _cards(sci.header, {"PC2_2": 0.8, "CUNIT1": "deg", "CUNIT2": "deg", "CUNIT3": "Hz", "RESTFRQ": 1.42e9})
    return _write(path, [sci])


def _write(path: Path, hdus: list[Any], scaled: Any = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(path, checksum=True, overwrite=True)
    if scaled is not None:  # astropy writes plain values; the stored ones are put back with their scaling
        bscale, bzero, stored = scaled
        with fits.open(path, mode="update", do_not_scale_image_data=True, checksum=False) as found:
            found[0].data = stored
            found[0].header["BSCALE"], found[0].header["BZERO"] = bscale, bzero
            for hdu in found:
                hdu.add_checksum()
    return path


MAKERS = {"surface": surface, "counts": counts, "cube": cube}


@dataclass(frozen=True)
class Good:
    """An input and a good output of it."""

    input: Path
    output: Path


def make(folder: Path) -> dict[str, Good]:
    """All inputs upscaled by a network or a classical method."""
    out = {}
    models = {"surface": "espcn-astro-x2", "counts": "cubic", "cube": "lanczos"}
    for name, maker in MAKERS.items():
        source = maker(folder / f"{name}.fits")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            upscale_file(source, folder / f"{name}_x2.fits", scale=2, model=models[name], device="cpu")
        out[name] = Good(source, folder / f"{name}_x2.fits")
    return out


Change = Callable[[fits.HDUList], None]


def edited(source: Path, target: Path, change: Change, *, sums: bool = True) -> Path:
    """A copy of an output with a change, and with right CHECKSUM and DATASUM unless these are the fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(source, memmap=False, checksum=False) as hdus:
            for hdu in hdus:
                _ = hdu.data  # read before anything changes
            change(hdus)
            hdus.writeto(target, checksum=sums, overwrite=True, output_verify="silentfix")
    return target


def science(hdus: fits.HDUList) -> Any:
    """The HDU of the image."""
    return hdus["SCI"] if "SCI" in hdus else hdus[0]


def header(**cards: Any) -> Change:
    """Set keywords (``_`` at the end of a name for what Python reserves), or remove those that are None."""

    def change(hdus: fits.HDUList) -> None:
        for key, value in cards.items():
            if value is None:
                science(hdus).header.remove(key, ignore_missing=True)
            else:
                science(hdus).header[key] = value

    return change


def keys(function: Callable[[float], float], *names: str) -> Change:
    """Replace the numbers of some keywords by a function of them."""

    def change(hdus: fits.HDUList) -> None:
        for name in names:
            science(hdus).header[name] = function(science(hdus).header[name])

    return change


def data(function: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Replace the pixels by a function of them."""

    def change(hdus: fits.HDUList) -> None:
        science(hdus).data = np.ascontiguousarray(function(science(hdus).data.copy()))

    return change


def record(**fields: Any) -> Change:
    """Change fields of the last step of every record; None removes one."""

    def change(hdus: fits.HDUList) -> None:
        table = hdus["SCISR_PROV"]
        rows = []
        for text in table.data["PROVENANCE"]:
            steps = json.loads(text)
            for key, value in fields.items():
                step = steps[0] if key == "input_sha256" else steps[-1]
                if value is None:
                    step.pop(key, None)
                elif isinstance(value, dict):
                    step[key] = {**step[key], **value}
                else:
                    step[key] = value
            rows.append(json.dumps(steps, separators=(",", ":")))
        columns = [
            fits.Column("HDU", "J", array=table.data["HDU"]),
            fits.Column("NAME", table.columns["NAME"].format, array=table.data["NAME"]),
            fits.Column("PROVENANCE", f"{max(map(len, rows))}A", array=np.array(rows)),
        ]
        place = hdus.index_of("SCISR_PROV")
        hdus[place] = fits.BinTableHDU.from_columns(columns, name="SCISR_PROV")

    return change
