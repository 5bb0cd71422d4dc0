"""Planes of image files."""

from __future__ import annotations

import numpy as np
import pytest
from sample_files import smooth, write_sky, write_volume

from sciSR.errors import SciSRError
from sciSR.image import Image
from sciSR.training.planes import FileCache, OpenPlanes, PlaneGroup, open_planes


class Recorded:
    """A lazy array that notes how many values were asked for."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.read = values, values.shape, values.dtype, 0

    def __getitem__(self, index):
        block = self.values[index]
        self.read += block.size
        return block


def test_thick_slices_are_cut_across_the_coarsest_axis(tmp_path):
    path = write_volume(tmp_path / "v.nii", (40, 48, 5), (1, 1, 4))
    planes = open_planes(path, "mr")
    assert [(group.shape, group.count) for group in planes.groups] == [((40, 48), 5)]
    assert np.array_equal(planes.groups[0].read(3), smooth((40, 48, 5), 0)[:, :, 3])


def test_a_nearly_isotropic_volume_is_cut_along_all_axes(tmp_path):
    path = write_volume(tmp_path / "v.nii", (20, 24, 28), (1, 1, 1.1))
    planes = open_planes(path, "mr")
    assert sorted((group.shape, group.count) for group in planes.groups) == [
        ((20, 24), 28),
        ((20, 28), 24),
        ((24, 28), 20),
    ]
    values = smooth((20, 24, 28), 0)
    sagittal = next(group for group in planes.groups if group.count == 20)
    assert np.array_equal(sagittal.read(7), values[7])


def test_volumes_of_a_time_series_are_all_reached(tmp_path):
    values = smooth((20, 24, 3, 4), 1)
    planes = open_planes(write_volume(tmp_path / "t.nii", zooms=(1, 1, 4), values=values), "mr")
    (group,) = planes.groups
    assert group.count == 12
    seen = {group.read(number).tobytes() for number in range(12)}
    assert seen == {values[:, :, z, t].astype(np.float64).tobytes() for z in range(3) for t in range(4)}


def test_a_piece_is_read_and_nothing_else():
    data = Recorded(smooth((6, 200, 300), 2))
    image = Image(data=data, axes=("z", "y", "x"), spatial=("y", "x"))
    piece = PlaneGroup(image, (1, 2)).read(4, slice(10, 30), slice(250, 290))
    assert np.array_equal(piece, data.values[4, 10:30, 250:290])
    assert data.read == 20 * 40


def test_bad_pixels_are_nan():
    values = smooth((20, 30), 3)
    values[2, 3] = np.inf
    mask = np.zeros((20, 30), bool)
    mask[5, 6] = True
    piece = PlaneGroup(Image.from_array(values, mask=mask), (0, 1)).read(0)
    assert np.argwhere(np.isnan(piece)).tolist() == [[2, 3], [5, 6]]


@pytest.mark.parametrize("shape", [(5, 64, 64), (1, 900, 1000), (300, 40, 40), (40, 500, 500)])
def test_a_sample_is_bounded_and_spread(shape):
    data = Recorded(np.arange(np.prod(shape), dtype=np.float64).reshape(shape))
    image = Image(data=data, axes=("z", "y", "x"), spatial=("y", "x"))
    sample = np.concatenate(
        [piece.ravel() for piece in PlaneGroup(image, (1, 2)).spread(100_000, 16, whole=False)]
    )
    assert data.read == sample.size <= 1.3 * 100_000
    assert sample.mean() == pytest.approx(data.values.mean(), rel=0.1)
    assert sample.std() == pytest.approx(data.values.std(), rel=0.25)


def test_every_plane_with_room_is_equally_likely():
    small = PlaneGroup(Image.from_array(np.zeros((9, 8, 40))), (1, 2))
    large = [PlaneGroup(Image.from_array(np.zeros((n, 40, 40))), (1, 2)) for n in (1, 3)]
    planes, generator = OpenPlanes([large[0], small, large[1]]), np.random.default_rng(0)
    picks = [planes.pick(generator, 20) for _ in range(4000)]
    counts = {pick: picks.count(pick) for pick in set(picks)}
    assert sorted(counts) == [(0, 0), (2, 0), (2, 1), (2, 2)]
    assert all(count == pytest.approx(1000, rel=0.15) for count in counts.values())
    assert planes.pick(generator, 50) is None


def test_only_a_few_files_stay_open(tmp_path):
    paths = [write_sky(tmp_path / f"{k}.fits", seed=k) for k in range(5)]
    cache = FileCache("astronomy", limit=2)
    for path in paths:
        cache.get(path)
        assert len(cache) <= 2
    last = cache.get(paths[4])
    assert cache.get(paths[4]) is last
    cache.get(paths[0])
    cache.get(paths[1])
    assert cache.get(paths[4]) is not last


def test_a_label_map_is_refused(tmp_path):
    import nibabel

    image = nibabel.Nifti1Image(np.ones((20, 20, 3), np.int16), np.eye(4))
    image.header.set_intent("label")
    nibabel.save(image, tmp_path / "labels.nii")
    with pytest.raises(SciSRError, match=r"labels\.nii.*no intensity image"):
        open_planes(tmp_path / "labels.nii", "mr")
