"""Whatever carries a checksum is held against it by default: gzip, bzip2, FITS, PNG, and weights against their card."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from dicom_samples import make_series, phantom
from fuzz_seeds import make as make_seed
from fuzz_seeds import seeds
from hostile import read, refusal
from nifti_samples import make

import sciSR
from networks import write_network
from sciSR.errors import SciSRWarning
from sciSR.models.files import load_model, shipped_paths
from sciSR.models.user_models import add_model, user_paths
from sciSR.provenance import file_sha256


def packed(tmp_path: Path) -> dict[str, Path]:
    """Honest files that carry a checksum of all they hold."""
    found = {}
    nifti = make(tmp_path / "a.nii", (9, 8, 7), dtype=np.int16)
    found["nii"] = tmp_path / "b.nii.gz"
    found["nii"].write_bytes(gzip.compress(nifti.read_bytes()))
    make_series(tmp_path / "mr", stored=phantom((1, 16, 18)))
    found["dicom"] = tmp_path / "b.dcm.gz"
    found["dicom"].write_bytes(gzip.compress((tmp_path / "mr" / "s000.dcm").read_bytes()))
    data = np.random.default_rng(1).normal(100, 9, (30, 32)).astype("f4")
    fits.PrimaryHDU(data).writeto(tmp_path / "a.fits")
    for suffix, pack in ((".gz", gzip.compress), (".bz2", bz2.compress)):
        found[f"fits{suffix}"] = tmp_path / f"b.fits{suffix}"
        found[f"fits{suffix}"].write_bytes(pack((tmp_path / "a.fits").read_bytes()))
    fits.PrimaryHDU(data).writeto(tmp_path / "sum.fits", checksum=True)
    found["fits sum"] = tmp_path / "sum.fits"
    seed = seeds()["picture/png16"]
    found["png"] = make_seed(seed, tmp_path / "png") / seed.opened
    return found


@pytest.mark.parametrize("kind", ["nii", "dicom", "fits.gz", "fits.bz2", "fits sum", "png"])
def test_no_flipped_bit_changes_a_pixel_in_silence(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path)[kind]
    raw, honest = path.read_bytes(), read(path)
    rng, refused = np.random.default_rng(3), 0
    for _ in range(40):
        bad = bytearray(raw)
        bad[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            with sciSR.testing.tools.quiet():
                found = read(path)
        except sciSR.errors.SciSRError:
            refused += 1
            continue
        assert len(found) == len(honest)
        assert all(np.array_equal(a, b) for a, b in zip(found, honest, strict=True))
    assert refused > 20


@pytest.mark.parametrize("key", ["CHECKSUM", "DATASUM"])
def test_a_wrong_sum_can_be_read_over_when_asked(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.arange(400.0, dtype="f4").reshape(20, 20)).writeto(path, checksum=True)
    with fits.open(path, mode="update", checksum=False) as hdus:
        hdus[0].header[key] = "0000000000000000" if key == "DATASUM" else "abcdefghijklmnop"
    assert "--ignore-checksum" in refusal(lambda: read(path))
    assert sciSR.read(path, ignore_checksum=True).shape == (20, 20)


def test_weights_by_name_are_those_that_their_card_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCISR_MODELS", str(tmp_path / "mine"))
    path = Path(write_network(tmp_path, "ESPCN", 2))
    path.with_suffix(".yaml").write_text("name: toy\nsha256: '0'\n")
    add_model(path, "mine")
    load_model("mine")
    target = user_paths()["mine"]
    raw = bytearray(target.read_bytes())
    raw[-2] ^= 1
    target.write_bytes(raw)
    assert "SHA-256 is not the one that its card tells" in refusal(lambda: load_model("mine"))
    with pytest.warns(SciSRWarning, match="SHA-256"):
        load_model(target)  # by its path: trained on since, perhaps


def test_all_shipped_weights_are_those_of_their_cards() -> None:
    for name, path in shipped_paths().items():
        assert f"sha256: {file_sha256(path)}" in path.with_suffix(".yaml").read_text(encoding="utf-8"), name
