"""Refinement of transforms against an estimate of the scene."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import registration_scene as scene

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.registration import Registered, refine, register
from sciSR.fusion.transforms import Affine, Chain

SHAPE = (96, 96)
CENTRE = (47.5, 47.5)
TARGET = Target(SHAPE, (Fraction(2), Fraction(2)))


def dithers(random: np.random.Generator, number: int) -> list[Affine]:
    rest = [
        Affine.about(CENTRE, random.uniform(-0.005, 0.005), 1.0, tuple(random.uniform(-4, 4, 2)))
        for _ in range(number - 1)
    ]
    return [Affine.identity(), *rest]


def fine(field: np.ndarray) -> np.ndarray:
    """The scene integrated over fine pixels, in the level of a native pixel."""
    twice = np.column_stack([TARGET.fine(field[:, :2]), 4 * field[:, 2]])
    return scene.expose(twice, Affine.identity(), TARGET.shape, fwhm=2 * 1.6).astype(np.float32)


def frames(
    field: np.ndarray, truth: list[Affine], random: np.random.Generator, **change: object
) -> list[PreparedFrame]:
    out = []
    for k, transform in enumerate(truth):
        light = scene.expose(field, transform, SHAPE)
        values = scene.noisy(light, random) - np.float32(scene.SKY)
        variance = (light + scene.SKY + scene.READ_NOISE**2).astype(np.float32)
        bad = np.zeros(SHAPE, dtype=bool)
        out.append(PreparedFrame(f"{k}", values, variance, bad, Affine.identity(), **change))
    return out


def known(
    truth: list[Affine], random: np.random.Generator, off: float, model: str = "euclidean"
) -> list[Registered]:
    """The truth, displaced at random; with an honest covariance."""
    size = {"shift": 2, "euclidean": 3}[model]
    sigma = np.array([off, off, off / 30])[:size]
    out = [Registered(Affine.identity(), np.zeros((2, 2)), "identity", "reference", SHAPE)]
    for transform in truth[1:]:
        step = random.normal(0, sigma)
        turn = step[2] if size > 2 else 0.0
        moved = transform.then(Affine.about(CENTRE, turn, 1.0, (step[0], step[1])))
        out.append(Registered(moved, np.diag(np.square(sigma)), model, "stars", SHAPE))
    return out


def errors(found: list[Registered], truth: list[Affine]) -> np.ndarray:
    return np.array([scene.error(f.transform, t, SHAPE) for f, t in zip(found[1:], truth[1:], strict=True)])


def test_displaced_frames_come_back_to_thousandths_of_a_pixel():
    random = np.random.default_rng(1)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 6)
    begin = known(truth, random, 0.05)
    seen = frames(field, truth, random)
    found = refine(seen, fine(field), TARGET, begin)
    found = refine(seen, fine(field), TARGET, found)
    assert errors(begin, truth).mean() > 0.03
    assert errors(found, truth).max() < 0.01


def test_the_claimed_covariance_is_the_scatter():
    random = np.random.default_rng(2)
    field, truth = scene.stars(random, 60, SHAPE, bright=4.0), dithers(random, 4)
    image, pulls = fine(field), []
    for _ in range(12):
        found = refine(frames(field, truth, random), image, TARGET, known(truth, random, 0.03))
        for place, right in zip(found[1:], truth[1:], strict=True):
            middle = right.inverse(np.array(CENTRE))
            off = place.transform(middle) - np.array(CENTRE)
            pulls.append(off / np.sqrt(np.diag(place.position_covariance(middle))))
    # The image is free of noise here, while a frame's share in it is allowed for: errors are claimed a bit large.
    assert 0.5 < np.std(pulls) < 1.3


def test_the_reference_stays_the_identity_wherever_the_image_lies():
    random = np.random.default_rng(3)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 5)
    moved = field + np.array([0.15, -0.1, 0])
    begin = [
        f if f.how == "reference" else f.replace(transform=Affine.shift(-0.15, 0.1).then(f.transform))
        for f in known(truth, random, 0.02)
    ]
    found = refine(frames(field, truth, random), fine(moved), TARGET, begin)
    assert np.array_equal(found[0].transform.matrix, np.eye(2, 3))
    assert errors(found, truth).max() < 0.03


def test_hot_pixels_rays_and_variable_stars_do_not_pull():
    random = np.random.default_rng(4)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 5)
    begin = known(truth, random, 0.03)
    image = fine(field)
    varied = field.copy()
    varied[::3, 2] *= random.uniform(0.5, 2, len(field[::3]))
    hot = scene.hot_pixels(SHAPE, random)
    seen = [
        replace(f, values=scene.with_defects(f.values, hot, random)) for f in frames(varied, truth, random)
    ]
    found = refine(seen, image, TARGET, begin)
    assert errors(found, truth).max() < 0.02


def test_an_estimate_with_blunted_stars_is_not_trusted_beyond_its_worth():
    """A prior that takes a quarter of the bright stars' peaks must not bend the transforms."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(5)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 6)
    begin = known(truth, random, 0.02)
    found = refine(frames(field, truth, random), gaussian_filter(fine(field), 0.8), TARGET, begin)
    assert errors(found, truth).mean() < 0.012


def test_noise_frames_keep_their_place_and_say_so():
    random = np.random.default_rng(6)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 4)
    seen = frames(field, truth, random)
    seen[2] = replace(seen[2], bad=np.ones(SHAPE, dtype=bool))
    begin = known(truth, random, 0.02)
    found = refine(seen, fine(field), TARGET, begin)
    assert found[2].transform is begin[2].transform
    assert found[2].note


def test_frames_that_share_the_references_rotation_go_on_sharing_it():
    random = np.random.default_rng(7)
    field = scene.stars(random, 60, SHAPE)
    truth = [Affine.identity(), Affine.shift(1.3, 2.4), Affine.shift(-2.2, 0.7)]
    found = refine(frames(field, truth, random), fine(field), TARGET, known(truth, random, 0.02, "shift"))
    for place in found:
        np.testing.assert_array_equal(place.transform.linear, np.eye(2))


def test_chains_are_refined_like_the_affine_maps_they_are_made_of():
    random = np.random.default_rng(8)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 4)
    begin = known(truth, random, 0.02)
    chained = [
        f
        if f.how == "reference"
        else f.replace(transform=Chain((Affine.identity(), f.transform, Affine.identity())))
        for f in begin
    ]
    seen = frames(field, truth, random)
    plain, found = (refine(seen, fine(field), TARGET, b) for b in (begin, chained))
    nodes = np.array([[5.0, 5.0], [90.0, 40.0]])
    for one, other in zip(plain[1:], found[1:], strict=True):
        np.testing.assert_allclose(one.transform(nodes), other.transform(nodes), atol=2e-4)


@pytest.mark.parametrize("factor", [1e-9, 1e5])
def test_the_unit_of_flux_does_not_matter(factor):
    random = np.random.default_rng(9)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 3)
    begin = known(truth, random, 0.02)
    seen = frames(field, truth, random)
    scaled = [replace(f, values=f.values * factor, variance=f.variance * factor**2) for f in seen]
    plain = refine(seen, fine(field), TARGET, begin)
    other = refine(scaled, fine(field) * np.float32(factor), TARGET, begin)
    for one, two in zip(plain[1:], other[1:], strict=True):
        np.testing.assert_allclose(one.transform.matrix, two.transform.matrix, atol=1e-4)


def test_register_and_refine_together_reach_the_photon_limit():
    random = np.random.default_rng(10)
    field, truth = scene.stars(random, 60, SHAPE), dithers(random, 5)
    seen = frames(field, truth, random)
    first = register(scene.sequence([f.values for f in seen]), reference=0)
    assert not first.left_out
    found = refine(seen, fine(field), TARGET, list(first.frames))
    assert errors(found, truth).mean() < 0.01


def test_what_does_not_fit_together_is_refused():
    random = np.random.default_rng(11)
    field, truth = scene.stars(random, 30, SHAPE), dithers(random, 3)
    seen, begin = frames(field, truth, random), known(truth, random, 0.02)
    with pytest.raises(UsageError, match="3 frames"):
        refine(seen, fine(field), TARGET, begin[:2])
    with pytest.raises(UsageError, match="shape"):
        refine(seen, fine(field)[:-1], TARGET, begin)
