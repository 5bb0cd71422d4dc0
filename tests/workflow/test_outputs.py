"""Where results go: never onto an input, never two onto one, decided before any work."""

from __future__ import annotations

import gzip
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.workflow.outputs import plan_jobs

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
TWO = (Fraction(2), Fraction(2))
NAMES = [
    "a.fits",
    "a.fits.gz",
    "a_x2.fits",
    "b.fits",
    "sub/a.fits",
    "c.nii.gz",
    "series",
    "junk.fits",
    "missing.fits",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "sub").mkdir()
    for name in ("a.fits", "a_x2.fits", "b.fits", "sub/a.fits"):
        shutil.copy(SAMPLES / "star_field.fits", folder / name)
    (folder / "a.fits.gz").write_bytes(gzip.compress((SAMPLES / "star_field.fits").read_bytes(), 1))
    shutil.copy(SAMPLES / "phantom.nii.gz", folder / "c.nii.gz")
    shutil.copytree(SAMPLES / "phantom_dicom", folder / "series")
    (folder / "junk.fits").write_bytes(b"not FITS at all")
    return folder


@given(
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=5),
    together=st.booleans(),
    overwrite=st.booleans(),
    scale=st.sampled_from([TWO, (Fraction(3, 2), Fraction(3, 2)), (Fraction(2), Fraction(1))]),
)
def test_outputs_are_distinct_and_no_inputs(
    folder: Path, names: list[str], together: bool, overwrite: bool, scale: tuple[Fraction, Fraction]
) -> None:
    inputs = [folder / name for name in names]
    out_dir = folder if together else None
    try:
        jobs = plan_jobs(inputs, out_dir=out_dir, scale=scale, overwrite=overwrite)
    except UsageError:
        assert len(names) > 1  # one input alone has always a place to go
        return
    assert [job.input for job in jobs] == inputs
    outputs = [job.output.resolve() for job in jobs if job.output is not None]
    assert len(set(outputs)) == len(outputs)
    assert set(outputs).isdisjoint(path.resolve() for path in inputs)
    for job in jobs:
        bad = job.input.name in ("junk.fits", "missing.fits")
        taken = job.output is not None and job.output.exists() and not overwrite
        assert (job.problem is not None) == (bad or taken)
        if together and job.output is not None:
            assert job.output.parent == folder


def test_files_of_a_series_are_one_job_and_images_are_not(folder: Path) -> None:
    slices = sorted((folder / "series").iterdir())
    jobs = plan_jobs([slices[0], folder / "b.fits", *slices[1:4], folder / "a.fits"], scale=TWO)
    assert [len(job.files) for job in jobs] == [4, 0, 0]
    assert jobs[0].input == folder / "series"
    assert jobs[0].output == folder / "series_x2"


def test_one_slice_stays_one_file(folder: Path) -> None:
    [job] = plan_jobs([folder / "series" / "MR0003.dcm"], scale=TWO)
    assert job.files == ()
    assert job.output is not None
    assert job.output.suffix == ".dcm"


def test_each_job_gets_the_options_of_its_format(folder: Path) -> None:
    jobs = plan_jobs(
        [folder / "b.fits", folder / "c.nii.gz"], scale=TWO, options={"hdu": ("SCI",), "domain": "ct"}
    )
    assert [dict(job.options) for job in jobs] == [{"hdu": ("SCI",)}, {"domain": "ct"}]


def test_an_option_for_nobody_is_a_mistake(folder: Path) -> None:
    with pytest.raises(UsageError, match="--domain means nothing to fits files"):
        plan_jobs([folder / "b.fits"], scale=TWO, options={"domain": "ct"})


def test_nothing_is_made_when_a_batch_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would both be written"):
        plan_jobs([folder / "a.fits", folder / "sub" / "a.fits"], out_dir=tmp_path / "hr", scale=TWO)
    assert not (tmp_path / "hr").exists()
