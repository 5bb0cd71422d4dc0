"""Masks, weights and errors in files of their own go with their image and are never frames."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import write
from hypothesis import given
from hypothesis import strategies as st

import sciSR
from sciSR.errors import SciSRError, SciSRWarning, UnsupportedError
from sciSR.sequence import FrameSequence
from scisr_astronomy.companions import pair_files

SHAPE = (64, 64)
NOISE = 4.0
C4D = "c4d_150411_035242"


def sky(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(200, NOISE, SHAPE).astype(np.float32)


def put(path: Path, data: np.ndarray, name: str = "") -> Path:
    """In the primary HDU, or in an extension of this name."""
    if not name:
        return write(path, fits.PrimaryHDU(data))
    return write(path, fits.PrimaryHDU(), fits.ImageHDU(data, name=name))


def quiet(paths: Any, **options: Any) -> FrameSequence:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        return sciSR.read_sequence(paths, **options)


def flags() -> np.ndarray:
    out = np.zeros(SHAPE, np.int32)
    out[3, 4], out[10:12, 20] = 1, 7
    return out


def paired(*names: str) -> dict[str, dict[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        found = pair_files([Path(name) for name in names])
    return {path.name: {kind: p.name for kind, p in own.items()} for path, own in found}


@pytest.mark.parametrize(
    ("image", "others"),
    [
        (f"{C4D}_ooi_z_ls9.N3.fits", {"mask": f"{C4D}_ood_z_ls9.N3.fits", "weight": f"{C4D}_oow_z_ls9.N3.fits"}),
        (f"{C4D}_ooi_z_v1.fits.fz", {"mask": f"{C4D}_ood_z_v1.fits.fz"}),
        ("m51.fits", {"mask": "m51_mask.fits", "weight": "m51.weight.fits"}),
        ("m51.fits", {"sigma": "m51_rms.fits", "weight": "m51-wht.fits.gz"}),
        ("m51_sci.fits", {"sigma": "m51_err.fits", "weight": "m51_wht.fits", "mask": "m51_dq.fits"}),
        ("m51_drz.fits", {"weight": "m51_wht.fits", "other": "m51_ctx.fits"}),
        ("SPITZER_I1_12_2_cbcd.fits", {"sigma": "SPITZER_I1_12_2_cbunc.fits", "mask": "SPITZER_I1_12_2_bimsk.fits"}),
        ("00720a001-w1-int-1b.fits", {"sigma": "00720a001-w1-unc-1b.fits.gz", "mask": "00720a001-w1-msk-1b.fits.gz"}),
    ],
)  # fmt: skip
def test_names_in_use_are_understood(image: str, others: dict[str, str]) -> None:
    for order in itertools.permutations([image, *others.values()]):
        assert paired(*order) == {image: others}


@given(st.permutations([f"{stem}{end}.fits" for stem in "abc" for end in ("", "_mask", ".weight")]))
def test_order_does_not_matter_to_what_goes_together(names: list[str]) -> None:
    found = paired(*names)
    assert list(found) == [name for name in names if len(name) == 6]
    assert all(
        own == {"mask": f"{k[0]}_mask.fits", "weight": f"{k[0]}.weight.fits"} for k, own in found.items()
    )


def test_names_that_only_look_alike_are_images() -> None:
    names = ("rr_lyr_var.fits", "m51_exp.fits", "night1_bad.fits")
    assert paired(*names) == {name: {} for name in names}
    assert paired("ngc1_r.fits", "ngc1_g.fits") == {"ngc1_r.fits": {}, "ngc1_g.fits": {}}
    assert paired("a/m51.fits", "b/m51_mask.fits") == {"m51.fits": {}}


def test_a_noirlab_triplet_is_one_frame_with_mask_and_variance(tmp_path: Path) -> None:
    names = [f"c4d_150411_03524{n}_oo{{}}_z_ls9.N3.fits" for n in (2, 3)]
    weight = np.full(SHAPE, 1 / NOISE**2, np.float32)
    weight[30, 31] = 0
    for seed, name in enumerate(names):
        put(tmp_path / name.format("i"), sky(seed), "N3")
        put(tmp_path / name.format("d"), flags(), "N3")
        put(tmp_path / name.format("w"), weight, "N3")
    sequence = quiet(tmp_path / "c4d*.fits")
    assert [frame.name for frame in sequence] == [f"{name.format('i')}[N3]" for name in names]
    for seed, frame in enumerate(sequence):
        pixels = frame.read()
        np.testing.assert_array_equal(pixels.values, sky(seed))
        np.testing.assert_array_equal(pixels.bad, (flags() != 0) | (weight == 0))
        np.testing.assert_allclose(pixels.variance[~pixels.bad], NOISE**2, rtol=1e-5)
    # The pattern of images alone finds the same.
    beside = quiet(tmp_path / "*ooi*")
    assert [f.read().bad.sum() for f in beside] == [f.read().bad.sum() for f in sequence]
    # Masks alone are nothing.
    with pytest.raises(SciSRError, match=r"ood_z_ls9.N3.fits"):
        quiet(tmp_path / "*ood*")


def test_a_relative_weight_is_scaled_to_the_skys_noise_and_told(tmp_path: Path) -> None:
    put(tmp_path / "m51.fits", sky())
    coverage = np.full(SHAPE, 120.0, np.float32)
    coverage[:, 32:] = 480.0
    coverage[5, 5] = 0
    put(tmp_path / "m51.weight.fits", coverage)
    sequence = quiet(tmp_path)
    assert any("no inverse variance" in note for note in sequence.notes)
    pixels = sequence[0].read()
    assert [tuple(p) for p in np.argwhere(pixels.bad)] == [(5, 5)]
    assert pixels.variance[10, 10] / pixels.variance[10, 50] == pytest.approx(4, rel=1e-5)
    typical = np.median(np.sqrt(pixels.variance[~pixels.bad]))
    assert 0.6 < typical / NOISE < 1.6


def test_an_inverse_variance_is_taken_as_it_is(tmp_path: Path) -> None:
    put(tmp_path / "m51.fits", sky())
    put(tmp_path / "m51_wht.fits", np.full(SHAPE, 1 / 4.4**2, np.float32))
    sequence = quiet(tmp_path)
    assert not any("inverse variance" in note for note in sequence.notes)
    np.testing.assert_allclose(sequence[0].read().variance, 4.4**2, rtol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "values"),
    [("_err", 4.0), ("_rms", 4.0), ("-unc", 4.0), ("_var", 16.0), ("_ivar", 1 / 16.0)],
)
def test_errors_variances_and_their_inverse(tmp_path: Path, suffix: str, values: float) -> None:
    put(tmp_path / "m51.fits", sky())
    put(tmp_path / f"m51{suffix}.fits", np.full(SHAPE, values, np.float32))
    (frame,) = quiet(tmp_path)
    np.testing.assert_allclose(frame.read().variance, 16.0, rtol=1e-5)


def test_detectors_find_their_own_masks(tmp_path: Path) -> None:
    image, mask = [fits.PrimaryHDU()], [fits.PrimaryHDU()]
    for k, name in enumerate(("N1", "N2")):
        image.append(fits.ImageHDU(sky(k), name=name))
        own = np.zeros(SHAPE, np.int16)
        own[k, 0] = 1
        mask.insert(1, fits.ImageHDU(own, name=name))  # in another order
    write(tmp_path / "x.fits", *image)
    write(tmp_path / "x_dq.fits", *mask)
    for k, frame in enumerate(quiet(tmp_path)):
        assert [tuple(p) for p in np.argwhere(frame.read().bad)] == [(k, 0)]


def test_flags_in_the_file_and_beside_it_both_count(tmp_path: Path) -> None:
    inside = np.zeros(SHAPE, np.int16)
    inside[40, 41] = 4
    write(
        tmp_path / "m51.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(sky(), name="SCI"),
        fits.ImageHDU(inside, name="DQ"),
    )
    put(tmp_path / "m51_mask.fits", flags(), "SCI")
    (frame,) = quiet(tmp_path)
    np.testing.assert_array_equal(frame.read().bad, (flags() != 0) | (inside != 0))
    assert not quiet(tmp_path, dq_bits="none")[0].read().bad.any()


def test_a_companion_that_does_not_fit_is_told_and_strict_refuses(tmp_path: Path) -> None:
    put(tmp_path / "m51.fits", sky())
    put(tmp_path / "m51_mask.fits", np.zeros((10, 12), np.int16))
    with pytest.warns(SciSRWarning, match=r"m51.fits.*used without its mask: m51_mask.fits.*64x64"):
        sequence = sciSR.read_sequence(tmp_path)
    assert len(sequence) == 1
    with pytest.raises(UnsupportedError, match=r"m51_mask.fits"):
        quiet(tmp_path, strict=True)


def test_a_broken_companion_does_not_lose_the_frame(tmp_path: Path) -> None:
    put(tmp_path / "m51.fits", sky())
    (tmp_path / "m51_mask.fits").write_bytes(put(tmp_path / "x", flags()).read_bytes()[:4000])
    (tmp_path / "x").unlink()
    sequence = quiet(tmp_path)
    assert len(sequence) == 1
    assert any("used without its mask" in note for note in sequence.notes)


def test_a_companion_without_its_image_is_named_and_not_fused(tmp_path: Path) -> None:
    put(tmp_path / "m51.fits", sky())
    put(tmp_path / "m81_mask.fits", flags().astype(np.float32))
    with pytest.warns(SciSRWarning, match=r"m81_mask.fits: named as mask"):
        sequence = sciSR.read_sequence(tmp_path)
    assert [frame.name for frame in sequence] == ["m51.fits"]


def test_an_error_counts_more_than_a_weight(tmp_path: Path) -> None:
    put(tmp_path / "m51.fits", sky())
    put(tmp_path / "m51.weight.fits", np.full(SHAPE, 900.0, np.float32))
    put(tmp_path / "m51_rms.fits", np.full(SHAPE, 4.5, np.float32))
    for order in ("*.fits", "[m]51*.fits"):
        sequence = quiet(tmp_path / order)
        np.testing.assert_allclose(sequence[0].read().variance, 4.5**2, rtol=1e-5)
        assert not any("inverse variance" in note for note in sequence.notes)
