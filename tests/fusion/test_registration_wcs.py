"""Registration from world coordinates: trusted as far as the stars confirm them."""

from __future__ import annotations

import numpy as np
import pytest
import registration_scene as scene

from sciSR.fusion.registration import register
from sciSR.fusion.transforms import Affine
from sciSR.sequence import FrameSequence

SHAPE = (96, 96)
CENTRE = (47.5, 47.5)


def header(transform: Affine, *, wrong: tuple[float, float] = (0, 0), sip: float = 0.0):
    """Tangent-plane coordinates of a frame: the reference's centre at (150, 20) degrees, 0.5 arcsec a pixel."""
    from astropy.io import fits

    out = fits.Header()
    back = np.linalg.inv(transform.linear)
    middle = transform(np.array(CENTRE)) + np.array(wrong)
    scale = 0.5 / 3600
    # FITS axes: x is the column. Right ascension falls with the column.
    flip = np.array([[0, 1], [1, 0]])
    cd = np.diag([-scale, scale]) @ flip @ back @ flip
    kind = "-SIP" if sip else ""
    out["CTYPE1"], out["CTYPE2"] = f"RA---TAN{kind}", f"DEC--TAN{kind}"
    out["CRVAL1"], out["CRVAL2"] = 150.0, 20.0
    out["CRPIX1"], out["CRPIX2"] = middle[1] + 1, middle[0] + 1
    for i in (0, 1):
        for j in (0, 1):
            out[f"CD{i + 1}_{j + 1}"] = cd[i, j]
    if sip:
        out["A_ORDER"] = out["B_ORDER"] = 2
        out["A_2_0"], out["B_0_2"] = sip, -sip
    return out


def sequence(truth: Affine, seed: int, *, number: int = 40, **wcs: object) -> FrameSequence:
    from scisr_astronomy.wcs_grid import WcsGrid

    random = np.random.default_rng(seed)
    field = scene.stars(random, number, SHAPE)
    frames = []
    for name, where, how in (("first", Affine.identity(), {}), ("second", truth, wcs)):
        values = scene.noisy(scene.expose(field, where, SHAPE), random)
        frames.append(scene.frame_on(values, WcsGrid(header(where, **how), SHAPE), name))
    return FrameSequence(tuple(frames))


TURNED = Affine.about(CENTRE, 0.3, 1.0, (6, -9))


def test_right_world_coordinates_are_confirmed_and_measured():
    found = register(sequence(TURNED, 1)).frames[1]
    assert found is not None
    assert found.how == "wcs"
    assert found.model == "wcs+shift"
    assert found.note == ""
    assert scene.error(found.transform, TURNED, SHAPE) < 0.02


@pytest.mark.parametrize("wrong", [(10.0, -4.0), (-25.0, 31.0)])
def test_wrong_world_coordinates_are_noticed_and_corrected(wrong):
    found = register(sequence(TURNED, 2, wrong=wrong)).frames[1]
    assert found is not None
    assert scene.error(found.transform, TURNED, SHAPE) < 0.02
    assert "off by" in found.note


def test_world_coordinates_of_another_field_do_not_hide_a_match_of_stars():
    result = register(sequence(TURNED, 3, wrong=(5000.0, 0.0)))
    found = result.frames[1]
    assert found is not None
    assert found.how == "stars"
    assert scene.error(found.transform, TURNED, SHAPE) < 0.05
    only = register(sequence(TURNED, 3, wrong=(5000.0, 0.0)), method="wcs")
    assert "overlap" in dict(only.left_out)[1]


def test_distortions_of_the_world_coordinates_are_kept():
    straight = Affine.shift(4, 7)
    plain = register(sequence(straight, 4, sip=2e-5)).frames[1]
    assert plain is not None
    # The header claims a distortion that the image does not have: a shift on top of it can't remove it.
    corner = np.array([[0.0, 0.0], [95.0, 95.0], [0.0, 95.0]])
    bent = plain.transform(corner) - straight(corner)
    assert np.abs(bent).max() > 0.01
    back = plain.transform.inverse(plain.transform(corner))
    np.testing.assert_allclose(back, corner, atol=1e-6)


def test_a_frame_without_anything_to_confirm_its_coordinates_is_used_only_when_told_to():
    frames = sequence(TURNED, 5, number=0)
    blind = register(frames, reference=0)
    assert blind.frames[1] is None
    assert "confirm" in dict(blind.left_out)[1]
    told = register(frames, reference=0, method="wcs").frames[1]
    assert told is not None
    assert told.model == "wcs"
    assert told.note
    assert told.as_dict()["error_px"] is None
    assert scene.error(told.transform, TURNED, SHAPE) < 1e-3


def test_a_wcs_wish_without_world_coordinates_is_refused_with_the_reason():
    random = np.random.default_rng(6)
    frames = [scene.noisy(np.zeros(SHAPE), random) for _ in range(2)]
    result = register(FrameSequence.from_arrays(frames), method="wcs", reference=0)
    assert "world coordinates" in dict(result.left_out)[1]


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::sciSR.errors.SciSRWarning")
def test_decam_frames_agree_with_their_world_coordinates(shared_data):
    """Nine exposures in three filters by the same camera, reduced by one pipeline: a WCS good to 0.1 arcsec."""
    frames = real(shared_data / "astro/sequence/decam_186p257", "*ooi*")
    result = register(frames)
    assert result.left_out == ()
    for place in result.frames:
        assert place is not None
        assert "off by" not in place.note
        assert place.how in ("wcs", "reference")
        if place.how == "wcs":
            assert place.rms_px < 0.5 or np.isnan(place.rms_px)


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::sciSR.errors.SciSRWarning")
def test_a_drifting_sequence_registers_by_stars_and_by_correlation_alike(shared_data):
    frames = real(shared_data / "astro/sequence/exotic_hatp32", "*.FITS")
    result = register(frames)
    assert result.left_out == ()
    middle = np.array([249.5, 324.5])
    places = np.array([f.transform(middle) for f in result.frames])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert (steps > 0.5).all()
    assert (steps < 8).all()
    assert all(f.rms_px < 0.2 and f.n_stars > 100 for f in result.frames)
    by_light = register(frames[:2], method="phase", reference=0).frames[1]
    assert by_light is not None
    assert by_light.how == "phase"
    np.testing.assert_allclose(by_light.transform(middle), places[1], atol=0.1)


def real(folder, pattern: str) -> FrameSequence:
    import sciSR
    from sciSR.sequence import Frame

    paths = sorted(folder.glob(pattern))
    assert paths
    images = [next(i for i in sciSR.read_all(p, ignore_checksum=True) if len(i.axes) == 2) for p in paths]
    return FrameSequence(tuple(Frame(i, name=p.name) for i, p in zip(images, paths, strict=True)))
