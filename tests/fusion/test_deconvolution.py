"""Deconvolution: sharper, with the same light in the same places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from solver_frames import Blobs, observe, shifts, target

from sciSR.errors import SciSRWarning, UnsupportedError, UsageError
from sciSR.fusion import map as map_solver
from sciSR.fusion.deconvolution import Blur, blur_of, deconvolved
from sciSR.fusion.forward import Canvas, Predictor, footprint
from sciSR.fusion.prepared import Solution
from sciSR.fusion.star_profile import centre, centred_profile, profile_from_stars, width
from sciSR.fusion.transforms import Affine

SIZE = 88
SIGMA = 0.8  # native pixels: 3.9 fine pixels FWHM with the pixel's own width


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def field(sigma: float = SIGMA) -> Blobs:
    """Nine bright stars on a loose lattice."""
    random = np.random.default_rng(5)
    grid = np.array([[r, c] for r in (16, 44, 72) for c in (16, 44, 72)], dtype=float)
    places = grid + random.uniform(-1.5, 1.5, grid.shape)
    return Blobs(np.column_stack([places, random.uniform(3e4, 1e5, 9), np.full(9, sigma)]))


@pytest.fixture(scope="module")
def solved() -> tuple[Blobs, Solution, Solution, Blur]:
    """The field, its fusion without and with deconvolution, and the blur taken out."""
    scene, place = field(), target(SIZE)
    frames = observe(scene, SIZE, shifts(8, 3), seed=1)
    fwhm = float(np.sqrt((2.3548 * SIGMA) ** 2 + 0.46))
    plain = map_solver.solve(frames, place, fwhm=fwhm, errors=False)
    result, blur = deconvolved(
        plain, place, None, lambda b: map_solver.solve(frames, place, fwhm=fwhm, blur=b)
    )
    assert blur is not None
    return scene, plain, result, blur


def stamps(image: np.ndarray, scene: Blobs, reach: int = 14) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each star's neighbourhood, and where in it the star truly is."""
    out = []
    for row, column in scene.sources[:, :2] * 2 + 0.5:
        top, left = round(row) - reach, round(column) - reach
        cut = image[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
        out.append((cut.astype(float), np.array([row - top, column - left])))
    return out


def test_stars_get_narrower_and_the_notes_say_by_how_much(solved) -> None:
    scene, plain, result, blur = solved
    before, after = (
        np.median([width(s) for s, _ in stamps(solution.image, scene)]) for solution in (plain, result)
    )
    assert before > 3.7
    assert after < 0.82 * before
    assert after > 0.95 * blur.fwhm[0]
    assert result.extras["fwhm_before"] == pytest.approx(before, rel=0.03)
    assert result.extras["fwhm_after"] == pytest.approx(after, rel=0.06)
    assert any(note.startswith("deconvolved: point spread function measured from") for note in result.notes)


def test_stars_keep_their_flux(solved) -> None:
    scene, _, result, _ = solved
    for (stamp, _), flux in zip(stamps(result.image, scene), scene.sources[:, 2], strict=True):
        assert stamp.sum() / 4 == pytest.approx(flux, rel=0.01)


def test_stars_stay_where_they_are(solved) -> None:
    scene, _, result, _ = solved
    off = [centre(stamp, 1.5) - place for stamp, place in stamps(result.image, scene)]
    assert np.sqrt(np.mean(np.square(off))) < 0.02  # fine pixels
    assert np.abs(np.mean(off, axis=0)).max() < 0.01


def test_rings_around_stars_stay_small(solved) -> None:
    scene, _, result, _ = solved
    for stamp, _ in stamps(result.image, scene):
        assert stamp.min() > -0.03 * stamp.max()
    assert 0 <= result.extras["rings"] < 0.03


def test_errors_are_known_everywhere(solved) -> None:
    result = solved[2]
    assert np.isfinite(result.std).all()
    assert (result.std > 0).all()


def test_the_measured_profile_is_that_of_the_stars(solved) -> None:
    profile = solved[3].profile
    assert profile.sum() == pytest.approx(1)
    assert np.abs(centre(profile, 1.7) - np.array(profile.shape) // 2).max() < 0.02
    lone = Blobs(np.array([[0.0, 0.0, 1.0, 2 * SIGMA]]))
    half = profile.shape[0] // 2
    truth = lone.pixels(profile.shape, (half, half))
    assert np.abs(profile - truth).max() < 0.03 * truth.max()


def test_a_given_profile_serves_as_well(solved) -> None:
    scene, plain, _, _ = solved
    place = target(SIZE)
    given = Blobs(np.array([[12.0, 12.0, 7.0, 2 * SIGMA]])).pixels((25, 25))
    frames = observe(scene, SIZE, shifts(8, 3), seed=1)
    result, _ = deconvolved(
        plain, place, given, lambda b: map_solver.solve(frames, place, errors=False, blur=b)
    )
    for (stamp, _), flux in zip(stamps(result.image, scene), scene.sources[:, 2], strict=True):
        assert stamp.sum() / 4 == pytest.approx(flux, rel=0.01)
    assert any("as given" in note for note in result.notes)
    assert result.extras["fwhm_after"] < 0.82 * result.extras["fwhm_before"]


@pytest.mark.parametrize("move", [(0.0, 0.0), (0.4, -0.3), (-0.49, 0.2)])
@pytest.mark.parametrize("shape", [(25, 25), (24, 26)])
def test_a_given_profile_is_centred_and_normalised(move, shape) -> None:
    lone = Blobs(np.array([[12 + move[0], 12 + move[1], 300.0, 1.5]]))
    profile = centred_profile(lone.pixels(shape))
    assert profile.sum() == pytest.approx(1)
    assert profile.shape[0] % 2 == profile.shape[1] % 2 == 1
    assert np.abs(centre(profile, 1.5) - np.array(profile.shape) // 2).max() < 0.02


@pytest.mark.parametrize("fwhm", [2.0, 2.7, 4.4, 9.0])
def test_the_width_of_a_gaussian_is_its_fwhm(fwhm: float) -> None:
    rows, columns = np.mgrid[-20:21, -20:21]
    profile = np.exp(-4 * np.log(2) * (rows**2 + columns**2) / fwhm**2)
    assert width(profile) == pytest.approx(fwhm, rel=0.02)


def test_the_adjoint_is_exact_for_a_lopsided_profile() -> None:
    random = np.random.default_rng(2)
    comet = Blobs(np.array([[10.0, 10.0, 1.0, 1.6], [13.0, 11.0, 0.4, 2.0]])).pixels((21, 21))
    place = target(32)
    canvas = Canvas.around(place, blur=blur_of(centred_profile(comet), place))
    where = footprint(canvas, Affine.shift(0.3, -1.7), (32, 32))
    assert where is not None
    predictor = Predictor(canvas)
    assert predictor.response.is_complex()
    x = torch.from_numpy(random.standard_normal(canvas.shape).astype(np.float32))
    y = torch.from_numpy(random.standard_normal(where.base.shape).astype(np.float32))
    forward = float((predictor.predict(x, where).double() * y).sum())
    back = float((x.double() * predictor.adjoint(y, where)).sum())
    assert forward == pytest.approx(back, rel=1e-4, abs=1e-3)


def test_the_blur_leads_from_the_narrow_star_to_the_measured_one() -> None:
    place = target(40)
    profile = centred_profile(Blobs(np.array([[12.0, 12.0, 1.0, 1.9]])).pixels((25, 25)))
    blur = blur_of(profile, place)
    canvas = Canvas.around(place, blur=blur)
    narrow = torch.fft.irfft2(blur.gaussian(canvas), s=canvas.shape)
    seen = torch.fft.fftshift(canvas.filter(narrow, blur.response(canvas))).numpy()
    middle = [n // 2 for n in canvas.shape]
    cut = seen[middle[0] - 10 : middle[0] + 11, middle[1] - 10 : middle[1] + 11]
    half = profile.shape[0] // 2
    assert np.abs(cut - profile[half - 10 : half + 11, half - 10 : half + 11]).max() < 2e-3 * profile.max()


def test_without_stars_the_refusal_names_the_remedy() -> None:
    random = np.random.default_rng(0)
    flat = random.standard_normal((96, 96)).astype(np.float32)
    ones = np.ones_like(flat)
    with pytest.raises(UnsupportedError, match="--psf"):
        profile_from_stars(Solution(flat, ones, ones, ones))


def test_stars_as_narrow_as_pixels_allow_are_left_alone() -> None:
    place = target(40)
    plain = Solution(*(np.ones((80, 80), np.float32) for _ in range(4)))
    narrow = Blobs(np.array([[8.0, 8.0, 1.0, 0.8]])).pixels((17, 17))

    def never(blur: Blur) -> Solution:
        raise AssertionError("nothing is to be solved")

    with pytest.warns(SciSRWarning, match="larger scale"):
        result, blur = deconvolved(plain, place, narrow, never)
    assert blur is None
    assert result.image is plain.image


def test_a_profile_that_peaks_at_its_edge_is_refused() -> None:
    wrong = np.zeros((9, 9))
    wrong[0, 4] = 1
    with pytest.raises(UsageError, match="edge"):
        centred_profile(wrong)
