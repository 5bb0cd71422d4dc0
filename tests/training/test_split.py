"""The split: whole subjects and fields on one side, copies found whatever their form, overlap refused."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_files import config_of, smooth, write_picture, write_sky, write_volume

from sciSR.errors import SciSRWarning, UsageError
from sciSR.training.config_file import load_config
from sciSR.training.files import find_files
from sciSR.training.identity import (
    Field,
    Identity,
    exposure_group,
    field_of,
    identify,
    name_group,
    pixel_hash,
)
from sciSR.training.split import groups, hold_out, refuse_overlap


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("ds/sub-07/anat/sub-07_T1w.nii.gz", "sub-07"),
        ("ds/sub-07_ses-2_T2w.nii.gz", "sub-07"),
        ("openms_long_p01_study1_T2W.nii.gz", "p01"),
        ("openms_long_p01_study2_FLAIR.nii.gz", "p01"),
        ("T2 patient7 flair.nii", "patient7"),
        ("studyforrest_7T_T1_0p7.nii.gz", "studyforrest_7T"),
        ("brain.nii", "brain"),
    ],
)
def test_subjects_by_name(path, group):
    assert name_group(Path(path)) == group


def test_numbered_exposures_are_one_group():
    assert exposure_group(Path("n1/light_001.fits")) == exposure_group(Path("n1/light_117.fits.gz"))
    assert exposure_group(Path("n1/light_001.fits")) != exposure_group(Path("n2/light_001.fits"))
    assert exposure_group(Path("n1/0001.fits")) == exposure_group(Path("n1/0002.fits"))


identities = st.lists(
    st.builds(
        lambda name, pixel, at, number: Identity(
            Path(f"f{number}"),
            (name,),
            () if at is None else (Field((float(np.cos(at)), float(np.sin(at)), 0.0), 0.05),),
            (pixel,),
            1,
        ),
        st.sampled_from("abcdefgh"),
        st.sampled_from("0123456789"),
        st.none() | st.floats(0, 3),
        st.integers(0, 10**9),
    ),
    min_size=1,
    max_size=14,
    unique_by=lambda each: each.path,
)


def linked(a: Identity, b: Identity) -> bool:
    near = any(one.overlaps(other) for one in a.fields for other in b.fields)
    return bool(set(a.names) & set(b.names) or set(a.pixels) & set(b.pixels) or near)


@given(identities, st.floats(0.01, 0.99))
def test_nothing_that_belongs_together_is_parted(known, share):
    train, held = hold_out(known, share)
    assert sorted([*train, *held]) == sorted(each.path for each in known)
    side = {**dict.fromkeys(train, 0), **dict.fromkeys(held, 1)}
    for a in known:
        for b in known:
            assert not linked(a, b) or side[a.path] == side[b.path]
    parts = groups(known)
    assert train
    assert bool(held) == (len(parts) > 1)


@given(identities, st.floats(0.01, 0.99), st.randoms())
def test_the_order_of_the_files_does_not_matter(known, share, random):
    train, held = hold_out(known, share)
    random.shuffle(known)
    again = hold_out(known, share)
    assert (set(train), set(held)) == tuple(set(paths) for paths in again)


@given(identities)
def test_a_split_by_groups_is_never_refused_and_any_other_is(known):
    refuse_overlap(*_identities(known, hold_out(known, 0.3)))
    for part in groups(known):
        if len(part) > 1:
            held = [known[part[0]]]
            train = [each for each in known if each is not held[0]]
            with pytest.raises(UsageError):
                refuse_overlap(train, held)


def _identities(known, sides):
    return ([each for each in known if each.path in set(side)] for side in sides)


def pixels_of(path, domain="mr"):
    return identify(path, path.parent, domain).pixels


def test_a_copy_is_found_in_any_format_order_and_compression(tmp_path):
    import nibabel

    values = smooth((40, 44, 6), 1).round()
    original = pixels_of(write_volume(tmp_path / "a.nii", values=values))
    write_volume(tmp_path / "b.nii.gz", values=values)
    write_volume(tmp_path / "c.nii", values=values[::-1].astype(np.int16))
    write_volume(tmp_path / "d.nii", values=np.ascontiguousarray(values.transpose(1, 0, 2)))
    nibabel.save(nibabel.Nifti2Image(values, np.eye(4)), tmp_path / "e.nii")
    write_sky(tmp_path / "f.fits", values=np.moveaxis(values, 2, 0), centre=None)
    for name in ("b.nii.gz", "c.nii", "d.nii", "e.nii"):
        assert pixels_of(tmp_path / name) == original, name
    assert pixels_of(tmp_path / "f.fits", "astronomy") == original
    values[3, 3, 3] += 1
    assert pixels_of(write_volume(tmp_path / "g.nii", values=values)) != original


def test_large_images_are_hashed_by_pieces(tmp_path, monkeypatch):
    from sciSR.image import Image
    from sciSR.training import identity

    monkeypatch.setattr(identity, "WHOLE", 1000)
    values = smooth((20, 50, 60), 2)
    one, again, other = (pixel_hash(Image.from_array(v)) for v in (values, values.copy(), values + 1))
    assert one == again != other


def test_named_files_must_not_overlap_by_subject(tmp_path):
    for seed, name in enumerate(("sub-1_T1.nii", "sub-2_T1.nii", "sub-1_T2.nii")):
        write_volume(tmp_path / name, seed=seed)
    with pytest.raises(UsageError, match=r"sub-1_T1\.nii.*sub-1_T2\.nii.*sub-1"):
        find_files(config_of(tmp_path, train=("*_T1.nii",), validation=("*_T2.nii",)))
    files = find_files(
        config_of(tmp_path, train=("*_T1.nii",), exclude=("sub-1_T1*",), validation=("*_T2.nii",))
    )
    assert [path.name for path in files.train] == ["sub-2_T1.nii"]


def test_a_compressed_copy_under_another_name_is_refused(tmp_path):
    write_volume(tmp_path / "train/alpha.nii", seed=1)
    (tmp_path / "check").mkdir()
    with (
        open(tmp_path / "train/alpha.nii", "rb") as source,
        gzip.open(tmp_path / "check/omega.nii.gz", "wb") as sink,
    ):
        shutil.copyfileobj(source, sink)
    with pytest.raises(UsageError, match=r"alpha\.nii.*omega\.nii\.gz.*same pixels"):
        find_files(config_of(tmp_path, train=("train/*",), validation=("check/*",)))


def test_the_same_file_on_both_sides_is_refused(tmp_path):
    write_volume(tmp_path / "a.nii")
    with pytest.raises(UsageError, match=r"a\.nii"):
        find_files(config_of(tmp_path, train=("*",), validation=("a*",)))


def test_overlapping_fields_are_refused_in_any_frame(tmp_path):
    from astropy.coordinates import SkyCoord

    place = SkyCoord(266.4, -29.0, unit="deg")
    galactic = place.galactic
    write_sky(tmp_path / "train/a.fits", seed=1, centre=(266.4, -29.0))
    write_sky(tmp_path / "train/b.fits", seed=2, centre=(10.0, 40.0))
    near = (galactic.l.deg + 60 / 3600, galactic.b.deg)
    write_sky(tmp_path / "check/c.fits", seed=3, centre=near, galactic=True)
    config = config_of(tmp_path, "astronomy", train=("train/*",), validation=("check/*",))
    with pytest.raises(UsageError, match=r"a\.fits.*c\.fits.*fields overlap"):
        find_files(config)
    far = (galactic.l.deg + 400 / 3600, galactic.b.deg)
    write_sky(tmp_path / "check/c.fits", seed=3, centre=far, galactic=True)
    assert len(find_files(config).validation) == 1


def test_without_coordinates_the_header_s_object_decides(tmp_path):
    for seed, (name, target) in enumerate(
        [("a", "M 31"), ("b", "m  31"), ("light_1", "unknown"), ("light_2", None)]
    ):
        cards = {} if target is None else {"OBJECT": target}
        write_sky(tmp_path / f"{name}.fits", seed=seed, centre=None, **cards)
    names = [identify(path, tmp_path, "astronomy").names[0] for path in sorted(tmp_path.iterdir())]
    assert names == ["m 31", "m 31", "light", "light"]


def test_a_field_reaches_to_its_corners(tmp_path):
    from sciSR.api import read

    field = field_of(read(write_sky(tmp_path / "a.fits", (80, 60), centre=(83.6, 22.0))))
    assert field.radius == pytest.approx(np.radians(50 / 3600), rel=1e-3)
    ra, dec = np.radians([83.6, 22.0])
    expected = (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec))
    assert field.centre == pytest.approx(expected, abs=1e-9)


def test_the_user_s_groups_come_first(tmp_path):
    for seed, name in enumerate(("anna_1.nii", "anna_2.nii", "bob_1.nii", "carl_1.nii")):
        write_volume(tmp_path / name, seed=seed)
    files = find_files(config_of(tmp_path, group=r"([a-z]+)_\d", validation_share=0.3))
    assert {files.group[path] for path in files.train} & {
        files.group[path] for path in files.validation
    } == set()
    assert files.group[tmp_path / "anna_1.nii"] == files.group[tmp_path / "anna_2.nii"] == "anna"


def test_photographs_are_groups_of_their_own(tmp_path):
    for k in range(6):
        write_picture(tmp_path / f"t{k}.png", seed=k)
    files = find_files(config_of(tmp_path, "natural", validation_share=0.3))
    assert len(files.validation) == 2


def test_what_is_missing_or_unreadable_is_left_out_with_one_line_each(tmp_path):
    write_volume(tmp_path / "sub-1.nii")
    for name in ("notes.json", "broken.nii", "more.txt", "also.txt"):
        (tmp_path / name).write_text("no image")
    with pytest.warns(SciSRWarning) as caught:
        files = find_files(config_of(tmp_path, train=("*", "nothing/*.nii")))
    lines = [str(each.message) for each in caught]
    assert len(lines) == 2
    assert "nothing/*.nii" in lines[0]
    assert "and 1 more" in lines[1]
    assert [path.name for path in files.train] == ["sub-1.nii"]
    assert len(files.left_out) == 4


def test_no_file_at_all_is_an_error_that_names_the_folder(tmp_path):
    with pytest.warns(SciSRWarning), pytest.raises(UsageError, match=rf"{tmp_path}.*data\.train"):
        find_files(config_of(tmp_path, train=("*.nii",)))


@pytest.mark.parametrize("pattern", ["/data/*.nii", ""])
def test_patterns_that_can_t_be_looked_for_are_usage_errors(tmp_path, pattern):
    with pytest.raises(UsageError, match=r"relative to data\.root"):
        find_files(config_of(tmp_path, train=(pattern,)))


def test_without_a_usable_validation_file_whole_subjects_are_held_out(tmp_path):
    """A wrong pattern made the training files validate themselves, said to be of one subject."""
    for k in range(4):
        write_volume(tmp_path / f"sub-{k}.nii", seed=k)
    with pytest.warns(SciSRWarning, match="held out instead"):
        files = find_files(config_of(tmp_path, validation=("nothing/*.nii",)))
    assert files.validation
    assert not set(files.validation) & set(files.train)


def test_a_subject_s_contrasts_stay_together_on_the_base_that_the_docs_name(tmp_path):
    """The recipe's own pattern took every other file for a subject of its own, so one was trained and validated on."""
    for seed, name in enumerate(("sub-1_T1w.nii", "sub-1_T2w.nii", "sub-2_T1w.nii", "sub-2_T2w.nii")):
        write_volume(tmp_path / name, seed=seed)
    recipe = Path(__file__).parents[2] / "configs" / "train" / "mri-x2.yaml"
    own = ("data.train=['*.nii']", "data.validation=[]", "data.exclude=[]", "data.validation_share=0.5")
    files = find_files(load_config(recipe, own), tmp_path)
    assert {path.name[:5] for path in files.train}.isdisjoint(path.name[:5] for path in files.validation)
    assert len(files.train) == len(files.validation) == 2


@pytest.mark.realdata
def test_real_scans_and_skies_fall_into_their_subjects_and_fields(shared_data):
    config = config_of(shared_data, train=("mri/train/openms*",), validation=("mri/check/openms*",))
    files = find_files(config)
    assert len(set(files.group.values())) == 6
    config = config_of(
        shared_data,
        "astronomy",
        train=("astro/train/2mass_[gm]*",),
        validation=("astro/check/msx_gc_e.fits",),
    )
    with pytest.raises(UsageError, match=r"2mass_gc_.\.fits.*msx_gc_e\.fits"):
        find_files(config)


@pytest.mark.realdata
def test_dicom_series_are_parted_by_patient(shared_data, tmp_path):
    import tarfile

    names = ("d2n_siemens_anatomical_001", "d2n_ge_anatomical_001")
    for name in names:
        with tarfile.open(shared_data / f"dicom/{name}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
    one, two = (identify(tmp_path / name, tmp_path, "mr") for name in names)
    assert one.names == two.names  # both were anonymised to the same identifier
    assert one.names[0].startswith("patient-")
    assert one.pixels != two.pixels
    config = config_of(tmp_path, train=(names[0],), validation=(names[1],))
    with pytest.raises(UsageError) as caught:
        find_files(config)
    assert "patient-" not in str(caught.value)
