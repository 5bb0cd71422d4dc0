"""OME-Zarr is read and written as NGFF says: judged by zarr alone, and by other software where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr_samples import COLOURS, OMERO, attributes, make, scale_of, translation_of

import sciSR
from sciSR.errors import GeometryError, SciSRError, UnreadableError, UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.plugins import adapter_for
from sciSR.testing import Subject, check_adapter
from sciSR.testing.killing import check_killing
from sciSR.workflow.run import upscale_file
from scisr_zarr.adapter import adapter

SAMPLES = [
    ("a.ome.zarr", "0.4", (40, 50), "yx", {}),
    ("b.ome.zarr", "0.5", (1, 2, 2, 21, 30), "tczyx", {"labels": ("nuclei",)}),
    ("c.zarr", "0.5", (2, 20, 30), "zyx", {"dtype": "f4"}),
    ("d.ome.zarr", "0.4", (2, 30, 50), "cyx", {"labels": ("nuclei",), "dtype": ">i2"}),
    ("l.zarr", "0.5", (40, 50), "yx", {"label": True, "dtype": "i4"}),
]


def judge(source: Path, target: Path, scale: Fraction) -> None:
    """Geometry by the numbers in the JSON: half-pixel rule, all levels over the same field; keys kept."""
    coarse, fine = (_ome(path) for path in (source, target))
    assert coarse["multiscales"][0]["axes"] == fine["multiscales"][0]["axes"]
    assert coarse["multiscales"][0]["name"] == fine["multiscales"][0]["name"]
    for key in ("omero", "image-label"):
        assert coarse.get(key) == fine.get(key)
    ndim = len(fine["multiscales"][0]["axes"])
    before, after = (_level(ome, 0) for ome in (coarse, fine))
    for axis in range(ndim):
        by = float(scale) if axis >= ndim - 2 else 1.0
        # A factor that gives no whole pixels was rounded to one that does.
        shapes = [zarr.open_array(str(path / "0"), mode="r").shape[axis] for path in (source, target)]
        by = shapes[1] / shapes[0] if axis >= ndim - 2 else by
        assert after[0][axis] == pytest.approx(before[0][axis] / by)
        edges = [t[axis] - s[axis] / 2 for s, t in (before, after)]
        assert edges[0] == pytest.approx(edges[1])


def _ome(path: Path) -> dict:
    found = dict(zarr.open_group(str(path), mode="r").attrs)
    return found.get("ome", found)


def _level(ome: dict, number: int) -> tuple[list[float], list[float]]:
    scale, move = ome["multiscales"][0]["datasets"][number]["coordinateTransformations"]
    return scale["scale"], move["translation"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample[0])
def test_conformance(sample, tmp_path):
    name, version, shape, axes, how = sample
    path = make(tmp_path / name, version, shape, axes, **how)
    stranger = tmp_path / "plain.zarr"
    zarr.create_array(store=str(stranger), shape=(4, 4), chunks=(4, 4), dtype="u1")
    (tmp_path / "work").mkdir()
    check_adapter(adapter, [path], tmp_path / "work", strangers=[stranger], judge=judge)


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    path = make(tmp_path / "a.ome.zarr", "0.5", (20, 30), "yx", "f4")
    check_killing(Subject(adapter, path), tmp_path / "work", "scisr_zarr.adapter:adapter", moments=4)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_read(version, tmp_path):
    path = make(tmp_path / "a.zarr", version, (2, 3, 40, 50), "czyx", "u2", labels=("nuclei",))
    assert adapter_for(path) is adapter
    image = sciSR.read(path)
    assert image.axes == ("c", "z", "y", "x")
    assert image.spatial == ("y", "x")
    np.testing.assert_array_equal(np.asarray(image), zarr.open_array(str(path / "0"), mode="r")[...])
    first = image.grid.world(np.zeros(4))
    np.testing.assert_allclose(first, translation_of(4))
    np.testing.assert_allclose(image.grid.world(np.ones(4)) - first, scale_of(4))
    assert image.grid.units == (None, "micrometer", "micrometer", "micrometer")
    label = sciSR.read(path / "labels" / "nuclei")
    assert label.kind == "labels"
    assert label.dtype == np.uint16


def test_common_transformations_come_last(tmp_path):
    common = [{"type": "scale", "scale": [2.0, 2.0]}, {"type": "translation", "translation": [1.0, 0.0]}]
    image = sciSR.read(make(tmp_path / "a.zarr", "0.5", (8, 9), "yx", common=common))
    np.testing.assert_allclose(image.grid.world(np.zeros(2)), 2 * np.array(translation_of(2)) + [1, 0])
    np.testing.assert_allclose(image.grid.scale, 2 * np.array(scale_of(2)))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_upscaled_with_everything(version, tmp_path):
    path = make(tmp_path / "a.ome.zarr", version, (2, 700, 650), "cyx", "f4", labels=("nuclei",))
    outcome = upscale_file(path, scale=2, model="cubic")
    assert outcome.output == tmp_path / "a_x2.ome.zarr"
    group = zarr.open_group(str(outcome.output), mode="r")
    ome = _ome(outcome.output)
    assert ome["omero"] == OMERO
    assert dict(group.attrs)["mine"] == 3
    levels = [group[d["path"]] for d in ome["multiscales"][0]["datasets"]]
    assert [level.shape for level in levels] == [(2, 1400, 1300), (2, 700, 650), (2, 350, 325)]
    fine = levels[0][...].astype(np.float64)
    np.testing.assert_allclose(levels[1][...], fine.reshape(2, 700, 2, 650, 2).mean((2, 4)), rtol=1e-6)
    # The mean over each original pixel is kept, so level 1 is the input again.
    np.testing.assert_allclose(levels[1][...], zarr.open_array(str(path / "0"), mode="r")[...], atol=1e-3)
    labels = zarr.open_array(str(outcome.output / "labels" / "nuclei" / "0"), mode="r")
    coarse = zarr.open_array(str(path / "labels" / "nuclei" / "0"), mode="r")[...]
    np.testing.assert_array_equal(labels[...], coarse.repeat(2, 0).repeat(2, 1))
    assert _ome(outcome.output / "labels" / "nuclei")["image-label"] == COLOURS
    again = sciSR.read(outcome.output)
    assert [step["step"] for step in again.provenance.steps] == ["read", "upscale"]
    assert again.provenance.steps[0]["input_sha256"] == outcome.input_sha256


def test_levels_cover_the_same_field(tmp_path):
    path = make(tmp_path / "a.ome.zarr", "0.5", (603, 1), "yx", "f4")
    out = upscale_file(path, scale="3,1", model="cubic").output
    ome = _ome(out)
    edges = []
    for number in range(len(ome["multiscales"][0]["datasets"])):
        scale, move = _level(ome, number)
        edges.append([t - s / 2 for s, t in zip(scale, move, strict=True)])
    assert len(edges) == 3
    np.testing.assert_allclose(edges, [edges[0]] * 3)


def test_uncertainty_and_bad_pixels_beside_it(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(10, 1, (30, 40)).astype(np.float32)
    mask = rng.random(data.shape) < 0.1
    image = Image.from_array(data, uncertainty=data / 10, mask=mask, unit="adu", domain="astronomy")
    out = tmp_path / "o.ome.zarr"
    sciSR.write(image, out, uncertainty=True)
    again = sciSR.read(out)
    np.testing.assert_array_equal(np.asarray(again), data)
    np.testing.assert_array_equal(again.uncertainty[:, :], data / 10)
    np.testing.assert_array_equal(again.mask[:, :], mask)
    assert (again.unit, again.domain) == ("adu", "astronomy")
    found = upscale_file(out, scale=2, model="cubic", uncertainty=True)
    assert found.uncertainty == (found.output / "uncertainty",)
    assert sciSR.read(found.output).uncertainty.shape == (60, 80)


def test_another_version_is_written_on_request(tmp_path):
    path = make(tmp_path / "a.ome.zarr", "0.5", (20, 30), "yx", "f4", labels=("nuclei",))
    out = upscale_file(path, tmp_path / "o.zarr", scale=2, model="cubic", options={"ngff": "0.4"}).output
    found = json.loads((out / ".zattrs").read_text())
    assert found["multiscales"][0]["version"] == "0.4"
    assert found["omero"] == OMERO
    assert found["mine"] == 3
    assert sciSR.read(out).metadata.labels == ("nuclei",)


def test_fits_becomes_ome_zarr(tmp_path):
    from astropy.io import fits

    header = fits.Header()
    header.update(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 9, "CRPIX2": 10, "BUNIT": "Jy/pixel"}
    )
    header.update({"CRVAL1": 10, "CRVAL2": 20, "CDELT1": -1e-4, "CDELT2": 1e-4})
    data = np.random.default_rng(0).normal(10, 1, (30, 40)).astype(np.float32)
    fits.PrimaryHDU(data, header).writeto(tmp_path / "m.fits")
    with pytest.warns(sciSR.errors.SciSRWarning, match="no coordinates on the sky"):
        out = upscale_file(tmp_path / "m.fits", tmp_path / "m.ome.zarr", scale=2, model="cubic").output
    image = sciSR.read(out)
    assert (image.unit, image.quantity, image.domain) == ("Jy/pixel", "total", "astronomy")
    np.testing.assert_allclose(image.grid.world(np.zeros(2)), [-0.25, -0.25])
    own = zarr.open_group(str(out), mode="r").attrs["sciSR"]
    assert fits.Header.fromstring(own["fits_wcs"], sep="\n")["CDELT2"] == pytest.approx(5e-5)


def test_a_volume_with_an_orientation_is_refused(tmp_path):
    from sciSR.grid import AffineGrid

    data = np.zeros((4, 5, 6), np.float32)
    image = Image(data, ("z", "y", "x"), ("y", "x"), AffineGrid(data.shape, np.diag([1, 2, 3, 1.0])))
    with pytest.raises(GeometryError, match="orientation"):
        sciSR.write(image, tmp_path / "o.zarr")
    assert list(tmp_path.iterdir()) == []


BROKEN = {
    "plate": ({"plate": {}}, UnsupportedError, "plate"),
    "collection": ({"bioformats2raw.layout": 3}, UnsupportedError, "/0"),
    "no image": ({"multiscales": []}, UnreadableError, "no multiscale"),
    "axes": ({"multiscales": [{"axes": ["y", "x"]}]}, UnreadableError, "names"),
    "path": (
        {"multiscales": [{"axes": None, "datasets": [{"path": "../../secret"}]}]},
        UnreadableError,
        "elsewhere",
    ),
    "array transformation": (
        {
            "multiscales": [
                {"axes": None, "datasets": [{"path": "0", "coordinateTransformations": [{"type": "affine"}]}]}
            ]
        },
        GeometryError,
        "affine",
    ),
    "too few numbers": (
        {
            "multiscales": [
                {
                    "axes": None,
                    "datasets": [
                        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1]}]}
                    ],
                }
            ]
        },
        GeometryError,
        "1 numbers for 2 axes",
    ),
    "no array": (
        {"multiscales": [{"axes": None, "datasets": [{"path": "7"}]}]},
        UnreadableError,
        "zarr",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_refused_by_name(what, tmp_path):
    ome, error, text = BROKEN[what]
    ome = json.loads(json.dumps(ome))
    for image in ome.get("multiscales", []):
        if "axes" in image and image["axes"] is None:
            image["axes"] = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    path = make(tmp_path / "a.ome.zarr", "0.5", (8, 9), "yx")
    attributes(path, "0.5", ome, {})
    with pytest.raises(error, match=text) as caught:
        sciSR.read(path)
    assert "a.ome.zarr" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["0.3", "0.6", "9"])
def test_other_versions_are_refused(version, tmp_path):
    path = make(tmp_path / "a.ome.zarr", "0.5", (8, 9), "yx")
    attributes(path, version, {"multiscales": _ome(path)["multiscales"]}, {})
    with pytest.raises(UnsupportedError, match=f"NGFF {version}"):
        sciSR.read(path)


def test_a_blosc_chunk_cut_short_is_refused(tmp_path):
    """Its decoder believes the size in its header and reads on behind the end."""
    path = make(tmp_path / "a.ome.zarr", "0.4", (64, 64), "yx")
    [chunk] = [p for p in (path / "0").iterdir() if not p.name.startswith(".")]
    whole = chunk.read_bytes()
    for keep in range(0, len(whole), 97):
        chunk.write_bytes(whole[:keep])
        with pytest.raises(UnreadableError, match="damaged"):
            np.asarray(sciSR.read(path))


def test_damage_in_our_own_chunks_is_found(tmp_path):
    """They carry a checksum: no bit can turn in silence."""
    path = make(tmp_path / "a.ome.zarr", "0.5", (40, 40), "yx", "f4")
    out = upscale_file(path, scale=2, model="cubic").output
    [chunk] = [p for p in (out / "0" / "c").rglob("*") if p.is_file()]
    whole = chunk.read_bytes()
    pixels = np.asarray(sciSR.read(out))
    for place in range(0, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 16
        chunk.write_bytes(damaged)
        try:
            found = np.asarray(sciSR.read(out))
        except SciSRError:
            continue
        np.testing.assert_array_equal(found, pixels)


WITHOUT = """
import sys
sys.modules["zarr"] = None
from pathlib import Path
from sciSR.plugins import adapters, load
from sciSR.errors import SciSRError
import sciSR
assert all(plugin.error is None for plugin in load("scisr.adapters"))
path = Path(sys.argv[1])
assert adapters()["zarr"].sniff(path)
for what in (lambda: sciSR.read(path), lambda: sciSR.write(sciSR.Image.from_array([[1.0]]), path.parent / "o.zarr")):
    try:
        what()
    except SciSRError as error:
        print(error)
"""


def test_without_zarr_one_line_says_what_is_missing(tmp_path):
    path = make(tmp_path / "a.ome.zarr", "0.5", (8, 9), "yx")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(path)], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("pip install 'sciSR[zarr]'" in line for line in lines)


def test_several_images_are_refused(tmp_path):
    images = [Image.from_array(np.zeros((4, 4), np.float32))] * 2
    with pytest.raises(UsageError, match="holds one"):
        sciSR.write(images, tmp_path / "o.zarr")


def other_models():
    """ome-zarr-models; its models of 0.4 are left unfinished where pydantic is newer than it knows."""
    models = pytest.importorskip("ome_zarr_models")
    import pydantic_zarr.v2
    from ome_zarr_models import v04

    for model in (v04.Labels, v04.Image, v04.ImageLabel):
        own = vars(sys.modules[model.__module__])
        model.model_rebuild(force=True, _types_namespace={**own, **vars(pydantic_zarr.v2)})
    return models


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_valid_for_other_software(version, tmp_path):
    models = other_models()
    path = make(tmp_path / "a.ome.zarr", version, (2, 600, 50), "cyx", "f4", labels=("nuclei",))
    out = upscale_file(path, scale=2, model="cubic").output
    models.open_ome_zarr(zarr.open_group(str(out), mode="r"))
    models.open_ome_zarr(zarr.open_group(str(out / "labels" / "nuclei"), mode="r"))
