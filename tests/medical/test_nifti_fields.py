"""Everything in the header that is not geometry, and the voxels' type and scaling."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nifti_samples import json_extension, make, patch, raw_header, read, upscale_nearest, voxels

from sciSR.errors import SciSRWarning, UnreadableError, UnsupportedError, UsageError
from sciSR.testing import Subject, refine_nearest, write_images
from scisr_medical.nifti_adapter import adapter

ALL_TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def planes(path: Path, scale: int = 2) -> np.ndarray:
    """Every `scale`-th voxel in plane: the input again, after nearest neighbour."""
    return nib.load(path).get_fdata()[::scale, ::scale]


@pytest.mark.parametrize("dtype", ALL_TYPES)
@pytest.mark.parametrize("order", "<>")
def test_values_of_every_type_and_byte_order_are_those_of_nibabel(
    tmp_path: Path, dtype: str, order: str
) -> None:
    source = make(tmp_path / "in.nii", dtype=dtype, order=order)
    image = read(source)
    assert image.dtype == np.dtype(dtype)
    assert np.array_equal(np.asarray(image), np.asanyarray(nib.load(source).dataobj))
    upscale_nearest(source, tmp_path / "out.nii")
    assert nib.load(tmp_path / "out.nii").get_data_dtype() == np.dtype(f"{order}f4")
    assert np.allclose(planes(tmp_path / "out.nii"), nib.load(source).get_fdata(), rtol=1e-7)


@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_dtype_keep_stores_the_inputs_own_type(tmp_path: Path, dtype: str) -> None:
    source = make(tmp_path / "in.nii", dtype=dtype)
    upscale_nearest(source, tmp_path / "out.nii", dtype="keep")
    assert nib.load(tmp_path / "out.nii").get_data_dtype() == np.dtype(dtype)
    assert np.allclose(planes(tmp_path / "out.nii"), nib.load(source).get_fdata(), rtol=1e-6)


@pytest.mark.parametrize(("slope", "inter"), [(2.0, 0.0), (-2.0, 1000.0), (0.015, -502.0), (1.0, 7.0)])
def test_scaling_is_decoded_and_float_output_has_none(tmp_path: Path, slope: float, inter: float) -> None:
    source = make(tmp_path / "in.nii", dtype=np.int16, fields={"scl_slope": slope, "scl_inter": inter})
    expected = nib.load(source).get_fdata()
    assert np.array_equal(np.asarray(read(source)), expected)
    upscale_nearest(source, tmp_path / "out.nii")
    after = raw_header(tmp_path / "out.nii")
    assert (after["scl_slope"], after["scl_inter"], after["datatype"], after["bitpix"]) == (1, 0, 16, 32)
    assert np.allclose(planes(tmp_path / "out.nii"), expected, rtol=1e-6)
    upscale_nearest(source, tmp_path / "keep.nii", dtype="keep")
    kept = raw_header(tmp_path / "keep.nii")
    assert (kept["scl_slope"], kept["scl_inter"]) == (np.float32(slope), np.float32(inter))
    assert np.allclose(planes(tmp_path / "keep.nii"), expected, atol=abs(slope) / 2 + 1e-3)


@pytest.mark.parametrize(("slope", "inter"), [(0.0, 5.0), (np.nan, 0.0), (np.nan, np.nan), (np.inf, 3.0)])
def test_slope_zero_or_not_finite_means_no_scaling(tmp_path: Path, slope: float, inter: float) -> None:
    source = make(tmp_path / "in.nii", dtype=np.int16, fields={"scl_slope": slope, "scl_inter": inter})
    assert np.array_equal(np.asarray(read(source)), voxels((7, 6, 5), np.int16))


def test_a_slope_without_a_finite_intercept_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", dtype=np.int16, fields={"scl_slope": 2, "scl_inter": np.nan})
    with pytest.raises(UnreadableError, match="scl_inter is nan"):
        adapter.read(source)


@given(
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8"]),
    slope=st.sampled_from([1.0, 0.5, -2.0, 0.015]),
    inter=st.sampled_from([0.0, -502.0, 1e4]),
    values=st.lists(st.floats(-1e20, 1e20), min_size=4, max_size=4),
)
def test_keep_rounds_to_the_nearest_step_and_clips_to_the_range(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, slope: float, inter: float, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("keep")
    source = make(folder / "in.nii", (2, 2), dtype=dtype, fields={"scl_slope": slope, "scl_inter": inter})
    image = read(source)
    wanted = np.array(values).reshape(2, 2)
    result = image.replace(data=wanted)
    target = write_images(Subject(adapter, source, write={"dtype": "keep"}), [result], folder / "out.nii")
    limits = np.iinfo(dtype)
    slope, inter = float(np.float32(slope)), float(np.float32(inter))
    exact = [round((v - inter) / slope) for v in values]
    expected = [min(max(n, int(limits.min)), int(limits.max)) for n in exact]
    stored = np.asanyarray(nib.load(target).dataobj.get_unscaled()).ravel().tolist()
    assert stored == expected


def test_nan_in_a_kept_integer_type_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", dtype=np.int16)
    data = np.full((7, 6, 5), np.nan, np.float32)
    subject = Subject(adapter, source, write={"dtype": "keep"})
    with pytest.raises(UsageError, match=r"NaN can't be stored as int16; use --dtype float32"):
        write_images(subject, [read(source).replace(data=data)], tmp_path / "out.nii")
    assert not (tmp_path / "out.nii").exists()


@pytest.mark.parametrize("how", ["intent", "option"])
def test_labels_keep_their_type_and_meet_nearest_only(tmp_path: Path, how: str) -> None:
    fields = {"intent_code": 1002} if how == "intent" else {}
    source = make(tmp_path / "in.nii", dtype=np.uint8, fields=fields)
    options = {} if how == "intent" else {"labels": True}
    image = read(source, **options)
    assert image.kind == "labels"
    upscale_nearest(source, tmp_path / "out.nii", read=options)
    assert np.array_equal(planes(tmp_path / "out.nii"), nib.load(source).get_fdata())
    after = raw_header(tmp_path / "out.nii")
    assert (after["datatype"], after["intent_code"]) == (2, 1002)


def test_complex_is_kept_or_made_real_on_request(tmp_path: Path) -> None:
    data = (voxels((5, 4, 3)) - 60 + 1j * voxels((5, 4, 3), seed=8)).astype(np.complex64)
    source = make(tmp_path / "in.nii", data=data, fields={"cal_max": 9})
    parts = {"both": data, "magnitude": np.abs(data), "real": data.real, "imaginary": data.imag}
    for part, expected in parts.items():
        assert np.array_equal(np.asarray(read(source, complex=part)), expected)
    upscale_nearest(source, tmp_path / "out.nii", read={"complex": "magnitude"}, dtype="keep")
    after = raw_header(tmp_path / "out.nii")
    assert (after["datatype"], after["cal_max"]) == (16, 0)
    assert np.array_equal(planes(tmp_path / "out.nii"), np.abs(data).astype(np.float32))


def test_colour_binary_and_vectors_are_refused_by_name(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(UnsupportedError, match="RGB24 colour"):
        adapter.read(make(tmp_path / "rgb.nii", data=rgb))
    binary = make(tmp_path / "binary.nii", dtype=np.uint8, fields={"datatype": 1, "bitpix": 1})
    with pytest.raises(UnsupportedError, match="1-bit"):
        adapter.read(binary)
    warp = make(tmp_path / "warp.nii", (4, 4, 3, 1, 3), fields={"intent_code": 1007})
    with pytest.raises(UnsupportedError, match="a vector per voxel"):
        adapter.read(warp)
    tensor = make(tmp_path / "tensor.nii", (4, 4, 3, 6), fields={"intent_code": 1005})
    with pytest.raises(UnsupportedError, match="a symmetric matrix per voxel"):
        adapter.read(tensor)


def test_a_trailing_axis_of_one_is_no_vector(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", (4, 5, 3, 2, 1))
    result = upscale_nearest(source, tmp_path / "out.nii")
    assert nib.load(tmp_path / "out.nii").shape == result.shape == (8, 10, 3, 2, 1)


SLICES = {"dim_info": 57, "slice_start": 0, "slice_end": 4, "slice_code": 3, "slice_duration": 0.1}


def test_slice_timing_is_kept_in_plane_and_zeroed_where_slices_are_refined(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", fields=SLICES)
    upscale_nearest(source, tmp_path / "plane.nii")
    plane = raw_header(tmp_path / "plane.nii")
    assert all(plane[name] == raw_header(source)[name] for name in SLICES)
    upscale_nearest(source, tmp_path / "through.nii", read={"axes": "y,z"})
    through = raw_header(tmp_path / "through.nii")
    assert through["dim_info"] == 57
    assert all(through[name] == 0 for name in SLICES if name != "dim_info")


def test_all_other_fields_are_untouched(tmp_path: Path) -> None:
    kept = {
        "cal_min": 3, "cal_max": 500, "toffset": 1.5, "intent_code": 5, "intent_p1": 2, "intent_name": b"zscore",
        "aux_file": b"notes.txt", "db_name": b"db", "pixdim": {4: 2.2}, "xyzt_units": 10, "scl_slope": 2,
    }  # fmt: skip
    source = make(tmp_path / "in.nii", (5, 6, 4, 3), dtype=np.int16, fields=kept)
    upscale_nearest(source, tmp_path / "out.nii")
    before, after = raw_header(source), raw_header(tmp_path / "out.nii")
    changed = {name for name in before.dtype.names if before[name].tobytes() != after[name].tobytes()}
    geometry = {"dim", "pixdim", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"}
    assert changed == geometry | {"datatype", "bitpix", "vox_offset", "descrip", "scl_slope"}
    assert after["pixdim"][4] == np.float32(2.2)


@pytest.mark.parametrize("old", [b"", b"TE=5.8;phase=1", b"x" * 70, b"x" * 80])
def test_descrip_gains_a_short_record_and_loses_nothing(tmp_path: Path, old: bytes) -> None:
    source = make(tmp_path / "in.nii", fields={"descrip": old})
    upscale_nearest(source, tmp_path / "out.nii")
    new = bytes(raw_header(tmp_path / "out.nii")["descrip"])
    assert new.startswith(old)
    if len(old) < 50:
        assert b"sciSR upscale x2" in new


def test_foreign_extensions_are_kept_and_the_full_record_added(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii.gz", extensions=((6, b"a comment"), (38, b"matlab"), (44, b"bids " * 9)))
    result = upscale_nearest(source, tmp_path / "out.nii.gz")
    found = nib.load(tmp_path / "out.nii.gz").header.extensions
    assert [e.get_code() for e in found] == [6, 38, 44, 6]
    assert [e.content.rstrip(b"\0") for e in found[:3]] == [b"a comment", b"matlab", b"bids " * 9]
    assert json_extension(tmp_path / "out.nii.gz") == list(result.provenance.steps)


def test_the_record_grows_from_step_to_step(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    upscale_nearest(source, tmp_path / "x2.nii")
    assert read(tmp_path / "x2.nii").provenance.steps == tuple(json_extension(tmp_path / "x2.nii"))
    upscale_nearest(tmp_path / "x2.nii", tmp_path / "x3.nii", 3)
    assert [step["scale"] for step in json_extension(tmp_path / "x3.nii")] == ["2", "3"]
    assert len(nib.load(tmp_path / "x3.nii").header.extensions) == 1


@pytest.mark.parametrize("steps", [b'[{"psnr":NaN}]', b"[[[", b"7", b'["ab"]'])
def test_a_record_that_can_not_be_ours_is_a_comment_like_any_other(tmp_path: Path, steps: bytes) -> None:
    source = make(tmp_path / "in.nii", extensions=((6, b'{"sciSR":' + steps + b"}"),))
    assert read(source).provenance.steps == ()
    upscale_nearest(source, tmp_path / "out.nii")
    kept, own = nib.load(tmp_path / "out.nii").header.extensions
    assert kept.content.rstrip(b"\0") == b'{"sciSR":' + steps + b"}"
    assert json.loads(own.content.rstrip(b"\0"))["sciSR"][0]["step"] == "upscale"


def test_a_sidecar_that_vanishes_meanwhile_is_written_all_the_same(tmp_path: Path) -> None:
    source = make(tmp_path / "dwi.nii")
    (tmp_path / "dwi.bval").write_text("0 1000")
    image = refine_nearest(read(source), 2)
    with adapter.open_writer(tmp_path / "out.nii", [image]) as writer:
        (tmp_path / "dwi.bval").unlink()
        writer.commit([image])
    assert (tmp_path / "out.bval").read_text() == "0 1000"


def test_stale_geometry_in_extensions_is_dropped_or_warned_about(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", extensions=((4, b"<AFNI ORIGIN DELTA>"), (2, b"dicom")))
    image = refine_nearest(read(source), 2)
    with pytest.warns(SciSRWarning) as caught, adapter.open_writer(tmp_path / "out.nii", [image]) as writer:
        writer.commit([image])
    texts = sorted(str(w.message) for w in caught)
    assert "AFNI header extension is dropped" in texts[0]
    assert "DICOM header extension is kept" in texts[1]
    assert [e.get_code() for e in nib.load(tmp_path / "out.nii").header.extensions] == [2, 6]


def test_sidecars_travel_along(tmp_path: Path) -> None:
    source = make(tmp_path / "dwi.nii.gz", (5, 6, 4, 3))
    (tmp_path / "dwi.bval").write_bytes(b"0 1000\t 1000 \r\n")
    (tmp_path / "dwi.bvec").write_bytes(b"0 1 0\n0 0 1\n0 0 0")
    (tmp_path / "dwi.json").write_text('{"EchoTime": 0.0899, "SliceTiming": [0, 0.5], "Name": "Gänge"}')
    (tmp_path / "other.json").write_text("{}")
    out = tmp_path / "out"
    out.mkdir()
    upscale_nearest(source, out / "dwi_x2.nii.gz")
    assert sorted(p.name for p in out.iterdir()) == [
        f"dwi_x2.{s}" for s in ("bval", "bvec", "json", "nii.gz")
    ]
    for ending in (".bval", ".bvec"):
        assert (out / f"dwi_x2{ending}").read_bytes() == (tmp_path / f"dwi{ending}").read_bytes()
    record = json.loads((out / "dwi_x2.json").read_text())
    assert record.pop("SciSR")["Steps"] == json_extension(out / "dwi_x2.nii.gz")
    assert record == {"EchoTime": 0.0899, "SliceTiming": [0, 0.5], "Name": "Gänge"}
    upscale_nearest(source, out / "thick.nii.gz", read={"axes": "x,z"})
    assert "SliceTiming" not in json.loads((out / "thick.json").read_text())


def test_a_sidecar_is_never_overwritten_unasked(tmp_path: Path) -> None:
    source = make(tmp_path / "dwi.nii")
    (tmp_path / "dwi.bval").write_text("0 1000")
    (tmp_path / "out.bval").write_text("precious")
    with pytest.raises(UsageError, match=r"out\.bval: exists already"):
        upscale_nearest(source, tmp_path / "out.nii")
    assert (tmp_path / "out.bval").read_text() == "precious"
    assert not (tmp_path / "out.nii").exists()


def test_another_form_beside_the_input_shares_its_sidecars(tmp_path: Path) -> None:
    source = make(tmp_path / "T1w.nii.gz")
    (tmp_path / "T1w.json").write_text('{"EchoTime": 1}')
    upscale_nearest(source, tmp_path / "T1w.nii")
    assert (tmp_path / "T1w.json").read_text() == '{"EchoTime": 1}'
    subject = Subject(adapter, source)
    write_images(
        subject, [refine_nearest(read(source), 2)], source, overwrite=True
    )  # in place: it is the result's now
    assert "SciSR" in json.loads((tmp_path / "T1w.json").read_text())


def test_a_broken_json_is_copied_as_it_is(tmp_path: Path) -> None:
    source = make(tmp_path / "T1w.nii")
    (tmp_path / "T1w.json").write_text('{"a": ')
    image = refine_nearest(read(source), 2)
    with (
        pytest.warns(SciSRWarning, match="no JSON object"),
        adapter.open_writer(tmp_path / "o.nii", [image]) as w,
    ):
        w.commit([image])
    assert (tmp_path / "o.json").read_text() == '{"a": '


def test_more_than_32767_voxels_along_an_axis_become_nifti2(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", (20_000, 3), dtype=np.uint8, codes=(1, 1), extensions=((6, b"kept"),))
    upscale_nearest(source, tmp_path / "out.nii", dtype="keep")
    after = nib.load(tmp_path / "out.nii")
    assert isinstance(after, nib.Nifti2Image)
    assert after.shape == (40_000, 6)
    assert np.allclose(after.header.get_sform(), refine_nearest(read(source), 2).grid.affine, atol=1e-5)
    assert np.allclose(after.header.get_qform(), after.header.get_sform(), atol=1e-4)
    assert np.array_equal(after.get_fdata()[::2, ::2], nib.load(source).get_fdata())


@pytest.mark.parametrize("domain", [None, "mr", "ct", "generic"])
def test_the_domain_is_mr_unless_said_otherwise(tmp_path: Path, domain: str | None) -> None:
    source = make(tmp_path / "in.nii")
    assert read(source, domain=domain).domain == (domain or "mr")
    assert read(source).quantity == "density"


@pytest.mark.parametrize(("value", "keyword"), [("xray", "domain"), ("phase", "complex")])
def test_unknown_choices_are_refused(tmp_path: Path, value: str, keyword: str) -> None:
    source = make(tmp_path / "in.nii")
    with pytest.raises(UsageError, match=f"{keyword} must be"):
        adapter.read(source, **{keyword: value})


def test_description_says_what_there_is_but_no_free_text(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", dtype=np.int16, fields={"descrip": b"Jane Doe", "scl_slope": 2})
    patch(source, scl_inter=0)
    with warnings.catch_warnings(action="error"):
        record = adapter.describe(source)
    assert record["format"] == "NIfTI-1"
    assert record["header"]["stored_dtype"] == "int16"
    assert record["header"]["scl_slope"] == 2
    assert record["parts"][0]["upscaled_axes"] == ["x", "y"]
    assert "Jane" not in json.dumps(record)
