"""The closed form for shifts: right operator, right solution, right errors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import solver_frames as sim
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.fusion.solvers import drizzle
from sciSR.fusion.solvers.alias import canvas
from sciSR.fusion.solvers.blend import Level, blend
from sciSR.fusion.solvers.shifted import shift_of
from sciSR.fusion.solvers.spectral import solve
from sciSR.fusion.solvers.spectrum import PowerSpectrum, power_spectrum_prior, quiet_power_prior, radii
from sciSR.fusion.solvers.wiener import noise_data, wiener
from sciSR.fusion.transforms import Affine

torch.set_num_threads(1)

CPU = torch.device("cpu")


def gaussian_scene(
    fine: int, factor: float, seed: int, width: float = 0.35
) -> tuple[np.ndarray, PowerSpectrum]:
    """A periodic draw from a stationary Gaussian field on the fine grid, and its power spectrum."""
    k = np.hypot(np.fft.fftfreq(fine)[:, None], np.fft.rfftfreq(fine)[None]) * factor
    radius = np.linspace(0, k.max(), 200)
    power = PowerSpectrum(radius, 400 * np.exp(-0.5 * (radius / width) ** 2) + 1e-3)
    white = np.fft.rfft2(np.random.default_rng(seed).standard_normal((fine, fine)))
    amplitude = np.sqrt(power(torch.from_numpy(k)).numpy())
    return np.fft.irfft2(white * amplitude, s=(fine, fine)), power


def seen_by(scene: np.ndarray, factor: int, shift: tuple[int, int]) -> np.ndarray:
    """A frame shifted by whole fine pixels: block means, with nothing but slices."""
    moved = np.roll(scene, shift, axis=(0, 1))
    n = len(scene) // factor
    return moved.reshape(n, factor, n, factor).mean(axis=(1, 3))


@pytest.mark.parametrize("factor", [2, 3])
def test_folding_the_aliases_is_the_mean_over_pixels(factor):
    """The operator of a shifted frame against plain block means, for shifts by whole fine pixels."""
    size = 24
    scene = np.random.default_rng(0).standard_normal((size * factor,) * 2)
    aliases = canvas((size, size), (Fraction(factor), Fraction(factor)), 0, CPU)
    spectrum = torch.fft.rfft2(torch.from_numpy(scene), norm="forward")
    layout = aliases.from_fine(spectrum)
    for shift in ((0, 0), (1, -2), (5, 3)):
        # Pixel 0 covers fine pixels -shift ... -shift + factor - 1.
        position = tuple(-d + (factor - 1) / 2 for d in shift)
        folded = aliases.fold(layout * aliases.response, position)
        frame = torch.fft.irfft2(folded, s=(size, size), norm="forward").numpy()
        # The fine Nyquist frequency has no sign, hence no shift: beyond it all is exact.
        error = np.abs(np.fft.fft2(frame - seen_by(scene, factor, shift)))
        if factor == 3:  # it falls on the native Nyquist frequency
            error[size // 2, :] = error[:, size // 2] = 0
        assert error.max() < 1e-9


@given(
    st.integers(8, 20),
    st.integers(8, 20),
    st.sampled_from([Fraction(2), Fraction(3), Fraction(3, 2), Fraction(5, 4)]),
)
def test_the_alias_layout_holds_each_fine_frequency(rows, columns, factor):
    aliases = canvas((rows, columns), (factor, factor), 2, CPU)
    assert aliases.native[0] >= rows + 4
    assert all((n * factor).denominator == 1 for n in aliases.native)
    image = torch.from_numpy(np.random.default_rng(0).standard_normal(aliases.fine))
    spectrum = torch.fft.rfft2(image, norm="forward")
    torch.testing.assert_close(aliases.to_fine(aliases.from_fine(spectrum)), spectrum)
    # Spreading is the adjoint of folding.
    layout = aliases.from_fine(spectrum)
    frame = torch.randn((aliases.native[0], aliases.native[1] // 2 + 1), dtype=torch.complex128)
    one = torch.vdot(frame.reshape(-1), aliases.fold(layout, (0.3, 1.7)).reshape(-1))
    spread = aliases.spread(frame, (0.3, 1.7)) * aliases.present
    other = torch.vdot(spread.reshape(-1), layout.reshape(-1))
    torch.testing.assert_close(one, other)


def test_the_wiener_solution_is_that_of_dense_algebra():
    random = np.random.default_rng(1)
    count, frames, n = 4, 7, 5
    h = np.exp(2j * np.pi * random.random((frames, count)))
    weights = random.uniform(0.5, 2, frames)
    response, power = random.uniform(0.1, 1, (count, n)), 10 ** random.uniform(-2, 2, (count, n))
    y = random.standard_normal((frames, n)) + 1j * random.standard_normal((frames, n))
    gram = torch.from_numpy(h.conj().T @ (weights[:, None] * h))
    data = torch.from_numpy(h.conj().T @ (weights[:, None] * y))
    found = wiener(data[None], gram, torch.from_numpy(response), torch.from_numpy(power))
    for k in range(n):
        operator = h * response[:, k]
        precision = operator.conj().T @ np.diag(weights) @ operator
        covariance = np.linalg.inv(precision + np.diag(1 / power[:, k]))
        mean = covariance @ operator.conj().T @ (weights * y[:, k])
        np.testing.assert_allclose(found.mean[0, :, k], mean)
        np.testing.assert_allclose(found.variance[:, k], np.diag(covariance).real)
        noise = covariance @ precision @ covariance
        np.testing.assert_allclose(found.noise[:, k], np.diag(noise).real)
        np.testing.assert_allclose(found.pull[:, k], covariance @ (mean / power[:, k]))


def test_probes_of_noise_have_the_frames_covariance():
    steps = torch.polar(torch.ones(9, 4, dtype=torch.float64), torch.rand(9, 4, dtype=torch.float64) * 6)
    gram = steps.conj().T @ steps
    draws = noise_data(gram, 200_000, seed=1)
    found = draws @ draws.conj().T / draws.shape[1]
    assert (found - gram).abs().max() < 0.02 * gram.abs().max()


@pytest.mark.parametrize("adaptive", [False, True])
def test_it_beats_drizzle_by_far(adaptive):
    scene = sim.sky(96, seed=1, stars=60)
    frames = sim.observe(scene, 96, sim.shifts(16, seed=2, reach=6), seed=3, bad=0.001)
    truth = scene.pixels((192, 192), scale=2)
    found = sim.psnr(solve(frames, sim.target(96), adaptive=adaptive).image, truth)
    peers = [
        sim.psnr(drizzle.solve(frames, sim.target(96), pixfrac=p, kernel=k).image, truth)
        for p, k in ((1.0, "square"), (0.6, "square"), (1.0, "lanczos3"))
    ]
    assert found > max(peers) + 6


@pytest.mark.parametrize("scale", [3, Fraction(3, 2), Fraction(4, 3)])
def test_other_scales_resolve_too(scale):
    scene = sim.sky(48, seed=1)
    frames = sim.observe(scene, 48, sim.shifts(24, seed=2), seed=3)
    shape = sim.target(48, scale).shape
    truth = scene.pixels(shape, scale=float(scale))
    found = sim.psnr(solve(frames, sim.target(48, scale)).image, truth)
    assert found > sim.psnr(drizzle.solve(frames, sim.target(48, scale), pixfrac=0.6).image, truth) + 6


def test_blending_keeps_the_stars_and_quiets_the_sky():
    scene = sim.sky(96, seed=1, stars=40)
    frames = sim.observe(scene, 96, sim.shifts(16, seed=2), seed=3)
    truth = scene.pixels((192, 192), scale=2)
    linear, blended = (solve(frames, sim.target(96), adaptive=a).image for a in (False, True))
    assert sim.psnr(blended, truth) > sim.psnr(linear, truth) - 0.5
    empty = truth < np.percentile(truth, 60)
    assert np.std((blended - truth)[empty]) < 0.75 * np.std((linear - truth)[empty])


def gaussian_frames(size: int, count: int, seed: int, variance: float = 4.0, factor: int = 4):
    """Frames of a Gaussian scene, shifted by quarters of a pixel, and the truth at x2."""
    scene, power = gaussian_scene(size * factor, factor, seed)
    random = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        steps = (0, 0) if k == 0 else tuple(random.integers(-8, 9, 2))
        values = seen_by(scene, factor, steps) + random.standard_normal((size, size)) * np.sqrt(variance)
        frames.append(sim.frame(values, variance, Affine.shift(steps[0] / factor, steps[1] / factor)))
    # These frames wrap round, unlike any detector's: their borders are not used below.
    half = factor // 2
    truth = scene.reshape(2 * size, half, 2 * size, half).mean(axis=(1, 3))
    # On the target's pixels, half**2 of the scene's: less power for each, and their box.
    box = np.sinc(power.radius / 2) / np.sinc(power.radius / factor)
    return frames, truth, PowerSpectrum(power.radius, power.power / half**2 * box**2)


@pytest.mark.parametrize("count", [4, 12])
@pytest.mark.parametrize(("told", "tolerance"), [(True, 0.03), (False, 0.04)])
def test_its_std_is_right_where_the_prior_is(count, told, tolerance):
    """A scene drawn from a stationary Gaussian field is what the theory is about: 68 % within one sigma.

    The prior is either told or estimated from the frames.
    """
    shares = []
    for seed in range(3):
        frames, truth, power = gaussian_frames(64, count, seed)
        found = solve(frames, sim.target(64), adaptive=False, power=power if told else None)
        inner = (slice(16, -16),) * 2
        shares.append(sim.within((found.image - truth)[inner], found.std[inner]))
    assert np.mean(shares) == pytest.approx(0.683, abs=tolerance)


def test_std_grows_where_fewer_frames_lie():
    many, few = (slice(20, -20), slice(20, 64)), (slice(20, -20), slice(92, 112))
    shares = []
    for seed in (1, 2, 3):
        frames, truth, _ = gaussian_frames(64, 8, seed)
        for f in frames[:7]:
            f.bad[:, 40:] = True
        found = solve(frames, sim.target(64), adaptive=False)
        assert np.median(found.coverage[few]) == 1
        assert np.median(found.std[few]) > 1.1 * np.median(found.std[many])
        shares.append([sim.within((found.image - truth)[part], found.std[part]) for part in (many, few)])
    assert np.mean(shares, axis=0) == pytest.approx(0.683, abs=0.1)


def test_missing_pieces_of_frames_do_little_harm():
    """What a frame lacks is predicted from the others: a strip lost in half of them costs noise, not rings."""
    scene = sim.sky(64, seed=5)
    truth = scene.pixels((128, 128), scale=2)
    frames = sim.observe(scene, 64, sim.shifts(16, seed=6), seed=7)
    whole = solve(frames, sim.target(64)).image
    for f in frames[1::2]:
        f.bad[20:30] = True
        f.values[20:30] = 0
    part = solve(frames, sim.target(64)).image
    assert sim.psnr(part, truth) > sim.psnr(whole, truth) - 3
    assert sim.psnr(part, truth) > sim.psnr(solve(frames, sim.target(64), refinements=0).image, truth)


def test_large_dithers_and_frames_of_another_shape_fall_into_place():
    scene = sim.sky(64, seed=5)
    truth = scene.pixels((128, 128), scale=2)
    moves = sim.shifts(16, seed=6, reach=25)
    frames = []
    for k, move in enumerate(moves):
        shape = (64, 64) if k % 2 == 0 else (80, 70)
        values = scene.pixels(shape, move) + np.random.default_rng(k).standard_normal(shape) * 13
        frames.append(sim.frame(values, 169.0, Affine.shift(*move)))
    found = solve(frames, sim.target(64))
    assert sim.psnr(found.image, truth, border=30) > 45
    assert sim.psnr(found.image, truth, border=4) > 38


def test_a_turned_frame_is_refused_by_name_unless_allowed():
    frames = sim.observe(sim.sky(64, seed=1), 64, sim.shifts(4, seed=2))
    turned = Affine.about((32, 32), np.radians(0.3), shift=(1, 1))
    frames.append(sim.frame(frames[0].values, 1.0, turned, name="night1_03.fits"))
    with pytest.raises(UsageError, match=r"night1_03.fits: .*0\.2\d px.*--method map"):
        solve(frames, sim.target(64))
    assert np.isfinite(solve(frames, sim.target(64), allow_rotation=True).image).all()
    little = Affine.about((32, 32), np.radians(0.05), shift=(1, 1))
    frames[-1] = sim.frame(frames[0].values, 1.0, little)
    assert np.isfinite(solve(frames, sim.target(64)).image).all()


def test_a_transforms_shift_is_that_at_the_centre():
    turned = Affine.about((31.5, 31.5), 0.01, shift=(1.25, -2.5))
    shift, departure = shift_of(turned, (64, 64))
    assert shift == pytest.approx((1.25, -2.5))
    assert departure == pytest.approx(0.01 * np.hypot(31.5, 31.5), rel=1e-3)


def test_frames_without_a_good_pixel_are_refused():
    frames = [sim.frame(np.zeros((16, 16)), 1.0, Affine.identity(), np.ones((16, 16), dtype=bool))]
    with pytest.raises(UsageError, match="no frame has a good pixel"):
        solve(frames, sim.target(16))


@pytest.mark.parametrize("settings", [{"strength": 0}, {"strength": -1}, {"refinements": -1}])
def test_settings_that_make_no_sense_are_refused(settings):
    frames = sim.observe(sim.sky(16, seed=1), 16, sim.shifts(2, seed=2))
    with pytest.raises(UsageError, match="strength must be positive"):
        solve(frames, sim.target(16), **settings)


def test_a_stronger_prior_is_smoother():
    frames, _, _ = gaussian_frames(48, 6, seed=1)
    soft, hard = (solve(frames, sim.target(48), strength=s, adaptive=False).image for s in (0.1, 10.0))
    assert np.abs(np.diff(hard)).mean() < 0.9 * np.abs(np.diff(soft)).mean()


@pytest.mark.parametrize("estimate", [power_spectrum_prior, quiet_power_prior])
def test_the_power_spectrum_of_a_noisy_scene_is_found(estimate):
    scene, power = gaussian_scene(256, 2.0, seed=4)
    noisy = scene + 2.0 * np.random.default_rng(5).standard_normal(scene.shape)
    found = estimate(torch.from_numpy(noisy), 4.0, (2.0, 2.0))
    radius = torch.linspace(0.1, 0.7, 20)
    assert (found(radius) / power(radius)).log().abs().max() < 0.6
    # Below the noise it goes on falling: here far too slowly for a Gaussian, but it does.
    assert found(torch.tensor([1.3]))[0] < found(torch.tensor([0.9]))[0]


def test_a_few_stars_do_not_count_as_quiet_sky():
    scene, power = gaussian_scene(256, 2.0, seed=4)
    stars = np.zeros_like(scene)
    stars[64::128, 64::128] = 1e5
    radius = torch.tensor([0.2, 0.4, 0.6])
    quiet = quiet_power_prior(torch.from_numpy(scene + stars), 1e-6, (2.0, 2.0))(radius) / power(radius)
    full = power_spectrum_prior(torch.from_numpy(scene + stars), 1e-6, (2.0, 2.0))(radius) / power(radius)
    assert ((quiet > 0.5) & (quiet < 2)).all()
    assert (full > 100).all()


def test_an_image_of_nothing_has_hardly_any_power():
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((64, 64)))
    found = power_spectrum_prior(noise, 1.0)
    assert found.power.max() < 1
    assert (found.power > 0).all()


def test_details_of_pure_noise_are_not_blended_in():
    random = np.random.default_rng(2)

    def draw():
        return torch.from_numpy(random.standard_normal((96, 96)))

    strong = Level(0 * draw(), 0 * draw(), 0 * draw())
    weak = Level(draw(), draw(), 0 * draw())
    local = torch.ones(96, 96, dtype=torch.float64)
    found = blend([strong, weak], local, (2.0, 2.0))
    assert found.share.mean() < 0.01
    weak.image[40:44, 40:44] += 30
    found = blend([strong, weak], local, (2.0, 2.0))
    assert found.share[41:43, 41:43].min() > 0.95
    torch.testing.assert_close(
        found.noise[41, 41], weak.probe.var(correction=0) * found.share[41, 41] ** 2, rtol=0.01, atol=0
    )


def test_radii_are_in_cycles_per_native_pixel():
    radius, counts = radii((8, 6), (2.0, 3.0), CPU)
    assert radius[4, 0] == pytest.approx(1.0)
    assert radius[0, 3] == pytest.approx(1.5)
    assert float(counts.expand_as(radius).sum()) == 48
