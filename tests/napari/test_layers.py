"""Layers lie where the grids say: nibabel and astropy are the judges; and a result lies on its input."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import sciSR
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.napari.layers import KEY, layers_of
from sciSR.napari.placement import Placement, matrix_of
from sciSR.napari.reader import get_reader, read_layers
from sciSR.napari.upscaling import upscaled_layers

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


def layer(data: Any, keywords: dict[str, Any]) -> SimpleNamespace:
    """A layer as napari would hold it: the attributes that its documentation names, with its defaults."""
    first = data[0] if keywords.get("multiscale") else data
    count = len(first.shape) - bool(keywords.get("rgb"))
    plain = {"scale": np.ones(count), "translate": np.zeros(count), "rotate": np.eye(count)}
    plain |= {"shear": np.zeros(count * (count - 1) // 2), "affine": np.eye(count + 1), "rgb": False}
    plain |= {"multiscale": False, "metadata": {}, "name": "layer"}
    return SimpleNamespace(data=data, **(plain | keywords))


def world(keywords: dict[str, Any], index: np.ndarray) -> np.ndarray:
    matrix = matrix_of(layer(np.empty((1,) * index.shape[-1]), keywords))
    return index @ matrix[:-1, :-1].T + matrix[:-1, -1]


def some_indices(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.column_stack([rng.integers(0, n, 20) for n in shape]).astype(float)


def oblique(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    values = rng.normal(100, 10, (12, 9, 7, 2)).astype(np.float32)
    turn, _ = np.linalg.qr(np.eye(3)[:, [2, 0, 1]] + 0.1 * rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.5, 0.8, 3.0])
    affine[:3, 3] = (-20, 30, 5)
    path = tmp_path / "oblique.nii.gz"
    written = nibabel.Nifti1Image(values, affine)
    written.header.set_xyzt_units("mm")
    nibabel.save(written, path)
    return path


def test_a_volumes_voxels_lie_where_nibabel_puts_them(tmp_path: Path) -> None:
    path = oblique(tmp_path)
    ((data, keywords, kind),) = read_layers(path)
    assert kind == "image"
    judge = nibabel.load(path)
    index = some_indices(data.shape)
    order = Placement.of(keywords["metadata"][KEY]).order
    voxel = np.empty_like(index)
    voxel[:, list(order)] = index
    ras = nibabel.affines.apply_affine(judge.affine, voxel[:, :3])
    got = world(keywords, index)
    np.testing.assert_allclose(got[:, 1:], (ras * [-1, -1, 1])[:, ::-1], atol=1e-4)
    np.testing.assert_array_equal(got[:, 0], index[:, 0])
    values = judge.get_fdata(dtype=np.float32)
    for at, where in zip(index.astype(int), voxel.astype(int), strict=True):
        assert data[tuple(at)] == values[tuple(where)]
    assert keywords["units"] == ("pixel", "mm", "mm", "mm")
    # Each axis of the data runs most along its own axis of the world: that is how napari slices.
    linear = np.abs(matrix_of(layer(data, keywords))[1:4, 1:4])
    linear /= np.linalg.norm(linear, axis=0)
    assert (linear.argmax(axis=0) == np.arange(3)).all()


def test_dicom_and_nifti_of_one_body_share_a_world() -> None:
    ((one, first, _),) = read_layers(SAMPLES / "phantom_dicom")
    grid = first["metadata"][KEY].grid
    index = some_indices(one.shape)
    order = Placement.of(first["metadata"][KEY]).order
    voxel = np.empty_like(index)
    voxel[:, list(order)] = index
    np.testing.assert_allclose(world(first, index)[:, ::-1], grid.toward("LPS+").world(voxel), atol=1e-9)


def test_a_single_slice_of_a_body_has_its_depth() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (1, 2, 3)
    image = Image(np.zeros((5, 6)), ("x", "y"), ("x", "y"), AffineGrid((5, 6), affine, world_axes="LPS+"))
    ((data, keywords, _),) = layers_of([image])
    assert data.shape == (1, 6, 5)
    np.testing.assert_allclose(world(keywords, np.array([[0.0, 2, 1]])), [[3, 8, 3]])
    assert keywords["scale"] == (4, 3, 2)


def test_plain_pixels_lie_as_their_grid_says() -> None:
    image = Image.from_array(np.zeros((3, 8, 10), np.float32))
    fine = image.replace(
        data=np.zeros((3, 16, 25), np.float32), grid=image.grid.refine([1, 2, Fraction(5, 2)])
    )
    ((data, keywords, _),) = layers_of([fine])
    index = some_indices(data.shape)
    np.testing.assert_allclose(world(keywords, index), fine.grid.world(index))
    assert keywords["scale"] == pytest.approx((1, 0.5, 0.4))


def sky(path: Path, shape: tuple[int, int], scale: int = 1) -> Path:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10, 40]
    wcs.wcs.cd = np.array([[-0.8, 0.6], [0.6, 0.8]]) * 1e-4 / scale
    wcs.wcs.crpix = (np.array([11.0, 8]) - 0.5) * scale + 0.5
    values = np.random.default_rng(2).normal(5, 1, shape).astype(np.float32)
    fits.writeto(path, values, wcs.to_header())
    return path


def test_an_input_and_its_result_on_disk_lie_on_each_other(tmp_path: Path) -> None:
    paths = [sky(tmp_path / "a.fits", (30, 40)), sky(tmp_path / "a_x2.fits", (60, 80), 2)]
    one, two = read_layers(paths[0]), read_layers(paths[1])
    assert one[0][1]["scale"] == two[0][1]["scale"] == (1, 1)
    images = [sciSR.read(path) for path in paths]
    (_, first, _), (_, second, _) = layers_of(images)
    assert first["scale"] == (1, 1)
    index = some_indices((60, 80))
    judges = [WCS(fits.getheader(path)) for path in paths]
    at = judges[0].world_to_pixel_values(*judges[1].pixel_to_world_values(*index[:, ::-1].T))
    np.testing.assert_allclose(world(second, index)[:, ::-1], np.column_stack(at), atol=1e-3)


def test_values_are_read_when_napari_asks(tmp_path: Path) -> None:
    path = sky(tmp_path / "sky.fits", (30, 40))
    ((data, keywords, _),) = read_layers(str(path))
    np.testing.assert_array_equal(data[3:9, 5:], fits.getdata(path)[3:9, 5:])
    low, high = keywords["contrast_limits"]
    assert low < 5 < high
    assert keywords["name"] == "sky.fits"


def test_large_planes_come_in_several_sizes() -> None:
    values = np.random.default_rng(3).normal(size=(5000, 600)).astype(np.float32)
    ((data, keywords, _),) = layers_of([Image.from_array(values)])
    assert keywords["multiscale"]
    assert [level.shape for level in data] == [
        (5000, 600),
        (2500, 300),
        (1250, 150),
        (625, 75),
        (313, 38),
        (157, 19),
    ]
    np.testing.assert_allclose(
        data[1][:10, :10], values[:20, :20].reshape(10, 2, 10, 2).mean(axis=(1, 3)), rtol=1e-5, atol=1e-6
    )


def test_labels_colours_and_errors_become_layers_of_their_kind() -> None:
    labels = Image.from_array(np.array([[0.0, 2], [3, 1]]), kind="labels")
    ((data, _, kind),) = layers_of([labels])
    assert kind == "labels"
    assert np.asarray(data).tolist() == [[0, 2], [3, 1]]
    assert np.asarray(data).dtype.kind == "i"

    grey = Image.from_array(np.ones((4, 5)), uncertainty=np.full((4, 5), 0.1))
    (_, first, _), (std, second, _) = layers_of([grey])
    assert not second["visible"]
    assert second["scale"] == first["scale"]
    assert np.asarray(std)[0, 0] == 0.1

    deep = Image(np.arange(60.0).reshape(3, 4, 5), ("rgb", "y", "x"), ("y", "x"))
    layers = layers_of([deep])
    assert [keywords["colormap"] for _, keywords, _ in layers] == ["red", "green", "blue"]
    np.testing.assert_array_equal(np.asarray(layers[1][0]), deep.data[1])
    ((data, keywords, _),) = layers_of([deep.replace(data=deep.data.astype(np.uint8))])
    assert keywords["rgb"]
    assert data.shape == (4, 5, 3)
    assert len(keywords["scale"]) == 2


@pytest.mark.parametrize("bad", [np.full((3, 3), np.nan), np.zeros((3, 3)), np.full((3, 3), 7)])
def test_the_contrast_is_always_two_numbers(bad: np.ndarray) -> None:
    ((_, keywords, _),) = layers_of([Image.from_array(bad)])
    low, high = keywords["contrast_limits"]
    assert np.isfinite([low, high]).all()
    assert low < high


def test_an_upscaled_volume_lies_on_the_volume(tmp_path: Path) -> None:
    ((data, keywords, _),) = read_layers(oblique(tmp_path))
    ((fine, result, _),) = upscaled_layers(layer(data, keywords), 2, "cubic")
    image = keywords["metadata"][KEY]
    expected = sciSR.upscale(image, 2, "cubic")
    np.testing.assert_array_equal(
        np.asarray(fine), np.transpose(np.asarray(expected), Placement.of(image).order)
    )
    judge = Placement.of(expected).matrix
    np.testing.assert_allclose(matrix_of(layer(fine, result)), judge, atol=1e-9)


def test_a_moved_layer_is_upscaled_where_it_was_moved() -> None:
    ((data, keywords, _),) = layers_of([Image.from_array(np.random.default_rng(4).normal(size=(8, 6)))])
    moved = layer(data, keywords | {"scale": np.array([3.0, 2]), "translate": np.array([10.0, 20])})
    ((fine, result, _),) = upscaled_layers(moved, 2, "linear")
    assert fine.shape == (16, 12)
    assert result["scale"] == (1.5, 1)
    # Edge to edge: half a pixel before the first one is the same place.
    np.testing.assert_allclose(world(result, np.array([[-0.5, -0.5]])), [[10 - 1.5, 20 - 1]])
    np.testing.assert_allclose(world(result, np.array([[15.5, 11.5]])), [[10 + 7.5 * 3, 20 + 5.5 * 2]])


def test_a_strangers_layer_is_upscaled_as_plain_pixels() -> None:
    values = np.random.default_rng(5).normal(size=(2, 8, 6)).astype(np.float32)
    ((fine, result, _),) = upscaled_layers(layer(values, {"name": "theirs"}), 2, "lanczos")
    assert fine.shape == (2, 16, 12)
    assert result["name"] == "theirs x2"
    cropped = layers_of([Image.from_array(values)])[0]
    ((fine, _, _),) = upscaled_layers(layer(np.asarray(cropped[0])[:, :4], cropped[1]), 2, "lanczos")
    assert fine.shape == (2, 8, 12)


def test_a_line_is_refused() -> None:
    with pytest.raises(sciSR.SciSRError, match="no plane of pixels"):
        upscaled_layers(layer(np.zeros(5), {}), 2, "cubic")


def test_the_reader_goes_by_content(tmp_path: Path) -> None:
    (tmp_path / "text.fits").write_text("no image")
    assert get_reader(str(tmp_path / "text.fits")) is None
    assert get_reader(str(tmp_path / "none.fits")) is None
    sample = str(SAMPLES / "star_field.fits")
    reader = get_reader(sample)
    assert reader is not None
    assert reader(sample)
    both = get_reader([sample, str(SAMPLES / "phantom.nii.gz")])
    assert both is not None
    assert get_reader([sample, str(tmp_path / "text.fits")]) is None


def test_a_patients_name_is_no_layers_name(tmp_path: Path) -> None:
    import pydicom

    folder = tmp_path / "Jane_phantom"
    folder.mkdir()
    for path in sorted((SAMPLES / "phantom_dicom").iterdir()):
        if path.suffix == ".dcm":
            data = pydicom.dcmread(path)
            data.PatientName, data.PatientIdentityRemoved = "Phantom^Jane", "NO"
            data.PatientID = "PHANTOM-0815"
            data.save_as(folder / path.name)
    for _, keywords, _ in read_layers(folder):
        assert "jane" not in keywords["name"].lower()
