"""The combined header: sums, dates, what is dropped, and what stays because the level is the reference's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time, TimeDelta
from fits_samples import TAN, header_of, wcs_of
from fused_samples import EXPOSURE, read_frames, shift_and_add, write_frames, write_product
from hypothesis import given
from hypothesis import strategies as st

from sciSR.image import Image
from sciSR.sequence import Frame, NoiseModel
from scisr_astronomy.fused_keywords import card_text, differing, outdated
from scisr_astronomy.fused_times import combined_times

EMPTY = Image.from_array(np.zeros((4, 4), np.float32))


def frame(
    start: str | None = None, exposure: float | None = None, end: str | None = None, **more: Any
) -> Frame:
    return Frame(EMPTY, "a", exposure=exposure, start=start, end=end, **more)


def cards(*frames: Frame) -> dict[str, Any]:
    return {keyword: value for keyword, value, _ in combined_times(frames).cards}


def headers(folder: Path, *args: Any, extension: bool = False, **how: Any) -> tuple[fits.Header, fits.Header]:
    """Primary and SCI header of the fusion of frames with these cards."""
    sequence = read_frames(write_frames(folder, *args, extension=extension, own=how.pop("own", ())))
    path = write_product(shift_and_add(sequence, **how), folder / "fused.fits")
    return fits.getheader(path, 0), fits.getheader(path, "SCI")


def test_exposure_is_the_sum_of_the_frames_used(tmp_path: Path) -> None:
    primary, science = headers(tmp_path, left_out={1: "cloud"})
    for header in (primary, science):
        assert header["EXPTIME"] == header["XPOSURE"] == 3 * EXPOSURE
    assert science["EXPREF"] == EXPOSURE, "the level is one frame's"
    assert primary["NCOMBINE"] == 3


def test_dates_reach_from_the_first_start_to_the_last_end() -> None:
    found = cards(
        frame("2026-01-01T00:10:00", 60.0),
        frame("2026-01-01T00:00:00.5", 30.0),
        frame("2026-01-01T00:05:00", 30.0),
    )
    assert found["DATE-BEG"] == found["DATE-OBS"] == "2026-01-01T00:00:00.500"
    assert found["DATE-END"] == "2026-01-01T00:11:00.000"
    assert found["TELAPSE"] == pytest.approx(659.5)
    assert found["EXPTIME"] == 120.0
    # (0.5 + 15) / 4 + (300 + 15) / 4 + (600 + 30) / 2 seconds after midnight
    assert found["DATE-AVG"] == "2026-01-01T00:06:37.625"


@given(
    st.lists(
        st.tuples(st.floats(0, 5e5), st.floats(0.001, 4000)),
        min_size=1,
        max_size=8,
    )
)
def test_dates_agree_with_astropy_and_with_each_other(spans: list[tuple[float, float]]) -> None:
    zero = Time("2016-12-30T12:00:00", scale="utc")  # a leap second follows a day and a half later
    frames = []
    for seconds, exposure in spans:
        start = zero + TimeDelta(seconds, format="sec")
        start.precision = 6
        frames.append(frame(start.isot, exposure))
    found = cards(*frames)
    first, last, middle = (Time(found[f"DATE-{k}"], scale="utc") for k in ("BEG", "END", "AVG"))
    assert first <= middle <= last
    for key, date in (("BEG", first), ("END", last), ("AVG", middle)):
        assert abs(found[f"MJD-{key}"] - date.mjd) < 1e-9
    assert found["TELAPSE"] == pytest.approx((last - first).sec, abs=2e-6)
    assert found["EXPTIME"] == pytest.approx(sum(e for _, e in spans))
    ends = [Time(f.start, scale="utc") + TimeDelta(f.exposure or 0.0, format="sec") for f in frames]
    assert abs((max(ends, key=lambda t: t.mjd) - last).sec) < 1e-5


def test_an_unknown_exposure_makes_no_sum() -> None:
    times = combined_times([frame("2026-01-01T00:00:00", 60.0), frame("2026-01-01T00:02:00")])
    found = {card[0] for card in times.cards}
    assert "EXPTIME" not in found
    assert {"DATE-BEG", "DATE-END"} <= found
    assert "do not tell their exposure" in times.notes[0]


def test_frames_without_dates_are_told() -> None:
    times = combined_times([frame("2026-01-01T00:00:00", 60.0), frame(None, 60.0)])
    assert any("1 of 2 frames" in note for note in times.notes)
    assert cards(frame(None, 60.0)) == {"EXPTIME": 60.0, "XPOSURE": 60.0}
    assert cards() == {}


@pytest.mark.parametrize("nonsense", ["yesterday", "2026-13-45", "", "31/12/99"])
def test_dates_that_are_none_are_no_dates(nonsense: str) -> None:
    assert "DATE-BEG" not in cards(frame(nonsense, 60.0))


@pytest.mark.parametrize("extension", [False, True])
def test_what_belongs_to_a_single_exposure_is_dropped(tmp_path: Path, extension: bool) -> None:
    gone = {
        "CCDSEC": "[1:30,1:24]",
        "DATASEC": "[1:30,1:24]",
        "TIME-OBS": "00:00:00",
        "JD": 2461041.5,
        "LST": "01:02:03",
        "HA": 1.5,
        "EXPOSURE": 60.0,
        "DARKTIME": 61.0,
    }
    primary, science = headers(tmp_path, gone, extension=extension)
    for key in gone:
        assert key not in primary
        assert key not in science


def test_noise_of_one_readout_moves_to_history(tmp_path: Path) -> None:
    primary, science = headers(tmp_path, {"GAIN": 1.5, "RDNOISE": 5.25})
    for header in (primary, science):
        assert "GAIN" not in header
        assert "RDNOISE" not in header
    history = " ".join(primary["HISTORY"])
    assert "GAIN=1.5" in history
    assert "RDNOISE=5.25" in history


def test_what_differs_between_frames_is_dropped_and_named(tmp_path: Path) -> None:
    own = [{"FOCUS": k, "CCDTEMP": -20.0, "ROOTNAME": f"r{k}"} for k in range(4)]
    primary, _ = headers(tmp_path, {"TELESCOP": "T60"}, own=own)
    assert "FOCUS" not in primary
    assert "ROOTNAME" not in primary
    assert (primary["CCDTEMP"], primary["TELESCOP"]) == (-20.0, "T60")
    assert "FOCUS, ROOTNAME" in " ".join(line.strip() for line in primary["HISTORY"])


def test_frames_left_out_have_no_say(tmp_path: Path) -> None:
    own = [{"FOCUS": 1}, {"FOCUS": 2}, {"FOCUS": 1}, {"FOCUS": 1}]
    primary, _ = headers(tmp_path, own=own, left_out={1: "cloud"})
    assert primary["FOCUS"] == 1


def test_photometric_zero_points_stay_the_references(tmp_path: Path) -> None:
    """The level is that of one reference exposure, so its zero point turns it into magnitudes."""
    own = [{"MAGZERO": 25.0 + k, "PHOTFLAM": 1e-19 * (k + 1)} for k in range(4)]
    primary, _ = headers(tmp_path, own=own)
    assert (primary["MAGZERO"], primary["PHOTFLAM"]) == (25.0, 1e-19)


def test_pixel_scales_become_those_of_fine_pixels(tmp_path: Path) -> None:
    primary, _ = headers(tmp_path, {"PIXSCALE": 0.4, "PIXAR_SR": 4e-12, "CCDSUM": "2 2", "IMAGEW": 30})
    assert (primary["PIXSCALE"], primary["PIXAR_SR"]) == (0.2, 1e-12)
    assert (primary["CCDSUM"], primary["IMAGEW"]) == ("1 1", 60)


def test_airmass_is_the_mean(tmp_path: Path) -> None:
    primary, _ = headers(tmp_path, own=[{"AIRMASS": 1.0 + 0.1 * k} for k in range(4)])
    assert primary["AIRMASS"] == pytest.approx(1.15)


def test_mixed_filters_are_said(tmp_path: Path) -> None:
    primary, science = headers(tmp_path, own=[{"FILTER": f} for f in "rrgr"])
    assert primary["FILTER"] == "MIXED"
    assert "FILTER" not in science
    history = " ".join(primary["HISTORY"])
    assert "r (3)" in history
    assert "g (1)" in history


def test_one_filter_stays(tmp_path: Path) -> None:
    assert headers(tmp_path)[0]["FILTER"] == "r"


def test_old_storage_is_not_carried_over(tmp_path: Path) -> None:
    for path in write_frames(tmp_path):
        with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
            data = hdus[0].data.astype(np.int16)
            header = hdus[0].header
            header["BSCALE"], header["BZERO"], header["BLANK"] = 0.5, 100.0, -32768
            header["ZCMPTYPE"] = "RICE_1"
        fits.PrimaryHDU(data, header).writeto(path, overwrite=True, checksum=True)
    paths = sorted(tmp_path.glob("frame_*.fits"))
    path = write_product(shift_and_add(read_frames(paths)), tmp_path / "fused.fits")
    with fits.open(path, checksum=True, do_not_scale_image_data=True) as hdus:
        for hdu in hdus[:5]:
            assert not {"BSCALE", "BZERO", "BLANK", "ZCMPTYPE"} & set(hdu.header)
        assert hdus["SCI"].data.dtype == np.dtype(">f4")


def test_history_names_what_was_done_and_every_frame_left_out(tmp_path: Path) -> None:
    reason = "no star in common with the reference: " + "far away " * 30
    primary, _ = headers(tmp_path, left_out={3: reason})
    history = " ".join(" ".join(primary["HISTORY"]).split())
    assert "fused 3 of 4 frames, x2, method mean" in history
    assert "shifts are whole fine pixels" in history
    assert "left out: frame_3.fits: " + " ".join(reason.split()) in history.replace(" sciSR: each", "")


def test_a_deconvolved_image_says_so(tmp_path: Path) -> None:
    primary, _ = headers(tmp_path, deconvolve=True)
    assert primary["DECONV"] is True
    (tmp_path / "b").mkdir()
    assert "DECONV" not in headers(tmp_path / "b")[0]


def test_the_references_history_and_comments_are_kept(tmp_path: Path) -> None:
    paths = write_frames(tmp_path)
    with fits.open(paths[0], mode="update") as hdus:
        hdus[0].header.add_history("flat fielded on a Tuesday")
        hdus[0].header.add_comment("a fine night")
    path = write_product(shift_and_add(read_frames(paths)), tmp_path / "fused.fits")
    primary = fits.getheader(path)
    assert "flat fielded on a Tuesday" in list(primary["HISTORY"])
    assert "a fine night" in list(primary["COMMENT"])


def test_effective_gain_counts_the_electrons_of_all_frames(tmp_path: Path) -> None:
    from dataclasses import replace

    sequence = read_frames(write_frames(tmp_path))
    frames = tuple(f.replace(noise=NoiseModel(gain=1.5, read_noise=5.0)) for f in sequence)
    path = write_product(shift_and_add(replace(sequence, frames=frames)), tmp_path / "fused.fits")
    assert fits.getheader(path, "SCI")["EFFGAIN"] == pytest.approx(6.0)


@given(st.text(max_size=200))
def test_any_text_fits_a_card(text: str) -> None:
    line = card_text(text)
    assert line.isascii()
    assert line.isprintable() or not line
    header = fits.Header()
    header.add_history(line)
    assert fits.Header.fromstring(header.tostring()) is not None


def test_keywords_of_place_and_light_are_never_called_different() -> None:
    first = header_of({**TAN, "RA": 1.0, "MAGZERO": 25.0, "FOCUS": 1, "OBJECT": "a"})
    second = header_of({**TAN, "CRVAL1": 3.0, "RA": 2.0, "MAGZERO": 26.0, "FOCUS": 2, "OBJECT": "b"})
    assert differing(first, [second]) == ["FOCUS"]
    assert differing(first, [first]) == []
    assert outdated(first) == []


@pytest.mark.parametrize("extension", [False, True])
def test_odd_cards_of_the_reference_survive_or_go_but_break_nothing(tmp_path: Path, extension: bool) -> None:
    odd = {
        "HIERARCH ESO TEL FOCU SCALE": 1.489,
        "HIERARCH a key with spaces": "and a value",
        "LONGTEXT": "a long story " * 20,
        "QUOTED": "it's",
        "EMPTY": "",
        "NOVALUE": None,
        "COMPLEX": 1 + 2j,
        "LOGICAL": True,
        "EXTNAME": "SKY",
        "INHERIT": True,
        "NEXTEND": 7,
    }
    primary, science = headers(tmp_path, odd, extension=extension)
    for keyword in ("LONGTEXT", "QUOTED", "ESO TEL FOCU SCALE", "a key with spaces", "COMPLEX"):
        value = odd.get(keyword, odd.get(f"HIERARCH {keyword}"))
        assert primary[keyword] == (value.strip() if isinstance(value, str) else value)
    assert science["EXTNAME"] == "SCI"
    assert "NEXTEND" not in primary
    # An empty value and a long string earn a warning in the input too.
    done = subprocess.run(
        ["fitsverify", "-q", "-e", str(tmp_path / "fused.fits")], capture_output=True, text=True
    )
    assert done.stdout.startswith("verification OK"), done.stdout


SEQUENCES = ("exotic_hatp32", "decam_186p257", "decam_i_obs04", "orion_microobs")


@pytest.mark.realdata
@pytest.mark.parametrize("name", SEQUENCES)
def test_headers_of_real_frames_make_a_valid_product(tmp_path: Path, shared_data: Path, name: str) -> None:
    folder = shared_data / "astro" / "sequence" / name
    paths = [p for p in sorted(folder.iterdir()) if "_oo" not in p.name or "_ooi_" in p.name][:3]
    sequence = read_frames(paths)
    fused = shift_and_add(sequence[:1], shifts=((0, 0),))
    path = write_product(fused, tmp_path / "fused.fits")
    # cfitsio takes what is not ASCII or not aligned in the reference's own cards as it comes: errors only count.
    done = subprocess.run(["fitsverify", "-q", "-e", str(path)], capture_output=True, text=True)
    assert done.stdout.startswith("verification OK"), subprocess.run(
        ["fitsverify", "-e", str(path)], capture_output=True, text=True
    ).stdout
    with fits.open(paths[0]) as before, fits.open(path) as after:
        science = next(h for h in before if h.shape)
        old, new = wcs_of(science.header), wcs_of(after["SCI"].header)
        if old.has_celestial:
            rows, columns = science.shape
            x, y = np.meshgrid([-0.5, columns - 0.5], [-0.5, rows - 0.5])
            was = np.array(old.wcs_pix2world(x, y, 0))
            now = np.array(new.wcs_pix2world((x + 0.5) * 2 - 0.5, (y + 0.5) * 2 - 0.5, 0))
            np.testing.assert_allclose(now, was, atol=1e-9)
