"""What `scisr view` serves: its page, its tiles, what stands with what, and what no request gets."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

import sciSR
from sciSR.errors import GeometryError, SciSRWarning, UsageError
from sciSR.report.server import LocalServer
from sciSR.report.view import Viewer

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    source = SAMPLES / "star_field.fits"
    sciSR.write(sciSR.upscale(sciSR.read(source), 2, "linear"), folder / "star_x2.fits")
    return source, folder / "star_x2.fits"


@pytest.fixture(scope="module")
def served(pair: tuple[Path, Path]) -> Iterator[LocalServer]:
    viewer = Viewer(pair)
    with viewer.server() as server:
        server.start()
        yield server
    viewer.close()


def get(server: LocalServer, path: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(server.url + path, timeout=30) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read(), dict(problem.headers)


def scene_in(page: bytes) -> dict:
    found = re.search(rb'<script type="application/json" id="tiles">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_page_tells_what_its_tiles_are(served: LocalServer) -> None:
    status, page, headers = get(served, "")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    scene = scene_in(page)
    assert set(scene["layers"]) >= {"before", "after"}
    assert scene["root"] == "./0/0"
    assert scene_in(get(served, "0/")[1])["root"] == "../0/0"
    (plane,) = scene["planes"]
    for level, layers in enumerate(plane["levels"]):
        for layer, extent in layers.items():
            status, body, headers = get(served, f"0/0/tile/{layer}/0/0/{level}/0/0")
            assert status == 200
            assert headers["X-Scisr-Exact"] == "1"
            assert len(body) == 2 * min(256, extent["width"]) * min(256, extent["height"])


def test_the_page_may_run_its_own_script_and_ask_its_own_server_alone(served: LocalServer) -> None:
    _, page, headers = get(served, "")
    policy = headers["Content-Security-Policy"]
    inside = re.search(rb'Content-Security-Policy" content="([^"]*)"', page)
    assert inside
    assert policy == inside[1].decode().replace("&#39;", "'") + "; frame-ancestors 'none'"
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in page
    assert b"https://" not in page.replace(b"https://doi.org", b"")
    assert served.token.encode() not in page


@pytest.mark.parametrize(
    "path",
    [
        "1/",
        "99999999/",
        "0/0/tile/after/0/0/99/0/0",
        "0/0/tile/after/0/0/0/7/0",
        "0/0/tile/after/1/0/0/0/0",
        "0/0/tile/after/0/1/0/0/0",
        "0/0/tile/after/0/0/-1/0/0",
        "0/0/tile/after/0/0/NaN/0/0",
        "0/0/tile/after/0/0/0/0/99999999999",
        "0/0/tile/secret/0/0/0/0/0",
        "0/0/tile/../0/0/0/0/0",
        "0/0/tile/after/0/0/0/0/0/",
        "0/0/levels/after/0/9999999",
        "0/0/levels/nothing/0/0",
        "../0/",
        "view.py",
        "..%2f..%2fstar_field.fits",
        str(SAMPLES / "star_field.fits"),
    ],
)
def test_nothing_but_pages_and_tiles_is_there(served: LocalServer, path: str) -> None:
    status, body, _ = get(served, path)
    assert (status, body) == (404, b"not found\n")


def test_many_browsers_at_once_get_the_same_tiles(served: LocalServer) -> None:
    paths = [
        f"0/0/tile/{layer}/0/0/1/{c}/{r}" for layer in ("before", "after") for c in (0, 1) for r in (0, 1)
    ]
    once = {path: get(served, path)[1] for path in paths}
    seen: list[bool] = []

    def work() -> None:
        seen.extend(get(served, path)[1] == once[path] for path in paths)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 48


def test_several_results_are_each_shown_with_the_first(pair: tuple[Path, Path], tmp_path: Path) -> None:
    source, one = pair
    sciSR.write(sciSR.upscale(sciSR.read(source), 3, "cubic"), tmp_path / "star_x3.fits")
    with pytest.warns(SciSRWarning, match="shown alone"):
        viewer = Viewer([source, one, tmp_path / "star_x3.fits", SAMPLES / "phantom.nii.gz"])
    assert [view.name for view in viewer.views] == [
        "star_field.fits → star_x2.fits",
        "star_field.fits → star_x3.fits",
        "phantom.nii.gz",
    ]
    assert viewer.views[1].lead == "384 × 360 pixels → 1152 × 1080 pixels, × 3, electron"
    with viewer.server() as server:
        server.start()
        page = get(server, "2/")[1]
        assert b'<option value="../1/">star_field.fits' in page
        assert b'<option value="../2/" selected>phantom.nii.gz' in page
        assert len(scene_in(page)["planes"]) == 3
    viewer.close()


def test_every_part_of_a_file_is_a_view(tmp_path: Path) -> None:
    from astropy.io import fits

    parts = [fits.ImageHDU(np.full((20, 30), k, np.float32), name="SCI", ver=k) for k in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "mef.fits")
    viewer = Viewer([tmp_path / "mef.fits"])
    assert [view.name for view in viewer.views] == ["mef.fits[SCI,1]", "mef.fits[SCI,2]"]
    one = Viewer([tmp_path / "mef.fits"], part="SCI,2")
    assert len(one.views) == 1
    with pytest.raises(UsageError, match="holds no image"):
        Viewer([tmp_path / "mef.fits"], part="SCI,3")


def test_volumes_of_a_series_are_chosen_by_number(tmp_path: Path) -> None:
    import nibabel

    values = np.stack([np.full((20, 24, 6), k, np.int16) for k in range(4)], axis=-1)
    values[0, 0, 0] = 9
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "series.nii.gz")
    viewer = Viewer([tmp_path / "series.nii.gz"], volume=2)
    assert viewer.views[0].volumes == 4
    with viewer.server() as server:
        server.start()
        for address, volume in (("", 2), ("0/", 2), ("0/0/", 0), ("0/3/", 3)):
            page = get(server, address)[1]
            assert f'value="{volume}"'.encode() in page
            scene = scene_in(page)
            finest = len(scene["planes"][0]["levels"]) - 1
            codes = np.frombuffer(get(server, f"0/{volume}/tile/after/0/3/{finest}/0/0")[1], "<u2")
            coding = scene["layers"]["after"]["coding"]
            assert np.median(coding["low"] + (codes - 1.0) * coding["step"]) == volume
        assert get(server, "0/4/")[0] == 404
        assert get(server, "0/4/tile/after/0/0/0/0/0")[0] == 404
    viewer.close()
    with pytest.raises(UsageError, match="no volume 4"):
        Viewer([tmp_path / "series.nii.gz"], volume=4)


def test_two_files_that_do_not_belong_together_are_refused(pair: tuple[Path, Path]) -> None:
    with pytest.raises(GeometryError, match="fewer than its input"):
        Viewer([pair[1], pair[0]])
    with pytest.raises(GeometryError, match="axes"):
        Viewer([pair[0], SAMPLES / "phantom.nii.gz"])


def test_a_shifted_result_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    from astropy.io import fits

    with fits.open(pair[1]) as hdus:
        for hdu in hdus:
            if "CRPIX1" in hdu.header:
                hdu.header["CRPIX1"] += 2
        hdus.writeto(tmp_path / "shifted.fits", checksum=True)
    with pytest.warns(SciSRWarning, match="does not cover the field"):
        viewer = Viewer([pair[0], tmp_path / "shifted.fits"])
    assert "corners differ by 2 pixels" in viewer.views[0].facts.notes[0]


def test_no_patient_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "Jane_Doe_0815"
    folder.mkdir()
    for path in sorted((SAMPLES / "phantom_dicom").glob("*.dcm")):
        data = pydicom.dcmread(path)
        data.PatientName, data.PatientID, data.PatientIdentityRemoved = "Doe^Jane", "P-0815", "NO"
        data.save_as(folder / path.name)
    viewer = Viewer([folder])
    with viewer.server() as server:
        server.start()
        page = get(server, "")[1].lower()
        assert scene_in(page)
        assert b"research use only" in page
        for word in (b"jane", b"doe", b"0815", b"p-0815", str(tmp_path).lower().encode()):
            assert word not in page
    viewer.close()


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>&\"'.fits"
    target = tmp_path / name.replace("/", "_")
    target.write_bytes((SAMPLES / "star_field.fits").read_bytes())
    viewer = Viewer([target])
    with viewer.server() as server:
        server.start()
        page = get(server, "")[1]
    assert page.count(b"<script") == 2
    assert b"<script>alert" not in page
    assert scene_in(page)["layers"]["after"]["label"] == target.name
    viewer.close()


def test_a_port_that_is_taken_is_a_usage_error(served: LocalServer, pair: tuple[Path, Path]) -> None:
    viewer = Viewer(pair)
    with pytest.raises(UsageError, match=f"port {served.port} can't be used"):
        viewer.server(served.port)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "pattern",
    [
        "astro/**/*.fits",
        "astro/**/*.fz",
        "astro/**/*.fits.gz",
        "mri/train/*.nii.gz",
        "mri/series4d/*.nii.gz",
        "dicom/*.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_real_files_are_shown_or_refused_by_name(shared_data: Path, pattern: str) -> None:
    files = sorted(shared_data.glob(pattern))
    shown = 0
    for path in files[:: max(1, len(files) // 4)]:
        try:
            viewer = Viewer([path])
        except sciSR.SciSRError:  # its lines have tests of their own; anything else is a fault
            continue
        scene = viewer.scene(0, 0)
        told = scene.describe()
        for number, plane in enumerate(told["planes"]):
            finest = len(plane["levels"]) - 1
            body, _ = scene.tile("after", number, plane["slices"] // 2, finest, 0, 0)
            extent = plane["levels"][finest]["after"]
            size = min(256, extent["width"]) * min(256, extent["height"])
            assert len(body) in (2 * size, 6 * size)
        viewer.close()
        shown += 1
    assert shown or not files
