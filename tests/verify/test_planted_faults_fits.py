"""``scisr verify`` finds every planted fault in FITS files, and says where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from fits_faults import Change, Good, data, edited, header, keys, make, record, science

import sciSR
from sciSR.cli.main import main
from sciSR.verify.result import Verification

SHIFT = 0.5


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Good]:
    return make(tmp_path_factory.mktemp("good"))


# -- faults that are more than a keyword ------------------------------------------------------------------------------


def moved_between_neighbours(pixels: np.ndarray) -> np.ndarray:
    """Five units of flux from one original pixel to the next: the total stays."""
    pixels[20:22, 30:32] -= 5.0
    pixels[20:22, 32:34] += 5.0
    return pixels


def leaked(pixels: np.ndarray) -> np.ndarray:
    pixels[40, 40] = np.nan
    return pixels


def filled(pixels: np.ndarray) -> np.ndarray:
    return np.nan_to_num(pixels, nan=20.0)


def infinite(pixels: np.ndarray) -> np.ndarray:
    pixels[3, 3] = np.inf
    return pixels


def tpv_order(hdus: fits.HDUList) -> None:
    """The quadratic terms of the first axis under the numbers of others."""
    head = science(hdus).header
    head["PV1_5"] = head["PV1_4"]
    head["PV1_4"] = 0.0


def swapped(hdus: fits.HDUList) -> None:
    science(hdus).data = np.ascontiguousarray(science(hdus).data.T)


def clipped_integers(hdus: fits.HDUList) -> None:
    """Stored as 8 bits, everything above cut."""
    science(hdus).data = np.clip(np.nan_to_num(science(hdus).data), 0, 100).astype(np.int16)


def scale_lost(hdus: fits.HDUList) -> None:
    """Scaled integers whose BSCALE and BZERO went away."""
    head = science(hdus).header
    science(hdus).data = np.rint((science(hdus).data - 100.0 / 4) / 0.05).astype(np.int16)
    for key in ("BSCALE", "BZERO"):
        head.remove(key, ignore_missing=True)


def cropped(hdus: fits.HDUList) -> None:
    """Without the last column; everything else is as it was."""
    for name in ("SCI", "ERR", "DQ"):
        hdus[name].data = np.ascontiguousarray(hdus[name].data[:, :-1])


def without(name: str) -> Change:
    def change(hdus: fits.HDUList) -> None:
        del hdus[name]

    return change


def spoiled(hdus: fits.HDUList) -> None:
    """The record is no JSON any more."""
    rows = hdus["SCISR_PROV"].data
    rows["PROVENANCE"] = ["{" + text[1:] for text in rows["PROVENANCE"]]


def table_changed(hdus: fits.HDUList) -> None:
    hdus["CATALOG"].data["FLUX"][3] = 17.0


def error_kept(hdus: fits.HDUList) -> None:
    """The error of totals as it was for the larger pixels."""
    hdus[1].data = hdus[1].data * 4


def error_coarse(hdus: fits.HDUList) -> None:
    """The error left on the input's pixels."""
    hdus["ERR"].data = np.ascontiguousarray(hdus["ERR"].data[::2, ::2])


def error_zero(hdus: fits.HDUList) -> None:
    hdus["ERR"].data[10:20] = 0.0


def flags_lost(hdus: fits.HDUList) -> None:
    hdus["DQ"].data[:40] = 0


def flags_moved(hdus: fits.HDUList) -> None:
    hdus["DQ"].data = np.roll(hdus["DQ"].data, 1, axis=1)


def history_lost(hdus: fits.HDUList) -> None:
    science(hdus).header.remove("HISTORY", remove_all=True)


def spectral(hdus: fits.HDUList) -> None:
    """The third axis refined although no frequency was."""
    science(hdus).header["CDELT3"] /= 2


def blurred(pixels: np.ndarray) -> np.ndarray:
    """Smoothed after all was recorded."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(pixels, (0, 1, 1) if pixels.ndim == 3 else 1).astype(np.float32)


FAULTS: list[tuple[str, str, Change, str]] = [
    # name, planted in, how, what must be named among the failures
    ("half a pixel beside its place", "surface", keys(lambda v: v + SHIFT, "CRPIX1"), "geometry"),
    ("CRPIX scaled as if pixel 1 began at 1", "surface", header(CRPIX1=42.6, CRPIX2=35.6), "geometry"),
    ("CRPIX not scaled", "surface", header(CRPIX1=21.3, CRPIX2=17.8), "geometry"),
    ("CRPIX of a cube by half a pixel", "cube", keys(lambda v: v - SHIFT, "CRPIX2"), "geometry"),
    ("CD not divided", "surface", keys(lambda v: v * 2, "CD1_1", "CD1_2", "CD2_1", "CD2_2"), "geometry"),
    ("one element of CD", "surface", keys(lambda v: -v, "CD1_2"), "geometry"),
    ("CDELT not divided", "cube", header(CDELT1=-1e-4, CDELT2=1e-4), "geometry"),
    ("CRVAL half an output pixel away", "surface", keys(lambda v: v + 3e-5, "CRVAL2"), "geometry"),
    ("another projection", "surface", header(CTYPE1="RA---SIN-SIP", CTYPE2="DEC--SIN-SIP"), "CTYPE1"),
    ("east and west exchanged", "cube", keys(lambda v: -v, "CDELT1"), "geometry"),
    ("SIP not scaled", "surface", keys(lambda v: v * 2, "A_2_0", "A_1_1", "B_0_2", "B_1_1"), "geometry"),
    ("SIP left away", "surface", header(CTYPE1="RA---TAN", CTYPE2="DEC--TAN"), "CTYPE1"),
    ("inverse SIP not scaled", "surface", keys(lambda v: v * 2, "AP_2_0", "AP_1_1"), "AP_2_0"),
    ("TPV terms out of order", "counts", tpv_order, "geometry"),
    ("spectral axis refined", "cube", spectral, "geometry"),
    ("LTV not moved", "surface", header(LTV1=-100.0), "physical pixels"),
    ("totals kept as densities", "counts", data(lambda p: p * 4), "total"),
    ("densities shared out", "surface", data(lambda p: p / 4), "total"),
    ("flux moved between neighbours", "surface", data(moved_between_neighbours), "flux per original pixel"),
    (
        "picture shifted by a pixel",
        "surface",
        data(lambda p: np.roll(p, 1, axis=1)),
        "flux per original pixel",
    ),
    ("smoothed after the record", "cube", data(blurred), "recorded agreement"),
    ("flipped", "surface", data(lambda p: p[::-1]), "flux per original pixel"),
    ("axes exchanged", "counts", swapped, "field of view"),
    ("NaN leaked", "surface", data(leaked), "no bad pixel spread"),
    ("NaN lost", "surface", data(filled), "no bad pixel lost"),
    ("infinite", "surface", data(infinite), "finite"),
    ("constant", "counts", data(np.zeros_like), "range"),
    ("clipped integers", "surface", clipped_integers, "values"),
    ("BSCALE lost", "counts", scale_lost, "total"),
    ("clipped at the sky", "cube", data(lambda p: np.maximum(p, 20.0)), "flux per original pixel"),
    ("cropped by a pixel", "surface", cropped, "field of view"),
    ("unit lost", "surface", header(BUNIT=None), "unit"),
    ("unit changed", "counts", header(BUNIT="electron/s"), "unit"),
    ("exposure time changed", "surface", header(EXPTIME=75.0), "EXPTIME"),
    ("filter lost", "surface", header(FILTER=None), "FILTER"),
    ("largest value kept", "surface", header(DATAMAX=620.0), "DATAMAX"),
    ("saturation of totals kept", "counts", header(SATURATE=65000.0), "SATURATE"),
    ("pixel scale kept", "surface", header(PIXSCALE=0.4), "PIXSCALE"),
    ("data section kept", "surface", header(DATASEC="[1:48,1:40]"), "DATASEC"),
    ("rest frequency lost", "cube", header(RESTFRQ=None), "RESTFRQ"),
    ("history lost", "surface", history_lost, "HISTORY"),
    ("table lost", "surface", without("CATALOG"), "CATALOG"),
    ("table changed", "surface", table_changed, "CATALOG"),
    ("mask lost", "surface", without("DQ"), "mask"),
    ("flags lost", "surface", flags_lost, "mask"),
    ("flags moved", "surface", flags_moved, "mask"),
    ("error lost", "surface", without("ERR"), "uncertainty"),
    ("error of totals not shared out", "counts", error_kept, "uncertainty"),
    ("error on the input's pixels", "surface", error_coarse, "uncertainty"),
    ("error zero", "surface", error_zero, "uncertainty"),
    ("hash of the weights tampered with", "surface", record(weights_sha256="0" * 64), "hash of the weights"),
    ("another network claimed", "surface", record(model="ecbsr-astro-x2"), "hash of the weights"),
    ("a classical method claimed", "surface", record(model="cubic"), "hash of the weights"),
    ("another classical method claimed", "counts", record(model="lanczos"), "record in HISTORY"),
    ("no hash of the weights", "surface", record(weights_sha256=None), "complete"),
    ("hash of the input tampered with", "counts", record(input_sha256="ab" * 32), "hash of the input"),
    ("scale tampered with", "counts", record(scale="4"), "scale"),
    ("another quantity claimed", "counts", record(quantity="density"), "total"),
    ("number of bad pixels tampered with", "surface", record(bad_pixels=3), "number of bad pixels"),
    ("agreement tampered with", "counts", record(agreement={"max_abs": 0.7}), "recorded agreement"),
    ("record lost", "surface", without("SCISR_PROV"), "record"),
    ("record spoiled", "counts", spoiled, "record"),
    ("agreement left out", "counts", record(agreement=None), "complete"),
    ("the model left out", "counts", record(model=None), "complete"),
]


@pytest.mark.parametrize(("name", "where", "change", "named"), FAULTS, ids=[each[0] for each in FAULTS])
def test_fault_is_found(
    good: dict[str, Good], tmp_path: Path, name: str, where: str, change: Change, named: str
) -> None:
    bad = edited(good[where].output, tmp_path / "bad.fits", change)
    found = sciSR.verify_files(good[where].input, bad)
    assert not found.passed, name
    assert named in "\n".join(failures(found)), failures(found)


def failures(found: Verification) -> list[str]:
    """What failed, as group, name and key."""
    checks = [f"{c.group}: {c.name} {c.part}" for c in found.checks if c.status == "failed"]
    return [*checks, *(f"metadata: {k.key}" for k in found.keys if not k.allowed)]


@pytest.mark.parametrize("where", ["surface", "counts", "cube"])
def test_good_outputs_pass(good: dict[str, Good], tmp_path: Path, where: str) -> None:
    found = sciSR.verify_files(good[where].input, good[where].output)
    assert failures(found) == []
    assert found.passed
    assert found.made_by.startswith("sciSR")
    # Rewriting the file by astropy alone plants nothing.
    again = edited(good[where].output, tmp_path / "again.fits", lambda hdus: None)
    assert failures(sciSR.verify_files(good[where].input, again)) == []


# -- faults of the bytes ----------------------------------------------------------------------------------------------


def test_stale_checksum_is_found(good: dict[str, Good], tmp_path: Path) -> None:
    raw = good["surface"].output.read_bytes()
    at = raw.index(b"flat fielded")
    target = tmp_path / "stale.fits"
    target.write_bytes(raw[:at] + b"Flat fielded" + raw[at + 12 :])
    found = failures(sciSR.verify_files(good["surface"].input, target))
    assert any("CHECKSUM of HDU SCI" in each for each in found)


@pytest.mark.parametrize("card", ["DATASUM"])
def test_wrong_datasum_is_found(good: dict[str, Good], tmp_path: Path, card: str) -> None:
    raw = good["counts"].output.read_bytes()
    at = raw.index(card.encode()) + 11
    digit = b"7" if raw[at : at + 1] != b"7" else b"3"
    target = tmp_path / "wrong.fits"
    target.write_bytes(raw[:at] + digit + raw[at + 1 :])
    assert any(
        "DATASUM of HDU" in each for each in failures(sciSR.verify_files(good["counts"].input, target))
    )


def test_a_flipped_bit_is_found(good: dict[str, Good], tmp_path: Path) -> None:
    raw = bytearray(good["cube"].output.read_bytes())
    with fits.open(good["cube"].output) as hdus:
        at = hdus[0].fileinfo()["datLoc"] + 4 * 1234 + 2
    raw[at] ^= 0x10
    target = tmp_path / "bit.fits"
    target.write_bytes(bytes(raw))
    assert any("DATASUM of HDU" in each for each in failures(sciSR.verify_files(good["cube"].input, target)))


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bad(good: dict[str, Good], tmp_path: Path) -> tuple[Path, Path]:
    target = edited(good["surface"].output, tmp_path / "bad.fits", header(CRPIX1=42.6, EXPTIME=75.0))
    return good["surface"].input, target


def test_exit_code_is_six_and_failures_come_first(bad: tuple[Path, Path], capsys: Any) -> None:
    assert main(["verify", *map(str, bad)]) == 6
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed")
    words = [line.split()[0] for line in lines if line.split()[0] in ("failed", "passed")]
    assert words.index("passed") > words.index("failed")
    assert any("EXPTIME: 300.0 -> 75.0" in line and "failed" in line for line in lines)
    assert lines[-1].endswith("broken")


def test_json_says_all_of_it(bad: tuple[Path, Path], capsys: Any) -> None:
    assert main(["verify", *map(str, bad), "--json"]) == 6
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is False
    assert {"input", "output", "made_by", "passed", "checks", "metadata"} == set(told)
    assert any(
        c["status"] == "failed" and c["group"] == "geometry" and c["value"] > c["limit"]
        for c in told["checks"]
    )
    assert any(k["key"] == "EXPTIME" and k["allowed"] is False for k in told["metadata"])


def test_good_output_exits_with_zero(good: dict[str, Good], capsys: Any) -> None:
    assert main(["verify", str(good["counts"].input), str(good["counts"].output)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("every promise holds")


def test_unreadable_is_three_and_usage_two(good: dict[str, Good], tmp_path: Path, capsys: Any) -> None:
    one = good["counts"]
    assert main(["verify", str(one.input), str(tmp_path / "none.fits")]) == 3
    (tmp_path / "text.fits").write_text("no image")
    assert main(["verify", str(one.input), str(tmp_path / "text.fits")]) == 3
    assert main(["verify", str(one.input), str(one.input)]) == 2
    assert main(["verify", str(one.input), str(one.output), "--hdu", "NONE"]) == 2
    assert "Traceback" not in capsys.readouterr().err


WILD = (None, [], {"a": 1}, "", "x" * 3000, -1, "2,2,2,2", "0", True)


@pytest.mark.parametrize(
    "key", ["scale", "model", "weights_sha256", "agreement", "consistency", "quantity", "kind", "step"]
)
def test_a_wild_record_is_a_failure_and_no_error(good: dict[str, Good], tmp_path: Path, key: str) -> None:
    """Whatever stands in the record, verify ends with a verdict; and no such record is complete and true."""
    for number, value in enumerate(WILD):
        bad = edited(good["surface"].output, tmp_path / f"{number}.fits", replaced(key, value))
        found = sciSR.verify_files(good["surface"].input, bad)
        assert found.passed is False or key in ("kind", "quantity"), (key, value)


def replaced(key: str, value: Any) -> Change:
    """A field of the last step as it is, whatever its type."""

    def change(hdus: fits.HDUList) -> None:
        record(**{key: 0})(hdus)
        table = hdus["SCISR_PROV"]
        rows = []
        for text in table.data["PROVENANCE"]:
            steps = json.loads(text)
            steps[-1][key] = value
            rows.append(json.dumps(steps))
        columns = [
            fits.Column("HDU", "J", array=table.data["HDU"]),
            fits.Column("NAME", table.columns["NAME"].format, array=table.data["NAME"]),
            fits.Column("PROVENANCE", f"{max(map(len, rows))}A", array=np.array(rows)),
        ]
        hdus[hdus.index_of("SCISR_PROV")] = fits.BinTableHDU.from_columns(columns, name="SCISR_PROV")

    return change
