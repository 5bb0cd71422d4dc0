"""The standard deviation written beside a derived series is found again, slice by slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

import sciSR
from sciSR.plugins import adapter_for
from sciSR.workflow.run import upscale_file

SAMPLE = Path(__file__).resolve().parents[2] / "data_samples" / "phantom_dicom"


def test_maps_are_read_as_they_were_written(tmp_path: Path) -> None:
    outcome = upscale_file(SAMPLE, tmp_path / "out", model="fourier", uncertainty=True)
    image = sciSR.read(outcome.output)
    found = adapter_for(outcome.output).uncertainty_of(outcome.output, image)
    assert tuple(found.shape) == image.shape
    [path] = outcome.uncertainty
    stored = pydicom.dcmread(path)
    frames = np.frombuffer(stored.FloatPixelData, "<f4").reshape(
        len(stored.PerFrameFunctionalGroupsSequence), *image.shape[1:]
    )
    places = [
        g.PlanePositionSequence[0].ImagePositionPatient for g in stored.PerFrameFunctionalGroupsSequence
    ]
    for k in range(image.shape[0]):
        [own] = [
            n
            for n, p in enumerate(places)
            if image.grid.world(np.array([k, 0, 0])) == pytest.approx(p, abs=0.01)
        ]
        wanted = np.where(frames[own] < 0, np.nan, frames[own])
        assert np.array_equal(found[k], wanted, equal_nan=True)
    assert np.array_equal(found[2:4, 5, :7], found[...][2:4, 5, :7], equal_nan=True)


def test_a_series_without_a_map_has_none(tmp_path: Path) -> None:
    image = sciSR.read(SAMPLE)
    assert adapter_for(SAMPLE).uncertainty_of(SAMPLE, image) is None
