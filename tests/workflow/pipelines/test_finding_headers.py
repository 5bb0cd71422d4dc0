"""Inputs by FITS header: filters, groups and facts; damaged files fail by name and hang nobody."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from sciSR.plugins import adapters
from sciSR.workflow.pipelines.config import Inputs
from sciSR.workflow.pipelines.finding import find_items
from sciSR.workflow.pipelines.headers import header_facts
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.pipeline import Pipeline


def frame(path: Path, *, extension: bool = False, **cards: Any) -> Path:
    """A small FITS file; with the image in an extension if asked for."""
    header = fits.Header([(key.replace("_", "-"), value) for key, value in cards.items()])
    pixels = np.zeros((4, 5), np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    if extension:
        fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(pixels, name="SCI")]).writeto(path)
    else:
        fits.writeto(path, pixels, header)
    return path


@pytest.fixture
def night(tmp_path: Path) -> Path:
    for number, (band, kind, seconds) in enumerate(
        [
            ("Ha", "Light Frame", 300.0),
            ("Ha", "Light Frame", 300.0),
            ("OIII", "LIGHT", 10.0),
            ("Ha", "Dark", 300.0),
        ]
    ):
        frame(tmp_path / f"f{number}.fits", OBJECT="M 51", FILTER=band, IMAGETYP=kind, EXPTIME=seconds)
    frame(
        tmp_path / "deep.fits.gz", extension=True, OBJECT="M 51", FILTER="OIII", IMAGETYP="Light", EXPTIME=600
    )
    frame(tmp_path / "bare.fits")
    return tmp_path


def found(folder: Path, **inputs: Any) -> list[Item]:
    return find_items(Inputs(**inputs), folder)


def test_headers_choose_files(night: Path) -> None:
    header = {"IMAGETYP": "*light*", "EXPTIME": ">= 30"}
    assert [item.key for item in found(night, header=header)] == ["deep", "f0", "f1"]
    assert [item.key for item in found(night, header={"FILTER": ["OIII", "r"]})] == ["deep", "f2"]
    assert [item.key for item in found(night, header={"imagetyp": "!= dark*"})] == ["deep", "f0", "f1", "f2"]


def test_groups_have_the_facts_that_names_need(night: Path) -> None:
    one, two = found(night, header={"IMAGETYP": "*light*"}, group=["OBJECT", "FILTER"], minimum=2)
    assert [one.key, two.key] == ["M-51_OIII", "M-51_Ha"]
    assert [file.name for file in two.files] == ["f0.fits", "f1.fits"]
    assert two.facts["OBJECT"] == "M 51"
    assert two.facts["FILTER"] == "Ha"
    assert "stem" not in two.facts  # not what all files have in common
    assert one.sequence
    assert two.sequence


def test_names_and_overrides_may_speak_of_other_keys(night: Path) -> None:
    [item] = list(find_items(Inputs(files="f0.*"), night, wanted=["EXPTIME", "branch", "GAIN"]))
    assert item.facts == {"EXPTIME": "300", "stem": "f0", "suffix": ".fits", "folder": ""}


def test_what_a_pipeline_speaks_of_is_read(night: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pipeline = Pipeline.from_dict(
        {
            "pipeline": "p",
            "inputs": {"files": ["f0.fits"]},
            "steps": [{"step": "calibrate", "flat": "flats/{FILTER}*"}, {"step": "write"}],
            "outputs": {"name": "{OBJECT}_{item}"},
            "overrides": [{"where": {"EXPTIME": 300}, "set": {"calibrate": {"dark": "dark_{IMAGETYP}*"}}}],
        }
    )
    [item] = pipeline.items(night, tmp_path_factory.mktemp("out"))
    assert {"OBJECT", "FILTER", "EXPTIME", "IMAGETYP"} <= set(item.facts)


def test_an_extension_and_its_primary_header_count(tmp_path: Path) -> None:
    frame(tmp_path / "a.fits", extension=True, OBJECT="M 51", DATE_OBS="2024-03-01T21:00:00", SATURATE=1e5)
    facts, problem = header_facts(tmp_path / "a.fits")
    assert problem is None
    assert {"OBJECT": "M 51", "EXTNAME": "SCI", "NAXIS1": "5", "SATURATE": "100000"}.items() <= facts.items()
    assert found(tmp_path, header={"DATE-OBS": ">= 2024-03-01"})
    assert not found(tmp_path, header={"DATE-OBS": "< 2024-03-01"})


def test_hierarch_keywords_have_no_prefix(tmp_path: Path) -> None:
    frame(tmp_path / "a.fits", **{"HIERARCH ESO DPR TYPE": "OBJECT"})
    assert found(tmp_path, header={"ESO DPR TYPE": "OBJECT"})


def test_unreadable_files_fail_by_name_and_are_not_dropped(night: Path) -> None:
    (night / "cut.fits").write_bytes((night / "f0.fits").read_bytes()[:3000])
    (night / "empty.fits").touch()
    (night / "noise.fits").write_bytes(bytes(range(256)) * 40)
    items = found(night, header={"FILTER": "Ha"}, group=["FILTER"])
    failing = {item.key: str(item.problem) for item in items if item.problem is not None}
    assert set(failing) == {"cut", "empty", "noise"}
    assert all(f"{key}.fits" in message and "\n" not in message for key, message in failing.items())
    [good] = [item for item in items if item.problem is None]
    assert len(good.files) == 3


def test_other_formats_do_not_match_a_filter(night: Path) -> None:
    (night / "notes.txt").write_text("clear sky")
    assert [item.key for item in found(night, files="**", header={"FILTER": "OIII"})] == ["deep", "f2"]


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_headers_neither_hang_nor_raise_anything_else(tmp_path: Path, packed: bool) -> None:
    """Each is told, or is one line that names the file: seeded flips and cuts, within gzip and outside."""
    raw = frame(tmp_path / "a.fits", extension=True, OBJECT="M 51", FILTER="Ha").read_bytes()
    source, draw = gzip.compress(raw) if packed else raw, random.Random(7)
    file = tmp_path / ("damaged.fits.gz" if packed else "damaged.fits")
    for _ in range(200):
        damaged = bytearray(source[: draw.choice([len(source), draw.randrange(20, len(source))])])
        for _ in range(draw.randrange(6)):
            damaged[draw.randrange(12, len(damaged))] = draw.randrange(256)
        file.write_bytes(damaged)
        facts, problem = header_facts(file)
        assert all(isinstance(key, str) and isinstance(text, str) for key, text in facts.items())
        assert problem is None or (file.name in str(problem) and "\n" not in str(problem))


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    header = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    sizes = [("NAXIS", 2), ("NAXIS1", 1), ("NAXIS2", 10**12), ("PCOUNT", 0), ("GCOUNT", 1)]
    table = fits.Header([("XTENSION", "BINTABLE"), ("BITPIX", 8), *sizes, ("TFIELDS", 1), ("TFORM1", "B")])
    start = (header.tostring() + table.tostring()).encode()
    (tmp_path / "bomb.fits.gz").write_bytes(gzip.compress(start + bytes(1 << 22)))
    facts, problem = header_facts(tmp_path / "bomb.fits.gz")
    assert problem is None
    assert facts["NAXIS"] == "0"


def test_clips_speak_the_same_language(samples: Path) -> None:
    facts, problem = header_facts(samples / "planet.ser")
    assert problem is None
    assert facts["NAXIS3"] == "32"
    assert [item.key for item in found(samples, header={"NAXIS3": "> 10"})] == ["planet"]


def test_every_format_tells_texts(samples: Path) -> None:
    told = {}
    for name in ("star_field.fits", "planet.ser", "phantom.nii.gz", "phantom_dicom/MR0001.dcm"):
        told[name], problem = header_facts(samples / name)
        assert problem is None
        assert told[name]
        assert all(isinstance(text, str) for text in told[name].values())
    assert told["phantom.nii.gz"]["shape"] == "96x96x24"
    assert not {"PatientName", "PatientID", "SeriesDescription"} & set(told["phantom_dicom/MR0001.dcm"])


def test_a_strangers_format_that_breaks_its_promise_stops_nobody(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> dict[str, str]:
        raise KeyError("NAXIS")

    monkeypatch.setattr(adapters()["ser"], "facts", broken, raising=False)
    facts, problem = header_facts(samples / "planet.ser")
    assert facts == {}
    assert "planet.ser" in str(problem)


@pytest.fixture
def samples() -> Path:
    return Path(__file__).parents[3] / "data_samples"
